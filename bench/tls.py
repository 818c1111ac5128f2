"""The runner beside the floor over TLS: its latency and CPU time, one request in flight.

Run it as bench/tls, which sets up what it needs. nginx takes TLS off in front of the embedded server, whose model `null`
computes nothing. The floor is the bare TLS library on a socket and an event loop, over gRPC with the bare HTTP/2 library
between (bench/floor.rs); both have their session before anything is timed.

Both clients run twice, with few and with many requests, as bench/peers has them: the difference of their CPU times over the
difference of the requests that the server counted is the CPU time of one request; percentiles are of the longer run. They take
turns in random order, the cases too, round by round, and a ratio is that of two turns of one round. Without TLS, past nginx,
the same is measured once more with --plain: what both pay for TLS.
"""

import argparse
import csv
import glob
import json
import os
import pathlib
import random
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor

from common import MODEL, NAMES, PATHS, ROOT, SHAPES, Payload, add_runner, embedded, run, settled, spread, successes, verdict
from peers import COUNTS, FLOOR, SCENARIO, WARMUP, Case, cell, label, number_form, percentiles_of

sys.path.insert(0, os.path.join(ROOT, "tests"))
from tls_front import Authority, nginx  # noqa: E402

SIZES = ["0.15", "4.9"]
CLIENTS = {"floor": "floor", "runner": "runner"}
MEASURES = {"p50": "median latency", "cpu": "CPU a request"}
LIMIT = 1.1
SECURE = {"http": "https", "grpc": "grpcs"}
PLAIN = {"http": "http-events", "grpc": "grpc"}  # the floor on the same event loop
MODELS = ["--model-config-name", "loopback", "--load-model", MODEL]


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as directory:
        folder = pathlib.Path(directory)
        authority = Authority(folder / "authority")
        certificate = authority.sign("server", "DNS:localhost,IP:127.0.0.1")
        (folder / "nginx").mkdir()
        with embedded(options.runner, os.path.join(ROOT, "tests", "model_repository"), *MODELS) as hosts:
            process, ports = nginx(folder / "nginx", hosts, {"tls": (certificate, None), "plain": (None, None)})
            with process:
                # in its own process: a client is measured with all that its starter has for children, which the servers must not be
                with ProcessPoolExecutor(1) as apart:
                    kept = apart.submit(measure, options, directory, hosts, ports, authority.ca).result()
        sys.exit(0 if kept else 1)


def measure(options, directory, hosts, ports, ca):
    bench = Bench(options, directory, hosts, ports, ca)
    bench.measure()
    print(bench.table())
    return bench.judge()


