"""The capacity that the runner finds of queues whose capacity is known in closed form, and what perf_analyzer's binary search says.

Run it as bench/capacity.

The embedded server's loopback models are queues: one server with constant (M/D/1) or exponential (M/M/1) service times, and two
servers (M/M/2). Which rate keeps a percentile of response times within a bound follows from theory. Every run has its own server
and its own draws. Told are how often the interval holds the true capacity, how wide it is, how far off the estimate is and how long it
took; and the same of perf_analyzer, which gives one number and no interval.

No server is as fast as its theory: between two executions it hands out an answer and takes a request, and what the network and its
front end add to a response time is in no queue. Both are measured of each search's own server, right before it: by how much a request
takes longer than 2 ms where four are in flight and the model never waits, and by how much more where one is alone. The theory gets
the service time and the bound that are left.

With --pairs it is asked instead whether two models are told apart whose capacities differ by 5 % (service times of 2 and 2.1 ms),
and how often two equal ones are, which is wrong. Requests then come at constant intervals, as a queue of Poisson arrivals takes about
ten minutes a model to be known that well.
"""

import argparse
import csv
import glob
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from common import ROOT, add_runner, embedded, loopback_scenario, run_scenario, spread, verdict, write_loopback

SERVICE_S = 0.002
# model, percentile, bound in milliseconds: long against what a network adds, short against a block
SETTINGS = [
    ("md1", 95, 12),
    ("md1", 99, 20),
    ("mm1", 95, 30),
    ("mm1", 99, 50),
    ("mm2", 95, 30),
    ("mm2", 99, 50),
]
NAMED = {"md1": "M/D/1", "mm1": "M/M/1", "mm2": "M/M/2"}
SERVICE = {"md1": "constant 2ms", "mm1": "exponential 2ms", "mm2": "exponential 4ms"}
INSTANCES = "instance_group [ { count: 2 } ]\n"
COVERED = 0.93

SCENARIO = loopback_scenario("Capacity of a queue", "%s", 16, """[matrix]
protocols = ["%s"]
%s
[load]
precision = "%s%%"
seed = %d
arrival = "%s"
[capacity]
bound = {p%d_ms = %g}
budget_s = %d
%s""")

# where the model never waits, and where a request is alone
PLAIN = loopback_scenario("What the server adds", "plain", 16, """[matrix]
protocols = ["%s"]
concurrency = [1, 4]
[load]
duration_s = 2
blocks = 2
""")


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as directory:
        if options.pairs:
            sys.exit(0 if pairs(options, directory) else 1)
        tasks = [(number, setting) for number in range(options.rounds) for setting in SETTINGS]
        random.Random(options.seed).shuffle(tasks)
        found = {setting: [] for setting in SETTINGS}
        with ThreadPoolExecutor(options.at_once) as pool:
            for setting, result in pool.map(lambda task: search(task, directory, options), tasks):
                found[setting].append(result)
                words = (len(sum(found.values(), [])), len(tasks), NAMED[setting[0]], setting[1], setting[2], truth(setting, Beyond()), result.true, result)
                print("%d/%d  %s p%d within %g ms: in theory %.1f/s, of this server %.1f/s, found %s" % words, file=sys.stderr)
        others = {}
        for setting in SETTINGS if options.peer_rounds else []:
            others[setting] = [binary_search(setting, directory, number, options) for number in range(options.peer_rounds)]
        sys.exit(0 if report(found, others, options) else 1)


def arguments():
    parser = argparse.ArgumentParser(prog="bench/capacity", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=17, help="searches of each of the six settings [%(default)s]")
    parser.add_argument("--budget", type=int, default=60, help="longest search in seconds [%(default)s]")
    parser.add_argument("--precision", default="3", help="when a search ends, in percent [%(default)s]")
    parser.add_argument("--at-once", type=int, default=1, help="searches at the same time, each against its own server [%(default)s]")
    parser.add_argument("--peer-rounds", type=int, default=1, help="binary searches of perf_analyzer in each setting [%(default)s]")
    parser.add_argument("--pairs", type=int, default=0, metavar="N", help="tell N pairs of unequal and of equal models apart instead")
    parser.add_argument("--protocol", choices=["http", "grpc"], default="grpc")
    parser.add_argument("--seed", type=int, default=1, help="of the order, and of what is drawn [%(default)s]")
    add_runner(parser)
    return parser.parse_args()


# --- theory ---


class Beyond:
    """What a server adds to each service time, and to each response time beside that, in seconds."""

    def __init__(self, service_s=0.0, response_s=0.0):
        self.service_s, self.response_s = service_s, response_s


