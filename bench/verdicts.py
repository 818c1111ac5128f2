"""How often the tables call equal things different, and whether they see a difference that is there.

Run it as bench/verdicts, which starts a real Triton with the model `null`. It has three parts.

A/A: a scenario is measured many times with --aa, each case beside itself, over both protocols, several batch sizes and
numbers of processes. Every cell that is called faster or slower is wrong. Beside it stands what most tables do: they print
the lower mean in bold.

Models: three copies of the null model, of which nothing may be called different either; and three models of the real Triton
that take 10.0, 10.3 and 9.7 ms, of which the last one has to be the best over both protocols.

A/B: two embedded servers, whose model takes about 5 ms, on the one some percent longer; HTTP asks the one and gRPC the
other. A difference of 3 % has to be told, over the default number of blocks; one of 0.2 % must not be called one.
"""

import argparse
import contextlib
import csv
import os
import subprocess
import sys
import tempfile

from common import INPUT, MODEL, OUTPUT, add_runner, embedded, run_into, verdict, write_loopback

WRONG_AT_MOST = 1 / 20  # of the cells
SCENARIO = """title = "%s"
[model]
name = "%s"
[[input]]
name = "%s"
datatype = "FP32"
shape = %s
data = "zeros"
[[output]]
name = "%s"
[matrix]
batch_sizes = %s
processes = %s
[load]
iterations = %d
seed = %d
"""
EQUAL_MODELS = ["null", "null_2", "null_3"]
DIFFERENT_MODELS = {"ten": "10", "longer": "10.3", "shorter": "9.7"}
SERVICE_MS = (4.5, 5.5)  # uniform
LONGER = {"3 %": 1.03, "0.2 %": 1.002}


def main():
    options = arguments()
    parts = {"aa": aa, "models": models, "ab": ab}
    sys.exit(0 if all([parts[part](options) for part in options.parts]) else 1)


def arguments():
    parser = argparse.ArgumentParser(
        prog="bench/verdicts", description=__doc__.split("\n\n")[0], epilog="Exit code 1: a table says what is not so."
    )
    parser.add_argument("--parts", nargs="+", choices=["aa", "models", "ab"], default=["aa", "models", "ab"])
    parser.add_argument("--runs", type=int, default=20, help="of A/A [%(default)s]")
    parser.add_argument("--iterations", type=int, default=1000, help="requests of a process in a case [%(default)s]")
    add_runner(parser)
    options = parser.parse_args()
    if options.runs < 1 or options.iterations < 1:
        parser.error("at least one run and one iteration")
    return options


def aa(options):
    """Each case beside itself on the real Triton."""
    hosts = {"http": os.environ["TRITON_HTTP"], "grpc": os.environ["TRITON_GRPC"]}
    sums = {"cells": 0, "faster": 0, "equal": 0, "unclear": 0, "pairs": 0, "naive": 0}
    for number in range(options.runs):
        text = SCENARIO % ("A/A", MODEL, INPUT, [3, 112, 112], OUTPUT, [1, 4, 8], [1, 3], options.iterations, number + 1)
        found, rows = measured(text, hosts, options, "--aa")
        for cells in found:
            for cell in cells[2:]:
                sums["cells"] += 1
                sums["faster"] += "**" in cell
                sums["equal"] += cell.endswith("=")
                sums["unclear"] += cell.endswith("?")
        for row, other in zip(rows[::2], rows[1::2]):
            assert (row["arm"], other["arm"]) == ("a", "b"), (row, other)
            sums["pairs"] += 1
            sums["naive"] += "%.3g" % float(row["mean_ms"]) != "%.3g" % float(other["mean_ms"])
        print("A/A run %d/%d  %s" % (number + 1, options.runs, sums), file=sys.stderr)
    # every comparison is in two cells, one of either arm, of which one is faster if any
    compared = sums["cells"] // 2
    print("Each case beside itself on a real Triton (null model, %d requests a process), %d runs:\n" % (options.iterations, options.runs))
    print("| What is said of two equal cases | by the runner | by the lower of two means |\n|---|---:|---:|")
    equal, unclear = sums["equal"] // 2, sums["unclear"] // 2
    print("| faster or slower, which is wrong | %d of %d | %d of %d |" % (sums["faster"], compared, sums["naive"], sums["pairs"]))
    print("| equal within 1 %% | %d | %d, to three digits |" % (equal, sums["pairs"] - sums["naive"]))
    print("| cannot be told | %d | |\n" % unclear)
    words = "A/A: %d of %d compared numbers are called different, at most 1 in %d" % (sums["faster"], compared, 1 / WRONG_AT_MOST)
    return verdict(compared > 0 and sums["faster"] <= WRONG_AT_MOST * compared, words)


