"""Requests per second of the null model: the embedded server against a real Triton's Python backend.

Run it as bench/embedded_throughput, which sets up what it needs and starts both servers.

wrk asks over HTTP, h2load over gRPC; neither knows the protocol, so their requests are prepared here. Both servers run
all the time and one at a time is asked, in random order round by round, so that the machine's drift hits both. A sample
counts only if the server's own statistics agree with what the client says: h2load does not look at grpc-status.
"""

import argparse
import os
import random
import statistics
import sys
import tempfile

from common import NAMES, Payload, rate, spread, verdict

SIZES = ["0.15", "4.9", "39.3"]
SERVERS = ["embedded", "triton"]


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
                found = rate(protocol, hosts[server], payloads[size], options.connections, 1, options.seconds)
                samples[server, protocol, size].append(found.requests / found.seconds)
                words = (number + 1, options.rounds, server, NAMES[protocol], size, found.requests / found.seconds)
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
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=SIZES, help="of a request, in MB")
    parser.add_argument("--protocols", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--seed", type=int, default=1, help="of the order [%(default)s]")
    options = parser.parse_args()
    if min(options.rounds, options.seconds, options.connections) < 1:
        parser.error("at least one round, one second and one connection")
    return options


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
