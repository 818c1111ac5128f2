"""Requests per second of the null model: the embedded server against a real Triton's Python backend.

Run it as bench/embedded_throughput, which sets up what it needs and starts both servers.

wrk asks over HTTP, h2load over gRPC; neither knows the protocol, so their requests are prepared here. Both servers run
all the time and one at a time is asked, in random order round by round, so that the machine's drift hits both. A sample
counts only if the server's own statistics agree with what the client says: h2load does not look at grpc-status.
"""

import argparse
import json
import os
import random
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time

from common import binary_body, model_stats, post, spread, verdict

MODEL = "null"
PATH = "/inference.GRPCInferenceService/ModelInfer"
SHAPES = {"0.15": [1, 3, 112, 112], "4.9": [1, 3, 640, 640], "39.3": [8, 3, 640, 640]}  # by megabytes
SERVERS = ["embedded", "triton"]
NAMES = {"http": "HTTP", "grpc": "gRPC"}

# The body is read once; without a function `request`, wrk prepares the request once too and sends the same bytes again.
WRK_SCRIPT = """
local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.headers["Inference-Header-Content-Length"] = os.getenv("HEADER_LENGTH")
function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format("COUNTS %d %d %d\\n", summary.requests, summary.duration,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


def main():
    options = arguments()
    hosts = {
        server: {protocol: os.environ["%s_%s" % (server.upper(), protocol.upper())] for protocol in NAMES}
        for server in SERVERS
    }
    with tempfile.TemporaryDirectory() as directory:
        payloads = {size: Payload(size, directory) for size in options.sizes}
        for host in hosts.values():
            for payload in payloads.values():
                payload.check(host)
        runs = [(server, protocol, size) for server in SERVERS for protocol in options.protocols for size in options.sizes]
        samples = {run: [] for run in runs}
        order = random.Random(options.seed)
        for number in range(options.rounds):
            order.shuffle(runs)
            for server, protocol, size in runs:
                rate = sample(hosts[server], protocol, payloads[size], options)
                samples[server, protocol, size].append(rate)
                words = (number + 1, options.rounds, server, NAMES[protocol], size, rate)
                print("round %d/%d  %-8s %s %5s MB  %9.1f requests/s" % words, file=sys.stderr)
    sys.exit(0 if report(samples, options) else 1)


def arguments():
    parser = argparse.ArgumentParser(
        prog="bench/embedded_throughput",
        description=__doc__.split("\n\n")[0],
        epilog="Exit code 1: the embedded server answers fewer requests per second than Triton.",
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often each takes its turn [%(default)s]")
    parser.add_argument("--seconds", type=int, default=3, help="of one turn [%(default)s]")
    parser.add_argument("--connections", type=int, default=4, help="with one request in flight on each [%(default)s]")
    parser.add_argument("--sizes", nargs="+", choices=list(SHAPES), default=list(SHAPES), help="of a request, in MB")
    parser.add_argument("--protocols", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--seed", type=int, default=1, help="of the order [%(default)s]")
    options = parser.parse_args()
    if min(options.rounds, options.seconds, options.connections) < 1:
        parser.error("at least one round, one second and one connection")
    return options


class Payload:
    """One request in both protocols, as the files that the clients post."""

    def __init__(self, size, directory):
        self.shape = SHAPES[size]
        data = bytes(4 * self.shape[0] * self.shape[1] * self.shape[2] * self.shape[3])
        self.body, self.headers = binary_body([("input.1", self.shape, data)], ["nothing"])
        self.http = os.path.join(directory, size + ".http")
        self.grpc = os.path.join(directory, size + ".grpc")
        self.script = os.path.join(directory, "post.lua")
        self.message = grpc_message(self.shape, data)
        for path, content in [
            (self.http, self.body),
            (self.grpc, struct.pack(">BI", 0, len(self.message)) + self.message),  # not compressed, length, message
            (self.script, WRK_SCRIPT.encode()),
        ]:
            with open(path, "wb") as file:
                file.write(content)

    def check(self, host):
        """The very bytes that are posted later, by clients that look at the answer."""
        import grpc
        from tritonclient.grpc.service_pb2 import ModelInferResponse

        _, answer = post(host["http"], MODEL, self.body, self.headers)
        if answer != bytes(4 * self.shape[0]):
            sys.exit("%s answered something else than zeros" % host["http"])
        with grpc.insecure_channel(host["grpc"]) as channel:
            call = channel.unary_unary(PATH, request_serializer=None, response_deserializer=ModelInferResponse.FromString)
            answer = call(self.message, timeout=60)
        if list(answer.raw_output_contents) != [bytes(4 * self.shape[0])]:
            sys.exit("%s answered something else than zeros" % host["grpc"])


def grpc_message(shape, data):
    from tritonclient.grpc.service_pb2 import ModelInferRequest

    message = ModelInferRequest(model_name=MODEL)
    message.inputs.add(name="input.1", datatype="FP32", shape=shape)
    message.outputs.add(name="nothing")
    message.raw_input_contents.append(data)
    return message.SerializeToString()


def sample(host, protocol, payload, options):
    """Requests per second, by the client's clock and count, if the server counted the same."""
    before = successes(host)
    done, seconds = {"http": wrk, "grpc": h2load}[protocol](host[protocol], payload, options)
    # what was in flight when the client ended may be answered or not
    counted = settled(host) - before
    if not done <= counted <= done + options.connections:
        sys.exit("%s: the client counted %d requests, the server %d" % (host[protocol], done, counted))
    return done / seconds


