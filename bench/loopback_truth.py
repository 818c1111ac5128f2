"""What the runner measures of loopback models, against the truth that the embedded server logs.

Run it as bench/loopback_truth.

Each case has its own server, and so its own request log. The log is in order: the requests that verify and warm
up come first (there is one block: of several, each may have new processes), and run.json tells how many they are. Of the
rest mean and percentiles are held against records.csv. The runner's latency is the server's and what it takes to get there
and back, so it may be larger by that, and by that alone. Processors that sleep take so long to wake up, on both sides, that this
would be a measurement of them: the runner keeps them awake (--awake, for which it must be root).
"""

import argparse
import csv
import math
import os
import random
import statistics
import sys
import tempfile

from common import NAMES, add_runner, embedded, loopback_scenario, run_scenario, spread, verdict, write_loopback

CASES = {
    "constant": {"service_time": "constant 5ms"},
    "uniform": {"service_time": "uniform 2ms 8ms"},
    "exponential": {"service_time": "exponential 5ms"},
    "bimodal": {"service_time": "bimodal 2ms 12ms 0.1"},
    "pareto": {"service_time": "pareto 2ms 3"},
    "stalls": {"service_time": "uniform 1ms 3ms", "stalls": "50ms every 1s"},
}
METRICS = ["mean", "p50", "p95", "p99"]
RELATIVE, ABSOLUTE_MS = 0.01, 0.05  # how far off a measured number may be

SCENARIO = loopback_scenario("Loopback truth: %s", "%s", 16, """[matrix]
batch_sizes = [1]
[load]
blocks = 1
warmup = 20
""")


def main():
    options = arguments()
    runs = [(case, protocol) for case in options.cases for protocol in options.protocols]
    samples = {run: [] for run in runs}
    order = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as directory:
        write_models(directory)
        for number in range(options.rounds):
            order.shuffle(runs)
            for case, protocol in runs:
                measured, truth = sample(case, protocol, directory, options)
                samples[case, protocol].append((measured, truth))
                words = (number + 1, options.rounds, case, NAMES[protocol], measured["mean"], truth["mean"])
                print("round %d/%d  %-11s %s  mean %.3f ms, truly %.3f ms" % words, file=sys.stderr)
    sys.exit(0 if report(samples, options) else 1)


def arguments():
    parser = argparse.ArgumentParser(
        prog="bench/loopback_truth", description=__doc__.split("\n\n")[0], epilog="Exit code 1: the runner measures something else."
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each case takes its turn [%(default)s]")
    parser.add_argument("--iterations", type=int, default=1500, help="requests of a case [%(default)s]")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--protocols", nargs="+", choices=list(NAMES), default=list(NAMES))
    add_runner(parser)
    parser.add_argument("--seed", type=int, default=1, help="of the order [%(default)s]")
    parser.add_argument("--asleep", dest="awake", action="store_false", help="let the processors sleep, as they do without the runner's --awake")
    options = parser.parse_args()
    if options.rounds < 1 or options.iterations < 1000:
        parser.error("at least one round, and 1000 iterations for a p99")
    return options


def write_models(directory):
    for case, parameters in CASES.items():
        write_loopback(os.path.join(directory, "models"), case, 16, 16, parameters)
        with open(os.path.join(directory, case + ".toml"), "w") as file:
            file.write(SCENARIO % (case, case))


def sample(case, protocol, directory, options):
    """Mean and percentiles in milliseconds, as measured and as they were."""
    log = os.path.join(directory, "requests.csv")
    scenario = os.path.join(directory, case + ".toml")
    with embedded(options.runner, os.path.join(directory, "models"), "--load-model", case, "--request-log", log) as hosts:
        more = ["--protocols", protocol, "--iterations", str(options.iterations)] + ["--awake"] * options.awake
        (row,), manifest = run_scenario(options.runner, scenario, hosts, *more)
    counts = manifest["counts"]
    with open(log, newline="") as file:
        entries = list(csv.DictReader(file))
    # the log must be of these requests and of no others, or its tail is not what was measured
    if not len(entries) == counts["server"] == counts["prepared"] + counts["measured"] or counts["measured"] != int(row["requests"]):
        sys.exit("%s over %s: %d requests in the log, but the runner counts %s" % (case, protocol, len(entries), counts))
    if int(row["errors"]) or any(entry["ok"] != "true" for entry in entries):
        sys.exit("%s over %s: there were errors" % (case, protocol))
    times = sorted(int(entry["server_ns"]) / 1e6 for entry in entries[counts["prepared"] :])
    truth = {"mean": sum(times) / len(times)}
    for quantile in (50, 95, 99):
        truth["p%d" % quantile] = times[math.ceil(len(times) * quantile / 100) - 1]
    return {metric: float(row[metric + "_ms"]) for metric in METRICS}, truth


def report(samples, options):
    print(
        "%d requests a run at concurrency 1, %d runs of each, processors kept awake: %s; median (smallest to largest); milliseconds, measured - truth in brackets"
        % (options.iterations, options.rounds, "yes" if options.awake else "no")
    )
    print("\n| Service time | Protocol | " + " | ".join(METRICS) + " | Measured mean / truth |\n|---|---|" + "---|" * (len(METRICS) + 1))
    lines = []
    for (case, protocol), pairs in sorted(samples.items(), key=lambda item: (list(CASES).index(item[0][0]), item[0][1])):
        cells = [", ".join(CASES[case].values()), NAMES[protocol]]
        broken = []
        for metric in METRICS:
            off = [measured[metric] - truth[metric] for measured, truth in pairs]
            cells.append("%s [%s]" % (spread([measured[metric] for measured, _ in pairs], "%.3f"), spread(off, "%+.3f")))
            shares = [abs(measured[metric] - truth[metric]) / (RELATIVE * truth[metric] + ABSOLUTE_MS) for measured, truth in pairs]
            # the spread is shown: a run beside which something else happens on the machine has its own tail
            if statistics.median(shares) > 1:
                broken.append("%s by %s of what is allowed" % (metric, spread(shares, "%.2f")))
        cells.append(spread([measured["mean"] / truth["mean"] for measured, truth in pairs], "%.3f"))
        print("| " + " | ".join(cells) + " |")
        lines.append((not broken, "%s, %s: within 1 %% + 50 us of the truth%s" % (case, NAMES[protocol], ", but " + "; ".join(broken) if broken else "")))
    print()
    return all([verdict(*line) for line in lines])


if __name__ == "__main__":
    main()
