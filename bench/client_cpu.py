"""Client CPU time per request of the runner, perf_analyzer and Python's tritonclient, side by side.

Run it as bench/client_cpu, which sets up what it needs and starts a real Triton with the model `null`.

Every client is run twice, with few and with many requests, as a process of its own; the difference of the two CPU times
(user + system, all descendants included) over the difference of the requests that the *server* counted is the CPU time of one
request, without start-up. The clients take turns in random order, round by round, so that the machine's drift hits all.
"""

import argparse
import csv
import ctypes
import glob
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import urllib.request

from common import ROOT, spread

PEERS = os.path.join(ROOT, ".venv-peers")
MODEL = "null"
LIMITS = [("perf_analyzer", 0.5), ("tritonclient", 0.25)]  # of a peer's CPU time over gRPC, what the runner may spend
VERSIONS = {"perf_analyzer": "perf_analyzer 2.48.0", "tritonclient": "Python tritonclient 2.48.0", "runner": "runner"}


def main():
    options = arguments()
    adopt_orphans()
    url = {"http": os.environ["TRITON_HTTP"], "grpc": os.environ["TRITON_GRPC"]}
    clients = [perf_analyzer, tritonclient] + ([] if options.peers_only else [runner])
    runs = [(client, protocol) for client in clients for protocol in options.protocols]

    order = random.Random(options.seed)
    samples = {(client.__name__, protocol): [] for client, protocol in runs}
    for number in range(options.rounds):
        order.shuffle(runs)
        for client, protocol in runs:
            sample = cpu_per_request(client, protocol, url, options)
            samples[client.__name__, protocol].append(sample)
            print(
                "round %d/%d  %-14s %s  %6.1f ms CPU a request" % (number + 1, options.rounds, client.__name__, protocol, sample["cpu_ms"]),
                file=sys.stderr,
            )

    print(table(samples, options))
    verdicts = [] if options.peers_only or "grpc" not in options.protocols else judge(samples)
    for _, line in verdicts:
        print(line)
    sys.exit(0 if all(passed for passed, _ in verdicts) else 1)


