"""Python's tritonclient as its users write it: the input prepared once, one request after the other.

Arguments: PROTOCOL HOST:PORT BATCH COUNT. Prints the median latency in milliseconds.
"""

import statistics
import sys
import time

import numpy


def main():
    protocol, url, batch, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if protocol == "http":
        import tritonclient.http as triton
    else:
        import tritonclient.grpc as triton

    client = triton.InferenceServerClient(url)
    image = numpy.zeros((batch, 3, 640, 640), numpy.float32)
    tensor = triton.InferInput("input.1", list(image.shape), "FP32")
    tensor.set_data_from_numpy(image)
    wanted = [triton.InferRequestedOutput("nothing")]

    latencies = []
    for _ in range(count):
        began = time.perf_counter()
        client.infer("null", [tensor], outputs=wanted)
        latencies.append(time.perf_counter() - began)
    print(statistics.median(latencies) * 1000)


main()
