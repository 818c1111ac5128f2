"""Python's tritonclient as its users write it: the input prepared once, one request after the other.

Arguments: PROTOCOL HOST:PORT SHAPE COUNT WARMUP. Prints the median and the 99th percentile of the latencies of COUNT requests
after WARMUP, in milliseconds, as JSON.
"""

import json
import math
import sys
import time

import numpy


def main():
    protocol, url, shape, count, warmup = sys.argv[1:]
    if protocol == "http":
        import tritonclient.http as triton
    else:
        import tritonclient.grpc as triton

    client = triton.InferenceServerClient(url)
    image = numpy.zeros([int(side) for side in shape.split(",")], numpy.float32)
    tensor = triton.InferInput("input.1", list(image.shape), "FP32")
    tensor.set_data_from_numpy(image)
    wanted = [triton.InferRequestedOutput("nothing")]

    latencies = []
    for _ in range(int(warmup) + int(count)):
        began = time.perf_counter()
        client.infer("null", [tensor], outputs=wanted)
        latencies.append(time.perf_counter() - began)
    latencies = sorted(latencies[int(warmup) :])
    percentiles = {name: latencies[math.ceil(share * len(latencies)) - 1] for name, share in [("p50_ms", 0.5), ("p99_ms", 0.99)]}
    print(json.dumps({name: value * 1000 for name, value in percentiles.items()}))


main()
