"""Peak memory of one worker process: by payload, protocol and requests in flight, and whether it grows with their number.

Run it as bench/memory.

The runner measures the embedded server's null model from one worker process. That process is watched until it ends: its
VmHWM is the most memory that it ever had resident, parent and server left out. Some 8 MB of it are the program itself, of
which the system maps half a MB more or less from run to run; so verdicts are on medians over the rounds.
Every run's number of requests has to be the same in its row, in its histograms and by the server's count.

More requests in flight need no more memory. More connections do: over HTTP/1.1 each request in flight has one, which is
judged; over gRPC 64 in flight share one, which is judged, or have one each, whose cost is told.
"""

import argparse
import base64
import json
import os
import random
import statistics
import sys
import tempfile
import time
import zlib

from common import NAMES, ROOT, SHAPES, add_runner, embedded, peak_memory, rows_of, run_into, spread, verdict

REQUESTS = {"0.15": 2000, "4.9": 400, "39.3": 200}
LANES = {"http": [(1, 1), (64, 64)], "grpc": [(1, 1), (64, 1), (64, 64)]}  # requests in flight, and connections; the second is judged
FEW, MANY = 1000, 1000000  # requests of the smallest payload
MANY_ROUNDS = 3  # at most, of the many
BASE_MB, COPIES = 40, 2  # a worker may have so much, and so many payloads
GROWTH = 0.05  # what more requests, and more in flight, may add
MB = 1e6
SCENARIO = """title = "Memory"
[model]
name = "null"
[[input]]
name = "input.1"
datatype = "FP32"
shape = %s
data = {random = {seed = 1}}  # pages of zeros that were never written would not count
[[output]]
name = "nothing"
[matrix]
batch_sizes = [%d]
protocols = ["%s"]
concurrency = [%d]
connections = [%d]
[load]
blocks = 1
iterations = %d
warmup = 5
"""


def main():
    options = arguments()
    runs = [(protocol, size, lane, REQUESTS[size]) for protocol in options.protocols for size in options.sizes for lane in LANES[protocol]]
    runs += [(protocol, "0.001", LANES[protocol][0], count) for protocol in options.protocols for count in (FEW, options.many)]
    samples = {run: [] for run in runs}
    order = random.Random(options.seed)
    for number in range(options.rounds):
        # the many take a minute or two
        turn = [run for run in runs if number < MANY_ROUNDS or run[3] != options.many]
        for run in order.sample(turn, len(turn)):
            peak = sample(*run, options)
            samples[run].append(peak / MB)
            protocol, size, (in_flight, connections), count = run
            words = (number + 1, options.rounds, NAMES[protocol], size, in_flight, connections, count, peak / MB)
            print("round %d/%d  %s %5s MB, %2d in flight on %2d, %7d requests  %6.1f MB" % words, file=sys.stderr)
    sys.exit(0 if report(samples, options) else 1)


def arguments():
    parser = argparse.ArgumentParser(
        prog="bench/memory", description=__doc__.split("\n\n")[0], epilog="Exit code 1: a worker needs more than it may."
    )
    parser.add_argument("--rounds", type=int, default=7, help="how often each takes its turn [%(default)s]")
    parser.add_argument("--sizes", nargs="+", choices=list(REQUESTS), default=list(REQUESTS), help="of a request, in MB")
    parser.add_argument("--many", type=int, default=MANY, help="requests that are held against %d [%%(default)s]" % FEW)
    parser.add_argument("--protocols", nargs="+", choices=list(NAMES), default=list(NAMES))
    add_runner(parser)
    parser.add_argument("--seed", type=int, default=1, help="of the order [%(default)s]")
    options = parser.parse_args()
    if options.rounds < 1 or options.many <= FEW:
        parser.error("at least one round, and more than %d requests" % FEW)
    return options


def sample(protocol, size, lane, count, options):
    """The worker's peak memory in bytes."""
    batch, *shape = SHAPES[size]
    repository = os.path.join(ROOT, "tests", "model_repository")
    watch = Watch()
    with tempfile.TemporaryDirectory() as directory:
        scenario = os.path.join(directory, "memory.toml")
        with open(scenario, "w") as file:
            file.write(SCENARIO % (shape, batch, protocol, *lane, count))
        # its own server: what it keeps of large requests is not the next one's
        with embedded(options.runner, repository, "--model-config-name", "loopback", "--load-model", "null") as hosts:
            run = run_into(os.path.join(directory, "results"), options.runner, scenario, hosts, watch=watch)
        (row,) = rows_of(run)
        kept = histogram_total(os.path.join(run, "histograms.hlog"))
        with open(os.path.join(run, "run.json")) as file:
            counts = json.load(file)["counts"]
    # what the row says, what its histograms hold, and what the server counted
    exact = int(row["requests"]) == kept == counts["measured"] == count and counts["server"] == counts["measured"] + counts["prepared"]
    if row["status"] != "ok" or not exact or not watch.peak:
        words = (NAMES[protocol], size, row["status"], row["requests"], count, kept, counts, watch.peak)
        sys.exit("%s, %s MB: %s, %s requests of %d, %d in its histograms, counts %s, peak %d" % words)
    return watch.peak