def successes(host):
    return model_stats(host["http"], MODEL)["inference_stats"]["success"]["count"]


def settled(host):
    """The server's count once it no longer rises."""
    count = successes(host)
    while True:
        time.sleep(0.2)
        again = successes(host)
        if again == count:
            return count
        count = again


def output_of(command, **environment):
    ended = subprocess.run(
        command, env=dict(os.environ, **environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if ended.returncode != 0:
        sys.exit("%s failed with code %d:\n%s" % (" ".join(command), ended.returncode, ended.stdout))
    return ended.stdout


def wrk(host, payload, options):
    url = "http://%s/v2/models/%s/infer" % (host, MODEL)
    command = [
        "wrk", "-t", "1", "-c", str(options.connections), "-d", "%ds" % options.seconds, "--timeout", "30s", "-s", payload.script, url,
    ]  # fmt: skip
    text = output_of(command, BODY=payload.http, HEADER_LENGTH=payload.headers["Inference-Header-Content-Length"])
    found = re.search(r"^COUNTS (\d+) (\d+) (\d+)$", text, re.MULTILINE)
    if not found or int(found.group(3)) or not int(found.group(1)):
        sys.exit("wrk met errors:\n%s" % text)
    return int(found.group(1)), int(found.group(2)) / 1e6


def h2load(host, payload, options):
    command = [
        "h2load", "-t", "1", "-c", str(options.connections), "-m", "1", "-D", str(options.seconds), "-d", payload.grpc,
        "-H", "content-type: application/grpc", "-H", "te: trailers", "http://%s%s" % (host, PATH),
    ]  # fmt: skip
    text = output_of(command)
    done = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed", text)
    good = re.search(r"status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx", text)
    if not done or not good or not int(done.group(1)) or int(done.group(2)) != int(done.group(1)):
        sys.exit("h2load met errors:\n%s" % text)
    return int(done.group(1)), float(options.seconds)


def report(samples, options):
    print(
        "Null model, %d connections with one request in flight on each, %d rounds of %d s, median (smallest to largest)"
        % (options.connections, options.rounds, options.seconds)
    )
    print("\n| Client | Protocol | Request (MB) | Embedded (requests/s) | Triton (requests/s) | Embedded / Triton |")
    print("|---|---|---:|---|---|---|")
    ratios = {}
    for protocol in options.protocols:
        for size in options.sizes:
            ours, theirs = samples["embedded", protocol, size], samples["triton", protocol, size]
            ratios[protocol, size] = [our / their for our, their in zip(ours, theirs)]
            cells = ["wrk" if protocol == "http" else "h2load", NAMES[protocol], size, spread(ours, "%.1f"), spread(theirs, "%.1f")]
            print("| " + " | ".join(cells + [spread(ratios[protocol, size], "%.2f")]) + " |")
    print()
    passed = [
        verdict(statistics.median(values) >= 1, "%s, %s MB: embedded / Triton %s >= 1" % (NAMES[protocol], size, spread(values, "%.2f")))
        for (protocol, size), values in ratios.items()
    ]
    return all(passed)


if __name__ == "__main__":
    main()
