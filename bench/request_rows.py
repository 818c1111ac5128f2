"""What --requests costs: latency and CPU time of an open loop that writes each request down, beside the same without it.

Run it as bench/requests. A loopback model of the embedded server that answers at once is asked at a Poisson rate by one process.
In every round three runs take turns in random order: two without the file, which differ by chance alone, and one with it. A
ratio is that of two runs of one round; its interval is Student's over the rounds, on the logarithm. The run with the file is held
against the geometric mean of the other two. Judged is latency: the ratio may be off 1 by no more than half the width of the
interval of the two equal runs. By chance a difference of nothing is beyond that in some 3 of 100 judged ratios. A machine on which
two equal runs are not told apart below the limit is too busy to tell anything: that fails too. CPU time is told. Every file's rows
are counted.
"""

import argparse
import csv
import math
import os
import random
import statistics
import sys
import tempfile

from common import NAMES, add_runner, embedded, loopback_scenario, rows_of, run_into, verdict, write_loopback

ARMS = {"without": [], "again": [], "with": ["--requests"]}
MEASURES = {"mean_ms": "mean latency", "p99_ms": "99th percentile", "client_cpu_ms": "CPU a request"}
JUDGED = ["mean_ms", "p99_ms"]
SCENARIO = loopback_scenario("Requests", "null", 256, """[matrix]
batch_sizes = [1]
[load]
rate = [%g]
arrival = "poisson"
blocks = %d
warmup = 50
""")


def main():
    options = arguments()
    samples = {(protocol, arm): [] for protocol in options.protocols for arm in ARMS}
    sizes = []
    order = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as directory:
        scenario = os.path.join(directory, "requests.toml")
        with open(scenario, "w") as file:
            file.write(SCENARIO % (options.rate, options.blocks))
        repository = os.path.join(directory, "models")
        write_loopback(repository, "null", 256, 1, {})
        with embedded(options.runner, repository) as hosts:
            for number in range(options.rounds):
                for protocol in order.sample(options.protocols, len(options.protocols)):
                    for arm in order.sample(list(ARMS), len(ARMS)):
                        row, size = turn(protocol, arm, scenario, hosts, options)
                        samples[protocol, arm].append(row)
                        sizes += [size] if size else []
                        words = ", ".join("%s %.4f" % (name, row[name]) for name in MEASURES)
                        print("round %d/%d  %s %-8s %s" % (number + 1, options.rounds, NAMES[protocol], arm, words), file=sys.stderr)
    sys.exit(0 if report(samples, sizes, options) else 1)


def arguments():
    parser = argparse.ArgumentParser(
        prog="bench/requests", description=__doc__.split("\n\n")[0], epilog="Exit code 1: latency changes by more than chance explains."
    )
    parser.add_argument("--rounds", type=int, default=20, help="how often all take their turns [%(default)s]")
    parser.add_argument("--seconds", type=float, default=5, help="of one run [%(default)s]")
    parser.add_argument("--blocks", type=int, default=5, help="of one run [%(default)s]")
    parser.add_argument("--rate", type=float, default=5000, help="requests a second [%(default)s]")
    parser.add_argument("--limit", type=float, default=0.1, help="the most by which two equal runs may differ by chance [%(default)s]")
    parser.add_argument("--protocols", nargs="+", choices=list(NAMES), default=list(NAMES))
    add_runner(parser)
    parser.add_argument("--seed", type=int, default=1, help="of the order of turns [%(default)s]")
    options = parser.parse_args()
    if options.rounds < 3 or options.seconds <= 0 or options.blocks < 1 or options.rate <= 0:
        parser.error("at least three rounds of some seconds, blocks and requests")
    return options


def turn(protocol, arm, scenario, hosts, options):
    """The measures of one run, and the bytes of a row of its file, if it has one."""
    with tempfile.TemporaryDirectory() as results:
        run = run_into(results, options.runner, scenario, hosts, "--protocols", protocol, "--duration", "%g" % options.seconds, *ARMS[arm])
        (row,) = rows_of(run)
        requests = int(row["requests"])
        path = os.path.join(run, "requests.csv")
        size = None
        if os.path.exists(path):
            with open(path, newline="") as file:
                found = sum(1 for _ in csv.reader(file)) - 1
            if found != requests:
                sys.exit("%s: %d rows of %d requests" % (NAMES[protocol], found, requests))
            size = os.path.getsize(path) / requests
    if row["status"] != "ok" or bool(size) != (arm == "with"):
        sys.exit("%s, %s: %s, %s" % (NAMES[protocol], arm, row["status"], row["reason"]))
    return {name: float(row[name]) for name in MEASURES}, size


def interval(logs):
    """Mean of the logarithms of ratios, and half the width of its 95 % interval."""
    degrees = len(logs) - 1
    return statistics.mean(logs), student(degrees) * statistics.stdev(logs) / math.sqrt(len(logs))


def student(degrees):
    """The 97.5th percentile of Student's distribution, by Cornish and Fisher's expansion; from five degrees on to three digits."""
    z = statistics.NormalDist().inv_cdf(0.975)
    terms = [(z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384]
    return z + sum(term / degrees ** (power + 1) for power, term in enumerate(terms))


def report(samples, sizes, options):
    words = (options.rate, options.rounds, options.blocks, options.seconds, statistics.mean(sizes))
    print("%g requests/s, %d rounds; each run has %d blocks in %g s. A row takes %.0f bytes.\n" % words)
    print("| Protocol | Measure | Without | With / without (95 %) | Without / without (95 %) |\n|---|---|---:|---|---|")
    verdicts = []
    for protocol in options.protocols:
        without, again, with_file = (samples[protocol, arm] for arm in ARMS)
        for name, words in MEASURES.items():
            logs = [[math.log(sample[name]) for sample in arm] for arm in (without, again, with_file)]
            equal = interval([other - one for one, other, _ in zip(*logs)])
            changed = interval([with_it - (one + other) / 2 for one, other, with_it in zip(*logs)])
            level = statistics.median(math.exp((one + other) / 2) for one, other, _ in zip(*logs))
            print("| %s | %s | %.4f ms | %s | %s |" % (NAMES[protocol], words, level, ratio(changed), ratio(equal)))
            if name in JUDGED:
                told = "%s, %s: with the file %s of that without it; two equal runs are told apart from %.2f %% on, at most %g %%"
                told %= (NAMES[protocol], words, ratio(changed), 100 * (math.exp(equal[1]) - 1), 100 * options.limit)
                verdicts.append((abs(changed[0]) <= equal[1] <= math.log1p(options.limit), told))
    print()
    return all([verdict(*words) for words in verdicts])


def ratio(found):
    middle, half = found
    return "%.4f (%.4f to %.4f)" % tuple(math.exp(value) for value in (middle, middle - half, middle + half))


if __name__ == "__main__":
    main()