def histogram_total(path):
    """The number of latencies in a log of HdrHistograms: base64, zlib, and then counts as zigzag LEB128, runs of zeros as negative ones."""
    total = 0
    with open(path) as file:
        lines = [line.strip() for line in file if line.startswith("Tag=")]
    for line in lines:
        payload = zlib.decompress(base64.b64decode(line.rsplit(",", 1)[1])[8:])[40:]
        place = 0
        while place < len(payload):
            value = 0
            for shift in range(0, 63, 7):
                byte = payload[place]
                place += 1
                # the ninth byte has eight bits
                value |= (byte if shift == 56 else byte & 127) << shift
                if byte < 128:
                    break
            total += max((value >> 1) ^ -(value & 1), 0)
    return total


class Watch:
    """The largest peak of the worker of a run: looked at again and again, because none can be asked when it has ended."""

    PERIOD = 0.01  # it ends some time after its last request, so nothing is missed between two looks

    def __init__(self):
        self.peak = 0

    def __call__(self, process):
        worker = None
        while process.poll() is None:
            worker = worker or worker_of(process.pid)
            if worker:
                try:
                    self.peak = max(self.peak, peak_memory(worker))
                except (OSError, SystemExit):
                    worker = None  # it has ended
            time.sleep(self.PERIOD)


def worker_of(parent):
    """The process of a runner that sends the requests, if it is there."""
    with open("/proc/%d/task/%d/children" % (parent, parent)) as file:
        children = file.read().split()
    for child in children:
        with open("/proc/%s/cmdline" % child, "rb") as file:
            if file.read().rstrip(b"\0").endswith(b"worker"):
                return child
    return None


def report(samples, options):
    print("Peak memory of one worker (MB), median (smallest to largest) of %d, at most %d of %d requests\n" % (options.rounds, MANY_ROUNDS, options.many))
    print("| Protocol | Request (MB) | In flight | Connections | Requests | Peak memory (MB) | May be (MB) |\n|---|---:|---:|---:|---:|---|---:|")
    verdicts = []
    median = {run: statistics.median(values) for run, values in samples.items()}
    for run, values in samples.items():
        protocol, size, lane, count = run
        limit = BASE_MB + COPIES * payload(size)
        print("| %s | %s | %d | %d | %d | %s | %.1f |" % (NAMES[protocol], size, *lane, count, spread(values, "%.1f"), limit))
        words = (NAMES[protocol], size, *lane, count, spread(values, "%.1f"), BASE_MB, COPIES)
        verdicts.append((median[run] <= limit, "%s, %s MB, %d in flight on %d, %d requests: %s MB, at most %d MB and %d payloads" % words))
    for protocol in options.protocols:
        one, many, *more = LANES[protocol]
        pairs = [((protocol, size, one, REQUESTS[size]), (protocol, size, many, REQUESTS[size])) for size in options.sizes]
        pairs.append(((protocol, "0.001", one, FEW), (protocol, "0.001", one, options.many)))
        for less, most in pairs:
            growth = median[most] - median[less]
            what = "%d in flight against 1" % many[0] if most[2] == many else "%d requests against %d" % (most[3], less[3])
            words = (NAMES[protocol], most[1], what, 100 * growth / median[less], 100 * GROWTH, growth)
            verdicts.append((growth <= GROWTH * median[less], "%s, %s MB: %s: %+.1f %%, at most %g %% (%+.1f MB)" % words))
        for lane, size in [(lane, size) for lane in more for size in options.sizes]:
            growth = median[protocol, size, lane, REQUESTS[size]] - median[protocol, size, many, REQUESTS[size]]
            print("\n%s, %s MB: a connection takes %.0f KB" % (NAMES[protocol], size, 1000 * growth / (lane[1] - many[1])), end="")
    print()
    return all([verdict(*words) for words in verdicts])


def payload(size):
    count = 4
    for side in SHAPES[size]:
        count *= side
    return count / MB


if __name__ == "__main__":
    main()
