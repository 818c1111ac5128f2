"""Whether the runner's open loop keeps its schedule at high rates for a minute, and where the rest goes; perf_analyzer beside it.

Run it as bench/rates, which sets up what it needs.

A model that answers at once is asked by one process or two, with Poisson arrivals, on the machine that serves it too. Told are how many
requests were due, answered and counted by the server, the lateness of sending, how many waited because 64 were in flight in a
process, the memory of the client's processes after a third of the time and near its end, and how busy the machine's cores and
the client on them were. A rate is kept if 99 of 100 requests are sent within 1 ms of their instants. perf_analyzer gets the same
rate, asynchronously with Poisson arrivals; the rate that it reached and its own report of delays stand beside.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time

from common import NAMES, ROOT, add_runner, embedded, loopback_scenario, peak_memory, run_scenario, spread, verdict, write_loopback

LATENESS_LIMIT_MS = 1.0  # of the 99th percentile
GROWTH = 0.05  # what memory may gain from a third of the time to near its end
SCENARIO = loopback_scenario("High rates", "null", 16, """[matrix]
[load]
blocks = 1
warmup = 50
rate = [10000]
arrival = "poisson"
""")


def main():
    options = arguments()
    cases = [(protocol, rate) for protocol in options.protocols for rate in options.rates]
    found = {(*case, processes): [] for case in cases for processes in options.processes}
    peers = {case: [] for case in cases}
    order = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as directory:
        write_loopback(os.path.join(directory, "models"), "null", 16, 16, {})
        with open(os.path.join(directory, "rates.toml"), "w") as file:
            file.write(SCENARIO)
        for _ in range(options.rounds):
            turns = list(found) + ([] if options.no_peers else cases)
            for turn in order.sample(turns, len(turns)):
                if turn in found:
                    found[turn].append(measured(*turn, directory, options))
                    words = "%d processes: %s" % (turn[2], found[turn][-1])
                else:
                    peers[turn].append(perf_analyzer(*turn, directory, options))
                    words = "perf_analyzer: %s" % (peers[turn][-1],)
                print("%s %d/s, %s" % (NAMES[turn[0]], turn[1], words), file=sys.stderr)
    sys.exit(0 if report(found, peers, options) else 1)


def arguments():
    parser = argparse.ArgumentParser(prog="bench/rates", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rates", nargs="+", type=int, default=[10000, 20000, 30000], help="requests a second [%(default)s]")
    parser.add_argument("--seconds", type=int, default=60, help="of one turn [%(default)s]")
    parser.add_argument("--rounds", type=int, default=3, help="[%(default)s]")
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2], help="that send the requests [%(default)s]")
    parser.add_argument("--protocols", nargs="+", choices=list(NAMES), default=["http"])
    parser.add_argument("--no-peers", action="store_true", help="without perf_analyzer")
    parser.add_argument("--seed", type=int, default=1, help="of the order of turns [%(default)s]")
    add_runner(parser)
    return parser.parse_args()


# --- clients ---


class Found:
    """What one turn of the runner was."""

    def __init__(self, row, counts, due, memory, busy, cores):
        number = lambda column: float(row[column] or 0)
        self.due, self.answered, self.errors = due, int(row["requests"]), int(row["errors"])
        self.counted = counts["server"] - counts["prepared"]
        self.lateness_p50_ms, self.lateness_p99_ms = number("lateness_p50_ms"), number("lateness_p99_ms")
        self.held_back = int(row["held_back"])
        self.memory, self.busy = memory, busy
        self.client = number("client_cpu_ms") / 1e3 * number("requests_per_s") / cores

    def is_whole(self):
        return self.due == self.answered == self.counted and not self.errors

    def __str__(self):
        words = (self.answered, self.due, self.counted, self.lateness_p50_ms, self.lateness_p99_ms, self.held_back, self.memory[0], self.memory[1], 100 * self.busy, 100 * self.client)
        return "%d of %d answered, %d counted, late by %.4f and %.3f ms (p50, p99), %d held back, memory %.1f and %.1f MB, cores busy %.0f %%, client %.0f %%" % words


def measured(protocol, rate, processes, directory, options):
    memory, busy = [0.0, 0.0], [0.0]

    def watch(process):
        def look():
            begin = time.monotonic()
            before = cpu_times()
            for place, part in enumerate((1 / 3, 0.9)):
                time.sleep(max(0.0, begin + part * options.seconds - time.monotonic()))
                if process.poll() is not None:
                    return  # it failed, which whoever waits for it says
                memory[place] = max((peak_memory(pid, "VmRSS") for pid in children(process.pid)), default=0) / 1e6
            idle, all_times = (after - first for after, first in zip(cpu_times(), before))
            busy[0] = 1 - idle / all_times

        threading.Thread(target=look).start()

    with embedded(options.runner, os.path.join(directory, "models")) as hosts:
        arguments = ["--protocols", protocol, "--processes", str(processes), "--rate", str(rate), "--duration", str(options.seconds)]
        (row,), manifest = run_scenario(options.runner, os.path.join(directory, "rates.toml"), hosts, *arguments, watch=watch)
    return Found(row, manifest["counts"], rate * options.seconds, memory, busy[0], os.cpu_count())


def children(pid):
    """The processes that a process started and that still run."""
    with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
        return [int(child) for child in file.read().split()]


def cpu_times():
    """Idle time of all cores, and all of their time, in ticks."""
    with open("/proc/stat") as file:
        times = [int(word) for word in file.readline().split()[1:9]]
    return times[3] + times[4], sum(times)


def perf_analyzer(protocol, rate, directory, options):
    """The rate that it reached, its 99th percentile in milliseconds, what it says of delays, and the most sockets it had open."""
    peers = os.path.join(ROOT, ".venv-peers")
    with embedded(options.runner, os.path.join(directory, "models")) as hosts:
        command = [
            os.path.join(peers, "bin", "perf_analyzer"), "-m", "null", "-i", protocol, "-u", hosts[protocol], "-b", "1",
            "--input-data", "zero", "--request-rate-range", str(rate), "--request-distribution", "poisson", "--async",
            "--measurement-interval", str(options.seconds * 1000 // 3), "--stability-percentage", "999", "--max-trials", "3",
        ]  # fmt: skip
        environment = dict(os.environ, LD_LIBRARY_PATH=os.path.join(peers, "perf_analyzer-libraries"))
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
            sockets = most_sockets(process, 3 * options.seconds)
            output.seek(0)
            text = output.read()
    reached = re.search(r"Throughput: ([0-9.]+) infer/sec", text)
    p99 = re.search(r"p99 latency: (\d+) usec", text)
    delayed = re.search(r"([0-9.]+)% of the requests were delayed", text)
    if not reached:
        print("perf_analyzer ended with code %d and %d sockets at most, and told nothing:\n%s" % (process.returncode, sockets, text[-1500:]), file=sys.stderr)
    number = lambda match, unit: float(match.group(1)) * unit if match else None
    return number(reached, 1), number(p99, 1e-3), number(delayed, 1), sockets


def most_sockets(process, seconds):
    """The most descriptors that a process had open until it ended; it is killed after some seconds."""
    most, end = 0, time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > end:
            process.kill()
        try:
            most = max(most, len(os.listdir("/proc/%d/fd" % process.pid)))
        except OSError:
            pass  # it ends
        time.sleep(0.5)
    return most


# --- what comes out ---


def report(found, peers, options):
    print("%d turns of %d s each, on the cores of the server; median (smallest to largest)\n" % (options.rounds, options.seconds))
    print("| Protocol | Requests/s | Processes | Due, answered, counted | Late p50 (ms) | Late p99 (ms) | Held back | Memory, a third and nine tenths in (MB) | Cores busy (%) | Client (%) | perf_analyzer reached (requests/s) | its p99 (ms) | it delayed (%) | its sockets |")
    print("|---|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for (protocol, rate, processes), turns in found.items():
        all_of = lambda of, form: spread([of(turn) for turn in turns], form)
        whole = "all %d, each turn" % turns[0].due if all(turn.is_whole() for turn in turns) else "; ".join("%d, %d, %d" % (turn.due, turn.answered, turn.counted) for turn in turns)
        others = [spread(list(values), form) for values, form in zip(zip(*peers[protocol, rate]) if peers[protocol, rate] else [[], [], [], []], ("%.0f", "%.2f", "%.1f", "%.0f"))]
        print("| %s |" % " | ".join([
            NAMES[protocol], str(rate), str(processes), whole, all_of(lambda turn: turn.lateness_p50_ms, "%.4f"), all_of(lambda turn: turn.lateness_p99_ms, "%.3f"),
            all_of(lambda turn: turn.held_back, "%d"), ", ".join(all_of(lambda turn: turn.memory[place], "%.1f") for place in (0, 1)),
            all_of(lambda turn: 100 * turn.busy, "%.0f"), all_of(lambda turn: 100 * turn.client, "%.0f"), *others,
        ]))  # fmt: skip
    print()
    turns = sum(found.values(), [])
    kept = [rate for (_, rate, _), turns_of in found.items() if all(turn.lateness_p99_ms <= LATENESS_LIMIT_MS for turn in turns_of)]
    print("99 of 100 requests are sent within %g ms in every turn at up to %s requests a second" % (LATENESS_LIMIT_MS, max(kept, default="none of these")))
    return all([
        verdict(all(turn.is_whole() for turn in turns), "every request is answered and counted by the server"),
        verdict(all(turn.memory[1] <= (1 + GROWTH) * turn.memory[0] for turn in turns), "memory does not grow"),
        verdict(bool(kept), "some of the rates is kept"),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