def models(options):
    """Three equal models, and three that differ by 3 %, on the real Triton."""
    hosts = {"http": os.environ["TRITON_HTTP"], "grpc": os.environ["TRITON_GRPC"]}
    wrong = compared = 0
    for number in range(options.runs):
        text = SCENARIO % ("Equal models", MODEL, INPUT, [3, 112, 112], OUTPUT, [1, 4], [1, 3], options.iterations, number + 1)
        words = compared_words(text, hosts, options, "--set", "models=" + ",".join(EQUAL_MODELS))
        compared += len(words)
        wrong += sum(row["verdict"] in ("faster", "slower") for row in words)
        print("equal models, run %d/%d: %d of %d are called different" % (number + 1, options.runs, wrong, compared), file=sys.stderr)
    told = "three equal models: %d of %d compared numbers are called different, at most 1 in %d" % (wrong, compared, 1 / WRONG_AT_MOST)
    equal = verdict(compared > 0 and wrong <= WRONG_AT_MOST * compared, told)

    text = SCENARIO % ("Models", "ten", "value", [16], "echo", [1], [1], options.iterations, 1)
    words = compared_words(text, hosts, options, "--set", "models=" + ",".join(DIFFERENT_MODELS))
    means = {(row["baseline"], row["other"]): row for row in words if row["metric"] == "mean_ms"}
    passed = [equal]
    for protocol in hosts:
        tag = "%%s-%s-b1-p1-c1" % protocol
        rows = [means[tag % base, tag % other] for base, other in [("ten", "longer"), ("ten", "shorter"), ("longer", "shorter")]]
        said = [row["verdict"] for row in rows]
        ratios = ", ".join("%s (%s to %s) %s" % (row["ratio"], row["ratio_low"], row["ratio_high"], row["verdict"]) for row in rows)
        passed.append(verdict(said == ["slower", "faster", "faster"], "models of 10, 10.3 and 9.7 ms over %s: %s" % (protocol, ratios)))
    return all(passed)


def compared_words(scenario, hosts, options, *more):
    """The rows of comparisons.csv on which there is a verdict."""
    with a_run(scenario, hosts, options, *more) as run:
        return [row for row in rows_of(run, "comparisons.csv") if row["verdict"]]


def ab(options):
    """Two servers, one of which takes longer."""
    passed = []
    for name, longer in LONGER.items():
        text = SCENARIO % ("A/B", "slow", "in", [16], "out", [1], [1], options.iterations, 1)
        with contextlib.ExitStack() as stack:
            hosts = {}
            for protocol, factor in [("http", 1), ("grpc", longer)]:
                repository = stack.enter_context(tempfile.TemporaryDirectory())
                low, high = (1000 * factor * end for end in SERVICE_MS)
                write_loopback(repository, "slow", 16, 1, {"service_time": "uniform %dus %dus" % (low, high)})
                hosts[protocol] = stack.enter_context(embedded(options.runner, repository))[protocol]
            (http, grpc), rows = measured(text, hosts, options)
        mean = http[2]
        different = mean.startswith("**")
        words = "A/B: a difference of %s: HTTP %s ms, gRPC %s ms" % (name, mean, grpc[2])
        passed.append(verdict(different == (name == "3 %") and "**" not in grpc[2], words))
    return all(passed)


def measured(scenario, hosts, options, *more):
    """Cells of the first table of a run, row by row, and the rows of records.csv."""
    with a_run(scenario, hosts, options, *more) as run:
        report = subprocess.run([options.runner, "report", run], check=True, stdout=subprocess.PIPE, text=True).stdout
        rows = rows_of(run, "records.csv")
    table = report.split("\n\n")[1].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]], rows


@contextlib.contextmanager
def a_run(scenario, hosts, options, *more):
    """The folder of a run of a scenario, until it has been read."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "verdicts.toml")
        with open(path, "w") as file:
            file.write(scenario)
        yield run_into(os.path.join(directory, "results"), options.runner, path, hosts, *more)


def rows_of(run, name):
    """The rows of one of its CSV files."""
    with open(os.path.join(run, name), newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
