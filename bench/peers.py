"""The runner beside perf_analyzer, Python's tritonclient, wrk, h2load, and a floor below which no client can go.

Run it as bench/peers, which sets up what it needs and starts a real Triton and the embedded server, both with the model `null`.

Latency, CPU and memory: one request in flight to Triton. Every client is run twice, with few and with many requests, as a
process of its own; the difference of the two CPU times (user + system, all descendants included) over the difference of the
requests that the *server* counted is the CPU time of one request, without start-up. What is subtracted is the median of all
short runs of that client. Percentiles are the client's own words about the longer run; memory is the peak of its largest
process in that run. perf_analyzer keeps a copy of an item of every request: its memory grows with their number, to 1 GB here.

Highest rate: four connections to Triton with one request in flight on each, for some seconds. wrk asks over HTTP, h2load over
gRPC; they do not know the protocol and send what was prepared.

Small requests (0.001 MB) go to the embedded server, which takes enough of them to keep a client busy: what one worker of the
runner answers per second of CPU time, against wrk and h2load with the same connections and streams.

The clients of a case take turns in random order, the cases too, round by round; a ratio is that of two turns of one round, so
that the machine's drift hits both. The largest requests have three short turns a round instead of a long one: now and then the
system takes hundreds of milliseconds of CPU time for a single one of them, which a median of many turns bears.
"""

import argparse
import csv
import glob
import json
import os
import random
import re
import statistics
import sys
import tempfile
import time
from collections import namedtuple
from concurrent.futures import ProcessPoolExecutor

from common import INPUT, MODEL, NAMES, OUTPUT, PATHS, ROOT, SHAPES, Hung, Payload, add_runner, rate, run, settled, spread, successes, verdict

FLOOR = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release", "examples", "floor")
PEERS = os.path.join(ROOT, ".venv-peers")
CLIENTS = {
    "floor": "floor",
    "floor_events": "floor, event loop",
    "perf_analyzer": "perf_analyzer 2.48.0",
    "tritonclient": "Python tritonclient 2.48.0",
    "wrk": "wrk",
    "h2load": "h2load",
    "runner": "runner",
}
MEASURES = ["p50", "p99", "cpu", "memory", "rate"]
GENERATOR = {"http": "wrk", "grpc": "h2load"}
SMALL = "0.001"

# requests of the short and of the long run
COUNTS = {"0.15": (200, 5200), "4.9": (50, 1050), "39.3": (4, 24)}
SLOW = ["perf_analyzer", "tritonclient"]  # would take most of the time, and perf_analyzer five gigabytes
SLOW_COUNTS = {"0.15": (200, 2000), "4.9": (20, 220)}
WARMUP = 3
TURNS = {"39.3": 3}  # of a round, if not one; rates and tritonclient in the first alone
TRUSTED = 1000  # requests that a 99th percentile needs

# `connections` of them with `streams` requests in flight on each
Case = namedtuple("Case", ["size", "protocol", "connections", "streams"])
SMALL_CASES = {"http": [(4, 1), (16, 1)], "grpc": [(4, 1), (16, 1), (4, 16)]}


def main():
    options = arguments()
    hosts = {
        server: {protocol: os.environ["%s_%s" % (server, protocol.upper())] for protocol in NAMES} for server in ["TRITON", "EMBEDDED"]
    }
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(options, hosts, directory)
        order = random.Random(options.seed)
        visits = [(case, visit) for case in cases_of(options) for visit in range(TURNS.get(case.size, 1))]
        for number in range(options.rounds):
            order.shuffle(visits)
            for case, visit in visits:
                turns = bench.turns(case, visit)
                order.shuffle(turns)
                for client, turn in turns:
                    try:
                        sample = turn()
                    except Hung as words:
                        print("round %d/%d  %s: %s, and this turn is left out" % (number + 1, options.rounds, label(case), words), file=sys.stderr)
                        continue
                    bench.samples.setdefault((case, client), {}).setdefault((number, visit), {}).update(sample)
                    words = ", ".join("%s %s" % (key, number_form(value) % value) for key, value in sample.items() if key in MEASURES)
                    print("round %d/%d  %-37s %-13s  %s" % (number + 1, options.rounds, label(case), client, words), file=sys.stderr)
        bench.subtract_start_up()
        print(table(bench, options))
        sys.exit(0 if judge(bench) else 1)