def late(model, rate, bound_s, beyond):
    """The share of requests whose response time is beyond a bound."""
    service_s = SERVICE_S + beyond.service_s
    bound_s -= beyond.response_s
    if model == "mm1":
        return math.exp(-(1 / service_s - rate) * bound_s)
    if model == "mm2":
        each = 1 / (2 * SERVICE_S + beyond.service_s)
        load = rate / each
        waits = erlang_c(2, load)
        left = 2 - 1 - load
        beyond = each * bound_s if abs(left) < 1e-9 else (1 - math.exp(-each * bound_s * left)) / left
        return math.exp(-each * bound_s) * (1 + waits * beyond)
    # M/D/1: Erlang's sum for the wait
    wait, load = bound_s - service_s, rate * service_s
    total = 0.0
    for served in range(int(wait / service_s) + 1):
        x = rate * (served * service_s - wait)
        total += x**served * math.exp(-x) / math.factorial(served)
    return 1 - (1 - load) * total


def erlang_c(servers, load):
    """The probability that a request waits in an M/M/c queue."""
    top = load**servers / math.factorial(servers) * servers / (servers - load)
    return top / (sum(load**k / math.factorial(k) for k in range(servers)) + top)


def truth(setting, beyond):
    """The capacity, by bisection."""
    model, percentile, bound_ms = setting
    low, high = 1.0, 0.9999 / (SERVICE_S + beyond.service_s)
    for _ in range(60):
        middle = (low + high) / 2
        if late(model, middle, bound_ms / 1e3, beyond) <= 1 - percentile / 100:
            low = middle
        else:
            high = middle
    return low


# --- searches ---


def models(directory, names, seed):
    """A repository of models with their own draws."""
    repository = tempfile.mkdtemp(dir=directory)
    for name, service in names.items():
        write_loopback(repository, name, 16, 16, {"service_time": service, "seed": str(seed)})
        if name == "mm2":
            with open(os.path.join(repository, name, "config.pbtxt"), "a") as file:
                file.write(INSTANCES)
    return repository


def measured_beyond(directory, hosts, options):
    """What the server adds at this time, by its model `plain`, which takes 2 ms."""
    path = os.path.join(tempfile.mkdtemp(dir=directory), "plain.toml")
    with open(path, "w") as file:
        file.write(PLAIN % options.protocol)
    rows, _ = run_scenario(options.runner, path, hosts)
    of = {row["concurrency"]: row for row in rows}
    service_s = 1 / float(of["4"]["requests_per_s"]) - SERVICE_S
    return Beyond(service_s, float(of["1"]["mean_ms"]) / 1e3 - SERVICE_S - service_s)


def searched(directory, names, scenario, options, seed):
    """Rows of a run, comparisons, the seconds that it took, and what the server added to its theory."""
    results = tempfile.mkdtemp(dir=directory)
    path = os.path.join(results, "queue.toml")
    with open(path, "w") as file:
        file.write(scenario)
    with embedded(options.runner, models(directory, dict(names, plain="constant 2ms"), seed)) as hosts:
        beyond = measured_beyond(directory, hosts, options)
        begin = time.monotonic()
        command = [options.runner, path, "--quiet", "--results", results, "--http", hosts["http"], "--grpc", hosts["grpc"]]
        ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        seconds = time.monotonic() - begin
    (run,) = glob.glob(os.path.join(results, "queue", "*"))
    tables = []
    for name in ("records.csv", "comparisons.csv"):
        with open(os.path.join(run, name), newline="") as file:
            tables.append(list(csv.DictReader(file)))
    if not tables[0]:
        sys.exit("no row:\n%s" % ended.stderr)
    return tables[0], tables[1], seconds, beyond


class Found:
    """What a search found."""

    def __init__(self, row, seconds, true, beyond):
        number = lambda column: float(row[column]) if row[column] else None
        self.value, self.low, self.high = (number("capacity%s_per_s" % end) for end in ("", "_low", "_high"))
        self.seconds, self.blocks, self.true, self.beyond = seconds, int(row["blocks"]), true, beyond

    def covers(self):
        return self.value is not None and self.low <= self.true <= self.high

    def __str__(self):
        if self.value is None:
            return "nothing in %.0f s" % self.seconds
        return "%.1f (%.1f to %.1f) in %.0f s" % (self.value, self.low, self.high, self.seconds)


def search(task, directory, options):
    number, setting = task
    model, percentile, bound = setting
    seed = 1000 * options.seed + 10 * number + SETTINGS.index(setting)
    scenario = SCENARIO % (model, options.protocol, "", options.precision, seed, "poisson", percentile, bound, options.budget, "")
    rows, _, seconds, beyond = searched(directory, {model: SERVICE[model]}, scenario, options, seed)
    return setting, Found(rows[0], seconds, truth(setting, beyond), beyond)


