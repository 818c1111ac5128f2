"""How long it takes to tell two models apart that differ by 3 % and by 1 %: measured until precise enough, and with ten fixed blocks.

Run it as bench/precision. The models are loopback models of the embedded server with uniform service times. Measured until the ratio
is known within two thirds of the difference, so that an interval around the truth excludes 1. Told apart: the interval excludes 1,
and so does the exact test after Holm's correction. The last column counts the runs whose verdict is that it is slower by more than 1 %.
"""

import argparse
import csv
import os
import random
import statistics
import sys
import tempfile
import time

from common import add_runner, embedded, run_into, spread, verdict, write_loopback

MEAN_MS, SPREAD_MS = 5.0, 1.0
DIFFERENCES = [0.03, 0.01]

SCENARIO = """title = "Precision"
[[input]]
name = "in"
datatype = "FP32"
shape = [16]
[[output]]
name = "out"
[model.base]
name = "base"
[model.other]
name = "other"
[matrix]
models = ["base", "other"]
protocols = ["http"]
compare = "models"
[load]
warmup = 20
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_runner(parser)
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    parser.add_argument("--fixed", type=float, default=10.0, help="seconds a case of the run with ten fixed blocks [10]")
    options = parser.parse_args()

    found = {}
    with tempfile.TemporaryDirectory() as directory:
        scenario = os.path.join(directory, "precision.toml")
        with open(scenario, "w") as file:
            file.write(SCENARIO)
        for difference in DIFFERENCES:
            repository = os.path.join(directory, "%g" % difference)
            for name, times in (("base", 1.0), ("other", 1.0 + difference)):
                ends = [times * (MEAN_MS + side * SPREAD_MS) for side in (-1, 1)]
                write_loopback(repository, name, 16, 16, {"service_time": "uniform %gms %gms" % tuple(ends)})
            ways = {
                "until precise": ["--precision", "%g%%" % (100 * difference * 2 / 3), "--max-seconds", "300"],
                "ten fixed blocks": ["--duration", "%g" % options.fixed],
            }
            with embedded(options.runner, repository) as hosts:
                for _ in range(options.rounds):
                    for way in random.sample(list(ways), len(ways)):
                        found.setdefault((difference, way), []).append(measured(options.runner, scenario, hosts, ways[way]))

    print("| Difference | Way | Seconds | Ratio found | Width of its interval (%) | Told apart | Called slower |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    passed = True
    for (difference, way), runs in found.items():
        seconds, ratios, widths, signs, verdicts = zip(*runs)
        told, slower = sum(signs), sum(verdict == "slower" for verdict in verdicts)
        line = [spread(seconds, "%.1f"), spread(ratios, "%.4f"), spread(widths, "%.2f"), *("%d of %d" % (count, len(runs)) for count in (told, slower))]
        print("| %g %% | %s | %s |" % (100 * difference, way, " | ".join(line)))
        if way == "until precise":
            passed &= verdict_of(difference, told, len(runs), statistics.median(seconds))
    sys.exit(0 if passed else 1)


def verdict_of(difference, told, runs, seconds):
    return verdict(told == runs, "%g %% is told apart in %d of %d runs, in %.1f s" % (100 * difference, told, runs, seconds))


def measured(runner, scenario, hosts, options):
    """Seconds of the run, the ratio found, the width of its interval in percent, whether it is told which is slower, and the verdict."""
    with tempfile.TemporaryDirectory() as results:
        begin = time.monotonic()
        run = run_into(results, runner, scenario, hosts, *options)
        seconds = time.monotonic() - begin
        with open(os.path.join(run, "comparisons.csv"), newline="") as file:
            (row,) = [row for row in csv.DictReader(file) if row["metric"] == "mean_ms"]
    low, high = float(row["ratio_low"]), float(row["ratio_high"])
    is_told = low > 1 and float(row["p_holm"]) <= 0.05
    return seconds, float(row["ratio"]), 100 * (high - low), is_told, row["verdict"]


main()