def arguments():
    parser = argparse.ArgumentParser(
        prog="bench/peers", description=__doc__.split("\n\n")[0], epilog="Exit code 1: the runner takes more than it may."
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often each client takes its turn [%(default)s]")
    parser.add_argument("--seconds", type=int, default=2, help="of a turn that measures a rate [%(default)s]")
    parser.add_argument("--sizes", nargs="+", choices=list(SHAPES), default=list(SHAPES), help="of a request, in MB; %s: embedded server" % SMALL)
    parser.add_argument("--protocols", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--clients", nargs="+", choices=list(CLIENTS), default=list(CLIENTS), help="without the runner there is no verdict")
    add_runner(parser)
    parser.add_argument("--seed", type=int, default=1, help="of the order [%(default)s]")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds < 1:
        parser.error("at least one round and one second")
    return options


def cases_of(options):
    cases = []
    for size in options.sizes:
        for protocol in options.protocols:
            lanes = SMALL_CASES[protocol] if size == SMALL else [(4, 1)]
            cases += [Case(size, protocol, connections, streams) for connections, streams in lanes]
    return cases


# --- one turn of a client ---


class Bench:
    """What all turns need, and what they found: samples by case and client, and by round and visit."""

    def __init__(self, options, hosts, directory):
        self.options = options
        self.hosts = hosts
        self.directory = directory
        self.samples = {}
        # in its own process: a client's peak memory is not told apart from that of the process which starts it
        with ProcessPoolExecutor(1) as apart:
            self.payloads = {size: apart.submit(Payload, size, directory).result() for size in options.sizes}
            for size, payload in self.payloads.items():
                apart.submit(payload.check, self.host(size)).result()
        # how many requests the runner can be asked for, to be busy for the same time as the others
        self.expected = {case: self.generator(case, 1)["rate"] for case in cases_of(options)}

    def host(self, size):
        return self.hosts["EMBEDDED" if size == SMALL else "TRITON"]

    def turns(self, case, visit):
        """Pairs of a client's name and what it does in the case, as functions that give a sample."""
        turns = []
        if visit == 0:
            turns.append((GENERATOR[case.protocol], lambda: self.generator(case, self.options.seconds)))
            turns.append(("runner", lambda: self.runner_rate(case)))
        if visit == 0 and case.size != SMALL:
            turns.append(("perf_analyzer", lambda: self.perf_analyzer_rate(case)))
            turns.append(("tritonclient", lambda: self.latency(case, "tritonclient", tritonclient)))
        if case.size != SMALL:
            for client in [floor, perf_analyzer, runner] + ([floor_events] if case.protocol == "http" else []):
                turns.append((client.__name__, lambda client=client: self.latency(case, client.__name__, client)))
        return [(client, turn) for client, turn in turns if client in self.options.clients]

    def latency(self, case, name, client):
        """Latency and peak memory of a long run with one request in flight, CPU time of it and of a short one."""
        few, many = counts(name, case.size)
        short, long = self.counted(case, client, few), self.counted(case, client, many)
        requests = long["counted"] - short["counted"]
        if requests != many - few:
            sys.exit("%s, %s: the server counted %d more requests, not %d" % (name, label(case), requests, many - few))
        return {
            "p50": long["p50_ms"], "p99": long["p99_ms"], "memory": long["peak_mb"],
            "cpu": (long["cpu_s"] - short["cpu_s"]) * 1000 / requests,  # until the start-up is better known
            "few_cpu_s": short["cpu_s"], "many_cpu_s": long["cpu_s"], "more_requests": requests,
        }  # fmt: skip

    def subtract_start_up(self):
        """CPU milliseconds of one request, once all short runs are known."""
        for (case, client), samples in self.samples.items():
            timed = [sample for sample in samples.values() if "few_cpu_s" in sample]
            for sample in timed:
                start_up = statistics.median(other["few_cpu_s"] for other in timed)
                sample["cpu"] = (sample["many_cpu_s"] - start_up) * 1000 / sample["more_requests"]
                if sample["cpu"] <= 0:
                    sys.exit("%s, %s: more requests took no more CPU time; something was not counted" % (client, label(case)))

    def counted(self, case, client, count):
        """One run of a client, and how many requests the server counted meanwhile."""
        host = self.host(case.size)
        before = settled(host)  # perf_analyzer leaves requests behind that are counted after its end
        ended, percentiles = client(self, case, count)
        deadline = time.monotonic() + 2  # the server may count an answer after it is sent
        while successes(host) < before + count and time.monotonic() < deadline:
            time.sleep(0.01)
        return {"counted": successes(host) - before, "cpu_s": ended.cpu_s, "peak_mb": ended.peak_mb, **percentiles}

    def generator(self, case, seconds):
        """The rate of wrk or h2load; of small requests also their CPU time."""
        found = rate(case.protocol, self.host(case.size), self.payloads[case.size], case.connections, case.streams, seconds)
        sample = {"rate": found.requests / found.seconds}
        return dict(sample, cpu=found.cpu_s * 1000 / found.requests) if case.size == SMALL else sample

    def runner_rate(self, case):
        """The rate of one of the runner's workers; of small requests also its CPU time, by its own words."""
        in_flight = case.connections * case.streams
        count = max(int(self.expected[case] * self.options.seconds), in_flight)
        _, row = self.run_runner(case, count, in_flight, case.connections if case.streams > 1 else None)
        sample = {"rate": float(row["requests_per_s"])}
        return dict(sample, cpu=float(row["client_cpu_ms"])) if case.size == SMALL else sample

    def perf_analyzer_rate(self, case):
        """Three windows, as it judges stability by them; with a number of requests it would round the time to whole seconds."""
        window = ["--measurement-interval", str(self.options.seconds * 1000 // 3), "--max-trials", "3", "--stability-percentage", "999"]
        command, environment = self.perf_analyzer_command(case, case.connections, window)
        # by default requests in flight share a connection over gRPC
        ended = run(command, TRITON_CLIENT_GRPC_CHANNEL_MAX_SHARE_COUNT="1", **environment)
        found = re.search(r"Throughput: ([\d.]+) infer/sec", ended.text)
        if not found or not float(found.group(1)):
            sys.exit("perf_analyzer told no throughput:\n%s" % ended.text)
        return {"rate": float(found.group(1)) / SHAPES[case.size][0]}

    def perf_analyzer_command(self, case, concurrency, more):
        batch, *shape = SHAPES[case.size]
        command = [
            os.path.join(PEERS, "bin", "perf_analyzer"), "-m", MODEL, "-i", case.protocol, "-u", self.host(case.size)[case.protocol],
            "-b", str(batch), "--shape", "%s:%s" % (INPUT, ",".join(map(str, shape))), "--input-data", "zero",
            "--concurrency-range", str(concurrency),
        ]  # fmt: skip
        return command + more, {"LD_LIBRARY_PATH": os.path.join(PEERS, "perf_analyzer-libraries")}

    def run_runner(self, case, count, concurrency, connections=None):
        """One run of the runner with a scenario of one case and one block: how it ended, and its row."""
        batch, *shape = SHAPES[case.size]
        with tempfile.TemporaryDirectory(dir=self.directory) as directory:
            scenario = os.path.join(directory, "null.toml")
            with open(scenario, "w") as file:
                file.write(
                    SCENARIO.format(
                        model=MODEL, input=INPUT, output=OUTPUT, shape=shape, batch=batch, protocol=case.protocol, count=count,
                        concurrency=concurrency, connections="connections = [%d]" % connections if connections else "",
                        warmup=max(WARMUP, concurrency),
                    )  # fmt: skip
                )
            host = self.host(case.size)
            command = [self.options.runner, scenario, "--http", host["http"], "--grpc", host["grpc"], "--results", directory]
            ended = run(command)
            (folder,) = glob.glob(os.path.join(directory, "null", "*"))
            with open(os.path.join(folder, "records.csv"), newline="") as file:
                (row,) = csv.DictReader(file)
            with open(os.path.join(folder, "run.json")) as file:
                found = json.load(file)["counts"]
        if row["status"] != "ok" or int(row["requests"]) != count or found["server"] != found["measured"] + found["prepared"]:
            sys.exit("runner, %s: %s %s, %s requests, counts %s" % (label(case), row["status"], row["reason"], row["requests"], found))
        return ended, row


SCENARIO = """
title = "Null model"
[model]
name = "{model}"
[[input]]
name = "{input}"
datatype = "FP32"
shape = {shape}
data = "zeros"
[[output]]
name = "{output}"
[matrix]
protocols = ["{protocol}"]
batch_sizes = [{batch}]
processes = [1]
concurrency = [{concurrency}]
{connections}
[load]
iterations = {count}
warmup = {warmup}
blocks = 1
timeout_s = 30
"""


def counts(client, size):
    return SLOW_COUNTS.get(size, COUNTS[size]) if client in SLOW else COUNTS[size]


# --- the clients, one request in flight: how a run of `count` requests ended, and its percentiles ---


def floor(bench, case, count, loop=""):
    payload, protocol = bench.payloads[case.size], case.protocol
    json_length = payload.headers["Inference-Header-Content-Length"] if protocol == "http" else "0"
    host = bench.host(case.size)[protocol]
    ended = run([FLOOR, protocol + loop, host, payload.files[protocol], json_length, PATHS[protocol], str(count), str(WARMUP)])
    return ended, percentiles_of(json.loads(ended.text))


def floor_events(bench, case, count):
    """The socket on an event loop, as the floor over gRPC is: what a client pays for having more than one request in flight."""
    return floor(bench, case, count, "-events")


def perf_analyzer(bench, case, count):
    command, environment = bench.perf_analyzer_command(case, 1, ["--request-count", str(count)])
    ended = run(command, **environment)
    found = {name: re.search(r"%s latency: (\d+) usec" % name, ended.text) for name in ["p50", "p99"]}
    if not all(found.values()):
        sys.exit("perf_analyzer told no percentiles:\n%s" % ended.text)
    return ended, {name + "_ms": int(match.group(1)) / 1000 for name, match in found.items()}


def tritonclient(bench, case, count):
    loop = os.path.join(ROOT, "bench", "tritonclient_loop.py")
    shape = ",".join(map(str, SHAPES[case.size]))
    ended = run([sys.executable, loop, case.protocol, bench.host(case.size)[case.protocol], shape, str(count), str(WARMUP)])
    return ended, percentiles_of(json.loads(ended.text))


def runner(bench, case, count):
    ended, row = bench.run_runner(case, count, 1)
    return ended, percentiles_of(row)


def percentiles_of(row):
    return {name: float(row[name]) for name in ["p50_ms", "p99_ms"]}


# --- what comes out ---


def label(case):
    words = "%s MB %s" % (case.size, NAMES[case.protocol])
    if case.size == SMALL:
        words += ", %d connections" % case.connections
    if case.streams > 1:
        words += " x %d" % case.streams
    return words


def number_form(value):
    """Three digits or so."""
    return next(form for limit, form in [(0.1, "%.4f"), (1, "%.3f"), (10, "%.2f"), (100, "%.1f"), (float("inf"), "%.0f")] if value < limit)


def values_of(bench, case, client, measure):
    """By round and visit."""
    samples = bench.samples.get((case, client), {})
    return {turn: sample[measure] for turn, sample in samples.items() if measure in sample}


def ratios(bench, case, client, measure):
    """The runner's over the client's, of the same round and visit."""
    ours, theirs = (values_of(bench, case, name, measure) for name in ("runner", client))
    return [ours[turn] / theirs[turn] for turn in ours if turn in theirs]


def cell(values, form=None, mark=""):
    return mark + spread(values, form or number_form(statistics.median(values))) if values else ""


def table(bench, options):
    lines = [
        "Null model, rounds: %d, median (smallest to largest). One request in flight; the highest rate with 4 connections, one in flight on each."
        % options.rounds,
        "%s MB: the embedded server, CPU time at the highest rate. ~: fewer than %d requests, too few for a 99th percentile to be trusted."
        % (SMALL, TRUSTED),
        "",
        "| Request | Client | Median latency (ms) | p99 (ms) | CPU a request (ms) | Peak memory (MB) | Highest rate (requests/s) "
        "| Runner / this: median latency | p99 | CPU | highest rate |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in cases_of(options):
        for client, name in CLIENTS.items():
            if (case, client) not in bench.samples:
                continue
            cells = [label(case), name]
            for measure in MEASURES:
                cells.append(cell(list(values_of(bench, case, client, measure).values()), mark=doubt(case, [client], measure)))
            for measure in ["p50", "p99", "cpu", "rate"]:
                found = ratios(bench, case, client, measure) if client != "runner" else []
                cells.append(cell(found, "%.2f", doubt(case, [client, "runner"], measure)))
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def doubt(case, clients, measure):
    if measure != "p99" or case.size == SMALL:
        return ""
    return "~" if min(counts(client, case.size)[1] for client in clients) < TRUSTED else ""


def judge(bench):
    """Prints a line for each limit that could be held against a measurement; whether all are kept."""
    passed = []
    for case in cases_of(bench.options):
        for measure, words, client, limit in limits(case):
            values = ratios(bench, case, client, measure)
            if values and case.size != SMALL:
                kept = statistics.median(values) <= limit
                passed.append(verdict(kept, "%s: %s, runner / %s %s <= %s" % (label(case), words, client, spread(values, "%.3f"), limit)))
            elif values:
                values = [1 / value for value in values]
                kept = statistics.median(values) >= limit
                words = (label(case), words, client, spread(values, "%.3f"), limit)
                passed.append(verdict(kept, "%s: %s, runner / %s %s >= %s (the aim is 0.8)" % words))
    return all(passed)


def limits(case):
    """What the runner may take, as a share of a client's."""
    if case.size == SMALL:
        return [("cpu", "requests per CPU second", GENERATOR[case.protocol], 0.5)]
    grpc, large = case.protocol == "grpc", case.size in ("4.9", "39.3")
    return [
        ("p50", "median latency", "floor", 1.05),
        ("p50", "median latency", "perf_analyzer", 0.65 if grpc and case.size == "39.3" else 1.0),
        ("cpu", "CPU a request", "floor", 1.2),
        ("cpu", "CPU a request", "perf_analyzer", 0.5 if grpc and large else 1.0),
    ]


if __name__ == "__main__":
    main()