def binary_search(setting, directory, number, options):
    """The rate that perf_analyzer's binary search ends with, the seconds that it took, and the server's capacity."""
    model, percentile, bound = setting
    peers = os.path.join(ROOT, ".venv-peers")
    with embedded(options.runner, models(directory, {model: SERVICE[model], "plain": "constant 2ms"}, 77 + number)) as hosts:
        true = truth(setting, measured_beyond(directory, hosts, options))
        command = [
            os.path.join(peers, "bin", "perf_analyzer"), "-m", model, "-i", options.protocol, "-u", hosts[options.protocol],
            "--request-rate-range", "100:600:5", "--binary-search", "--latency-threshold", str(bound), "--percentile", str(percentile),
            "--request-distribution", "poisson", "--measurement-interval", "4000", "--stability-percentage", "50", "--max-trials", "10", "--async", "--max-threads", "64",
            "--shape", "in:16", "-v",
        ]  # fmt: skip
        begin = time.monotonic()
        environment = dict(os.environ, LD_LIBRARY_PATH=os.path.join(peers, "perf_analyzer-libraries"))
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        seconds = time.monotonic() - begin
    # of the rates that it found stable, the list at its end
    tried = re.findall(r"^Request Rate: ([0-9.]+), throughput: [0-9.]+ infer/sec, latency (\d+) usec", ended.stdout, re.MULTILINE)
    kept = [float(rate) for rate, latency in tried if int(latency) <= 1000 * bound]
    if not kept:
        print("perf_analyzer found nothing:\n%s" % ended.stdout[-2000:], file=sys.stderr)
    return (max(kept) if kept else None), seconds, true


# --- what comes out ---


def report(found, others, options):
    print(
        "%d searches of each setting over %s, %d at once, at most %d s each, until known within %s %%; median (smallest to largest)"
        % (options.rounds, options.protocol, options.at_once, options.budget, options.precision)
    )
    print("\n| Queue | Bound | Capacity in theory (requests/s) | of these servers | Interval holds it | Half width (%) | Off by (%) | Time (s) | perf_analyzer off by (%) | Its time (s) |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    covered = known = 0
    for setting, results in found.items():
        told = [result for result in results if result.value is not None]
        held = sum(result.covers() for result in told)
        covered, known = covered + held, known + len(told)
        peers = others.get(setting, [])
        print(
            "| %s | p%d within %g ms | %.1f | %s | %d of %d | %s | %s | %s | %s | %s |"
            % (
                NAMED[setting[0]], setting[1], setting[2], truth(setting, Beyond()),
                spread([result.true for result in results], "%.1f"), held, len(told),
                spread([50 * (result.high - result.low) / result.value for result in told], "%.1f"),
                spread([100 * (result.value / result.true - 1) for result in told], "%+.1f"),
                spread([result.seconds for result in results], "%.0f"),
                spread([100 * (rate / true - 1) for rate, _, true in peers if rate], "%+.1f"),
                spread([seconds for _, seconds, _ in peers], "%.0f"),
            )
        )  # fmt: skip
    print()
    searches = len(sum(found.values(), []))
    return all([
        verdict(covered >= COVERED * known, "the interval holds the true capacity in %d of %d searches (%.0f %%)" % (covered, known, 100 * covered / max(known, 1))),
        verdict(known >= 0.95 * searches, "%d of %d searches found a capacity" % (known, searches)),
    ])  # fmt: skip


def pairs(options, directory):
    """Whether unequal models are told apart, and equal ones are not."""
    both = {"unequal": {"one": "constant 2ms", "other": "constant 2.1ms"}, "equal": {"one": "constant 2ms", "other": "constant 2ms"}}
    matrix = 'models = ["one", "other"]'
    told = {name: [] for name in both}

    def compared(task):
        number, name = task
        seed = 5000 * options.seed + 10 * number + list(both).index(name)
        load = (options.protocol, matrix, options.precision, seed, "constant", 95, 12, options.budget, "block_s = 2\n")
        _, comparisons, seconds, _ = searched(directory, both[name], SCENARIO % ("one", *load), options, seed)
        (row,) = (row for row in comparisons if row["metric"] == "capacity_per_s")
        return name, (row["verdict"], row["ratio"], row["ratio_low"], row["ratio_high"], seconds)

    with ThreadPoolExecutor(options.at_once) as pool:
        for name, result in pool.map(compared, [(number, name) for number in range(options.pairs) for name in both]):
            told[name].append(result)
            print("%d/%d  %s: %s" % (len(told[name]), options.pairs, name, result), file=sys.stderr)
    print("%d runs of each pair over %s, at most %d s a model\n" % (options.pairs, options.protocol, options.budget))
    print("| Pair | Other / one | Called different | Time (s) |\n|---|---|---:|---:|")
    for name, results in told.items():
        different = [result for result in results if result[0] in ("faster", "slower")]
        ratios = [float(result[1]) for result in results if result[1]]
        print("| %s | %s | %d of %d | %s |" % (name, spread(ratios, "%.3f"), len(different), len(results), spread([result[4] for result in results], "%.0f")))
    print()
    right = sum(result[0] == "slower" for result in told["unequal"])
    wrong = sum(result[0] in ("faster", "slower") for result in told["equal"])
    return all([
        verdict(right >= 0.9 * options.pairs, "5 %% less capacity is told in %d of %d runs" % (right, options.pairs)),
        verdict(wrong <= 0.05 * options.pairs, "equal models are called different in %d of %d runs" % (wrong, options.pairs)),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
