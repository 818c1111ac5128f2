"""Instructions that one worker executes in user space for a request, by library.

Run it as bench/profile.

A worker is run under valgrind's callgrind twice, with few and with many requests; the difference of the two counts over the
difference of the requests is one request, without start-up. Counts depend on the program and the answers alone, not on the
machine's load. What the kernel does for a request is not in them.
"""

import argparse
import collections
import glob
import os
import re
import subprocess
import sys
import tempfile

from common import NAMES, add_runner, run_scenario

SCENARIO = """title = "Null model"
[model]
name = "null"
[[input]]
name = "input.1"
datatype = "FP32"
shape = [3, %d, %d]
[[output]]
name = "nothing"
[matrix]
batch_sizes = [1]
[load]
warmup = 10
blocks = 1
"""
SIDES = {"1 KB": (8, 11), "0.15 MB": (112, 112), "4.9 MB": (640, 640)}
# the first that a function's name begins with
LIBRARIES = [
    ("this program: the loop and its stamps", ["runner::worker", "runner::plan", "std::time"]),
    ("this program: recording", ["runner::recorder", "hdrhistogram"]),
    ("this program: protocols", ["runner::"]),
    ("httparse", ["httparse"]),
    ("h2", ["h2::", "tokio_util"]),
    ("tokio, mio", ["tokio::", "mio::"]),
    ("http, bytes", ["http::", "bytes::"]),
    ("Rust's library", ["std::", "core::", "alloc::"]),
]
REST = "libc: memory, system calls"


def main():
    options = arguments()
    columns = [(size, protocol) for size in options.sizes for protocol in options.protocols]
    counts = {}
    for size, protocol in columns:
        few, many = (instructions(size, protocol, count, options) for count in (options.few, options.many))
        counts[size, protocol] = {name: (many[name] - few[name]) / (options.many - options.few) for name in many}
    print("Instructions a request in user space, one request in flight, null model of the embedded server\n")
    print("| Library | " + " | ".join("%s, %s" % (NAMES[protocol], size) for size, protocol in columns) + " |")
    print("|---|" + "---:|" * len(columns))
    for name in [name for name, _ in LIBRARIES] + [REST]:
        print("| %s | %s |" % (name, " | ".join("%.0f" % counts[column].get(name, 0) for column in columns)))
    print("| all | %s |" % " | ".join("%.0f" % sum(counts[column].values()) for column in columns))


def arguments():
    parser = argparse.ArgumentParser(prog="bench/profile", description=__doc__.split("\n\n")[0])
    parser.add_argument("--few", type=int, default=500, help="requests of the short run [%(default)s]")
    parser.add_argument("--many", type=int, default=1500, help="requests of the long run [%(default)s]")
    parser.add_argument("--sizes", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--protocols", nargs="+", choices=list(NAMES), default=list(NAMES))
    add_runner(parser)
    options = parser.parse_args()
    if not 0 < options.few < options.many:
        parser.error("0 < few < many")
    return options


def instructions(size, protocol, count, options):
    """By library, of a worker's whole life."""
    with tempfile.TemporaryDirectory() as directory:
        scenario = os.path.join(directory, "null.toml")
        with open(scenario, "w") as file:
            file.write(SCENARIO % SIDES[size])
        out = "--callgrind-out-file=%s" % os.path.join(directory, "callgrind.%p")
        hosts = {"http": os.environ["EMBEDDED_HTTP"], "grpc": os.environ["EMBEDDED_GRPC"]}
        more = ["--protocols", protocol, "--iterations", str(count)]
        under = ["valgrind", "--quiet", "--tool=callgrind", "--trace-children=yes", out]
        (row,), _ = run_scenario(options.runner, scenario, hosts, *more, under=under)
        if int(row["requests"]) != count:
            sys.exit("%s over %s: %s of %d requests were answered" % (size, protocol, row["requests"], count))
        (worker,) = [path for path in glob.glob(os.path.join(directory, "callgrind.*")) if of_worker(path)]
        return by_library(worker)


def of_worker(path):
    with open(path) as file:
        return any(re.match(r"cmd:.* worker$", line.rstrip()) for line, _ in zip(file, range(20)))


def by_library(path):
    annotated = subprocess.run(
        ["callgrind_annotate", "--threshold=100", "--show-percs=no", path],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True,
    )  # fmt: skip
    sums = collections.Counter()
    for line in annotated.stdout.splitlines():
        # `1,234  file:function [object]`; lines of the call tree end with how often: `(12x)`
        found = re.match(r"\s*([\d,]+)\s+\S*?:(.+?)(?: \[[^\]]*\])?$", line)
        if found and not re.search(r"\([\d,]+x\)", line):
            sums[library(found.group(2))] += int(found.group(1).replace(",", ""))
    return sums


def library(function):
    name = function.lstrip("<&")
    return next((words for words, starts in LIBRARIES if any(name.startswith(start) for start in starts)), REST)


if __name__ == "__main__":
    main()