def arguments():
    parser = argparse.ArgumentParser(
        prog="bench/tls", description=__doc__.split("\n\n")[0], epilog="Exit code 1: the runner takes more than %s times the floor." % LIMIT
    )
    parser.add_argument("--rounds", type=int, default=9, help="how often each client takes its turn [%(default)s]")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=SIZES, help="of a request, in MB")
    parser.add_argument("--protocols", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--share", type=float, default=1, help="of the requests that a turn has otherwise [%(default)s]")
    parser.add_argument("--plain", action="store_true", help="also without TLS, through the same nginx; nothing is judged by that")
    add_runner(parser)
    parser.add_argument("--seed", type=int, default=1, help="of the order [%(default)s]")
    options = parser.parse_args()
    if options.rounds < 1 or options.share <= 0:
        parser.error("at least one round, and some requests")
    return options


class Bench:
    """What all turns need, and what they found: samples by case, TLS or not, and client, and by round."""

    def __init__(self, options, directory, hosts, ports, ca):
        self.options, self.directory, self.hosts, self.ca = options, directory, hosts, ca
        self.fronts = {front: dict(zip(NAMES, ("localhost:%d" % port for port in pair))) for front, pair in ports.items()}
        self.payloads = {size: Payload(size, directory) for size in options.sizes}
        for payload in self.payloads.values():
            payload.check(hosts)
        fronts = ["tls", "plain"] if options.plain else ["tls"]
        self.cases = [(Case(size, protocol, 1, 1), front) for size in options.sizes for protocol in options.protocols for front in fronts]
        self.samples = {(case, client): {} for case in self.cases for client in CLIENTS}

    def measure(self):
        order = random.Random(self.options.seed)
        for number in range(self.options.rounds):
            cases = list(self.cases)
            order.shuffle(cases)
            for case in cases:
                clients = list(CLIENTS)
                order.shuffle(clients)
                for client in clients:
                    sample = self.turn(case, client)
                    self.samples[case, client][number] = sample
                    words = ", ".join("%s %s" % (key, number_form(sample[key]) % sample[key]) for key in MEASURES)
                    print("round %d/%d  %-24s %-8s %s" % (number + 1, self.options.rounds, name_of(case), client, words), file=sys.stderr)
        for samples in self.samples.values():
            start_up = statistics.median(sample["few_cpu_s"] for sample in samples.values())
            for sample in samples.values():
                sample["cpu"] = (sample["many_cpu_s"] - start_up) * 1000 / sample["more_requests"]

    def turn(self, case, client):
        few, many = (max(int(count * self.options.share), 10) for count in COUNTS[case[0].size])
        client = {"floor": self.floor, "runner": self.runner}[client]
        short, long = self.counted(case, client, few), self.counted(case, client, many)
        requests = long["counted"] - short["counted"]
        if requests != many - few:
            sys.exit("%s: the server counted %d more requests, not %d" % (name_of(case), requests, many - few))
        return {
            "p50": long["p50_ms"], "p99": long["p99_ms"], "cpu": (long["cpu_s"] - short["cpu_s"]) * 1000 / requests,
            "few_cpu_s": short["cpu_s"], "many_cpu_s": long["cpu_s"], "more_requests": requests,
        }  # fmt: skip

    def counted(self, case, client, count):
        """One run of a client, and how many requests the server counted meanwhile."""
        before = settled(self.hosts)
        ended, percentiles = client(case, count)
        deadline = time.monotonic() + 2  # the server may count an answer after it is sent
        while successes(self.hosts) < before + count and time.monotonic() < deadline:
            time.sleep(0.01)
        return {"counted": successes(self.hosts) - before, "cpu_s": ended.cpu_s, **percentiles}

    def floor(self, case, count):
        (size, protocol, _, _), front = case
        payload = self.payloads[size]
        json_length = payload.headers["Inference-Header-Content-Length"] if protocol == "http" else "0"
        spoken = (SECURE if front == "tls" else PLAIN)[protocol]
        command = [FLOOR, spoken, self.fronts[front][protocol], payload.files[protocol], json_length, PATHS[protocol], str(count), str(WARMUP)]
        ended = run(command, FLOOR_CA=str(self.ca))
        return ended, percentiles_of(json.loads(ended.text))

    def runner(self, case, count):
        """One run of the runner with a scenario of one case and one block."""
        (size, protocol, _, _), front = case
        batch, *shape = SHAPES[size]
        with tempfile.TemporaryDirectory(dir=self.directory) as directory:
            scenario = os.path.join(directory, "null.toml")
            text = SCENARIO.format(
                model=MODEL, input="input.1", output="nothing", shape=shape, batch=batch, protocol=protocol, count=count,
                concurrency=1, connections="", warmup=WARMUP,
            )  # fmt: skip
            server = 'tls_ca = "%s"\n' % self.ca if front == "tls" else ""
            for name, address in self.fronts[front].items():
                server += '%s = "%s%s"\n' % (name, SECURE[name] + "://" if front == "tls" else "", address)
            with open(scenario, "w") as file:
                file.write(text.replace("[model]", "[server]\n%s[model]" % server, 1))
            ended = run([self.options.runner, scenario, "--results", directory])
            (folder,) = glob.glob(os.path.join(directory, "null", "*"))
            with open(os.path.join(folder, "records.csv"), newline="") as file:
                (row,) = csv.DictReader(file)
        if row["status"] != "ok" or int(row["requests"]) != count or row["reconnects"] != "0":
            sys.exit("runner, %s: %s %s, %s requests, %s reconnects" % (name_of(case), row["status"], row["reason"], row["requests"], row["reconnects"]))
        return ended, percentiles_of(row)

    def values(self, case, client, measure):
        return [sample[measure] for _, sample in sorted(self.samples[case, client].items())]

    def ratios(self, case, measure):
        """The runner's over the floor's, of the same round."""
        return [ours / theirs for ours, theirs in zip(self.values(case, "runner", measure), self.values(case, "floor", measure))]

    def table(self):
        lines = [
            "Null model of the embedded server behind nginx, rounds: %d, median (smallest to largest), one request in flight."
            % self.options.rounds,
            "",
            "| Request | Client | Median latency (ms) | p99 (ms) | CPU a request (ms) | Runner / floor: median latency | CPU |",
            "|---|---|---|---|---|---|---|",
        ]
        for case in self.cases:
            for client, name in CLIENTS.items():
                cells = [name_of(case), name] + [cell(self.values(case, client, measure)) for measure in ("p50", "p99", "cpu")]
                cells += [cell(self.ratios(case, measure), "%.2f") if client == "runner" else "" for measure in MEASURES]
                lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"

    def judge(self):
        """Prints a line for each limit; whether all are kept."""
        passed = []
        for case in self.cases:
            for measure, words in MEASURES.items() if case[1] == "tls" else ():
                values = self.ratios(case, measure)
                kept = statistics.median(values) <= LIMIT
                passed.append(verdict(kept, "%s: %s, runner / floor %s <= %s" % (name_of(case), words, spread(values, "%.3f"), LIMIT)))
        return all(passed)


def name_of(case):
    return "%s, %s" % (label(case[0]), {"tls": "TLS", "plain": "no TLS"}[case[1]])


if __name__ == "__main__":
    main()