def arguments():
    parser = argparse.ArgumentParser(
        prog="bench/client_cpu", description=__doc__.split("\n\n")[0], epilog="Exit code 1: the runner spends more than it may."
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often each client takes its turn [%(default)s]")
    parser.add_argument("--few", type=int, default=20, help="requests of the short run [%(default)s]")
    parser.add_argument("--many", type=int, default=100, help="requests of the long run [%(default)s]")
    parser.add_argument("--batch", type=int, default=8, help="images in a request, 4.9 MB each [%(default)s]")
    parser.add_argument("--protocols", nargs="+", choices=["http", "grpc"], default=["http", "grpc"])
    parser.add_argument("--runner", default=os.path.join(ROOT, "target", "release", "runner"), help="[target/release/runner]")
    parser.add_argument("--peers-only", action="store_true", help="without the runner, and without a verdict")
    parser.add_argument("--seed", type=int, default=1, help="of the order [%(default)s]")
    options = parser.parse_args()
    if options.rounds < 1 or not 0 < options.few < options.many or not 1 <= options.batch <= 8:
        parser.error("at least one round, 0 < few < many, 1 <= batch <= 8")
    if not options.peers_only and not os.path.exists(options.runner):
        parser.error("there is no %s: cargo build --release makes it; --peers-only does without" % options.runner)
    return options


# --- one sample ---


def cpu_per_request(client, protocol, url, options):
    """CPU and user milliseconds of one request, and the median latency of the long run in milliseconds."""
    short = measured(client, protocol, url, options.few, options)
    long = measured(client, protocol, url, options.many, options)
    requests = long["requests"] - short["requests"]
    if requests <= 0:
        sys.exit("%s over %s: the server counted %d and %d requests" % (client.__name__, protocol, short["requests"], long["requests"]))
    if long["cpu_s"] <= short["cpu_s"]:
        sys.exit("%s over %s: more requests took no more CPU time; something was not counted" % (client.__name__, protocol))
    return {
        "cpu_ms": (long["cpu_s"] - short["cpu_s"]) * 1000 / requests,
        "user_ms": (long["user_s"] - short["user_s"]) * 1000 / requests,
        "p50_ms": long["p50_ms"],
        "peak_mb": long["peak_mb"],
    }


def measured(client, protocol, url, count, options):
    """Runs the client for `count` requests: CPU seconds of it and its descendants, and what the server counted."""
    with tempfile.TemporaryDirectory() as directory:
        command, environment, median = client(protocol, url, count, options, directory)
        before = server_count(url["http"])
        with open(os.path.join(directory, "output"), "w+") as output:
            process = subprocess.Popen(
                command, env=dict(os.environ, **environment), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
            _, status, usage = os.wait4(process.pid, 0)  # the usage of the child and of all that it has waited for
            usages = [usage] + orphans()
            process.returncode = os.waitstatus_to_exitcode(status) if hasattr(os, "waitstatus_to_exitcode") else status
            output.seek(0)
            text = output.read()
        if process.returncode != 0:
            sys.exit("%s failed with code %d:\n%s" % (" ".join(command), process.returncode, text))
        return {
            "requests": server_count(url["http"]) - before,
            "cpu_s": sum(usage.ru_utime + usage.ru_stime for usage in usages),
            "user_s": sum(usage.ru_utime for usage in usages),
            "peak_mb": max(usage.ru_maxrss for usage in usages) / 1024,
            "p50_ms": median(text),
        }


def adopt_orphans():
    """Descendants that a client leaves behind become children of this process instead of init's."""
    PR_SET_CHILD_SUBREAPER = 36
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("cannot become a subreaper: %s" % os.strerror(ctypes.get_errno()))


def orphans():
    """The usage of the descendants that the client has not waited for: without it their CPU time would be missing."""
    usages = []
    while True:
        try:
            usages.append(os.wait4(-1, 0)[2])
        except ChildProcessError:
            return usages


def server_count(host):
    """Requests that the server has answered for the model since its start."""
    with urllib.request.urlopen("http://%s/v2/models/%s/stats" % (host, MODEL)) as answer:
        return json.load(answer)["model_stats"][0]["inference_stats"]["success"]["count"]


# --- the clients: each gives its command, its environment, and how to find the median latency in what it prints ---


def perf_analyzer(protocol, url, count, options, directory):
    command = [
        os.path.join(PEERS, "bin", "perf_analyzer"), "-m", MODEL, "-i", protocol, "-u", url[protocol], "-b", str(options.batch),
        "--shape", "input.1:3,640,640", "--input-data", "zero", "--concurrency-range", "1", "--request-count", str(count),
    ]  # fmt: skip

    def median(text):
        found = re.search(r"p50 latency: (\d+) usec", text)
        return int(found.group(1)) / 1000 if found else None

    return command, {"LD_LIBRARY_PATH": os.path.join(PEERS, "perf_analyzer-libraries")}, median


def tritonclient(protocol, url, count, options, directory):
    loop = os.path.join(ROOT, "bench", "tritonclient_loop.py")
    return [sys.executable, loop, protocol, url[protocol], str(options.batch), str(count)], {}, float


def runner(protocol, url, count, options, directory):
    results = os.path.join(directory, "results")
    command = [
        options.runner, os.path.join(ROOT, "bench", "null.toml"), "--protocols", protocol, "--batch-sizes", str(options.batch),
        "--processes", "1", "--iterations", str(count), "--warmup", "5", "--http", url["http"], "--grpc", url["grpc"],
        "--results", results,
    ]  # fmt: skip

    def median(_):
        for path in glob.glob(os.path.join(results, "**", "records.csv"), recursive=True):
            with open(path, newline="") as file:
                for row in csv.DictReader(file):
                    column = next((name for name in row if name.startswith("p50")), None)
                    return float(row[column]) if column and row[column] else None
        return None

    return command, {}, median


# --- what comes out ---


def table(samples, options):
    lines = [
        "%.1f MB a request (batch %d), %d rounds, median (smallest to largest); CPU is user + system of the client alone"
        % (options.batch * 4.9152, options.batch, options.rounds),
        "",
        "| Client | Protocol | CPU per request (ms) | of it user (ms) | Median latency (ms) | Peak memory (MB) | Runner's CPU / this |",
        "|---|---|---|---|---|---|---|",
    ]
    for (client, protocol), rows in sorted(samples.items(), key=lambda item: (item[0][1], item[0][0])):
        cells = [VERSIONS[client], {"http": "HTTP", "grpc": "gRPC"}[protocol]]
        cells += [spread([row[key] for row in rows], "%.1f") for key in ("cpu_ms", "user_ms", "p50_ms")]
        cells.append("%.0f" % max(row["peak_mb"] for row in rows))
        cells.append(spread(ratios(samples, client, protocol), "%.2f"))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def ratios(samples, client, protocol):
    """The runner's CPU time over the client's, round by round."""
    return [
        ours["cpu_ms"] / theirs["cpu_ms"]
        for ours, theirs in zip(samples.get(("runner", protocol), []), samples[client, protocol])
    ]


def judge(samples):
    verdicts = []
    for client, limit in LIMITS:
        values = ratios(samples, client, "grpc")
        passed = statistics.median(values) <= limit
        verdicts.append(
            (passed, "%s: runner <= %s x %s over gRPC: %s" % ("PASS" if passed else "FAIL", limit, VERSIONS[client], spread(values, "%.2f")))
        )
    return verdicts


if __name__ == "__main__":
    main()
