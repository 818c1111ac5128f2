"""What a leader needs for many workers on other hosts: memory, CPU time and the time to collect a block.

Run it as bench/hosts.

The leader is the runner with --listen. Hosts are simulated: this program connects as several of them and answers for all their
workers, so that a thousand of them fit on a machine that could not run a thousand processes. One worker is real: a host of the
runner's own behind the first connection measures the embedded server, and what it says after each block (histograms of some
hundred requests) is what all others say too. What the leader does is real throughout: it
greets, compares clocks, starts workers, tells them their jobs and blocks, reads and adds their histograms, and writes its files.

Collecting a block is counted from the last worker's message to the leader's next word to a worker.
"""

import argparse
import asyncio
import csv
import glob
import hashlib
import hmac
import json
import os
import re
import statistics
import sys
import tempfile
import time

from common import ROOT, add_runner, embedded, spread

TOKEN = "simulated-hosts-0123456789"
BLOCKS = 10
SCENARIO = """title = "Hosts"
[model]
name = "null"
[[input]]
name = "input.1"
datatype = "FP32"
shape = [3, 8, 11]
[[output]]
name = "nothing"
[matrix]
protocols = ["http"]
processes = [%d]
[load]
blocks = %d
iterations = 2000
warmup = 200
"""
# so many warmup requests that the processes of a case stay: what new ones cost is not the question


def main():
    options = arguments()
    results = {count: [] for count in options.workers}
    for number in range(options.rounds):
        for count in options.workers:
            found = measure(count, options)
            results[count].append(found)
            words = (number + 1, options.rounds, count, found["memory_mb"], found["cpu_ms"], found["collect_ms"])
            print("round %d/%d  %4d workers  %6.1f MB  %7.1f ms CPU a block  %7.1f ms to collect one" % words, file=sys.stderr)
    print("| Workers | Hosts | Leader's peak memory (MB) | CPU a block (ms) | CPU a worker and block (ms) | Time to collect a block (ms) | A worker's message (KB) |")
    print("|---:|---:|---|---|---|---|---:|")
    for count, found in results.items():
        of = lambda key: [one[key] for one in found]  # noqa: E731
        each = [one["cpu_ms"] / count for one in found]
        cells = (count, hosts_of(count, options), spread(of("memory_mb"), "%.1f"), spread(of("cpu_ms"), "%.1f"))
        cells += (spread(each, "%.3f"), spread(of("collect_ms"), "%.1f"), statistics.median(of("message_kb")))
        print("| %d | %d | %s | %s | %s | %s | %.0f |" % cells)


def arguments():
    parser = argparse.ArgumentParser(prog="bench/hosts", description=__doc__.split("\n\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[10, 100, 1000], help="how many in all")
    parser.add_argument("--hosts", type=int, default=10, help="at most so many hosts [%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="how often each takes its turn [%(default)s]")
    add_runner(parser)
    options = parser.parse_args()
    if options.rounds < 1 or min(options.workers) < 2 or options.hosts < 1:
        parser.error("at least one round, two workers and one host")
    return options


def hosts_of(count, options):
    return min(options.hosts, count)


def measure(count, options):
    repository = os.path.join(ROOT, "tests", "model_repository")
    with tempfile.TemporaryDirectory() as directory:
        scenario = os.path.join(directory, "hosts.toml")
        with open(scenario, "w") as file:
            file.write(SCENARIO % (count, BLOCKS))
        with embedded(options.runner, repository, "--model-config-name", "loopback", "--load-model", "null") as addresses:
            found = asyncio.run(lead(count, scenario, directory, addresses, options))
        (run,) = glob.glob(os.path.join(directory, "results", "*", "*"))
        with open(os.path.join(run, "records.csv")) as file:
            (row,) = csv.DictReader(file)
        with open(os.path.join(run, "hosts.csv")) as file:
            rows = list(csv.DictReader(file))
    processes = sum(int(host["host_processes"]) for host in rows)
    requests = sum(int(host["requests"]) for host in rows)
    if row["status"] != "ok" or processes != count or requests != int(row["requests"]) or int(row["blocks"]) != BLOCKS:
        sys.exit("%d workers: %s, %d processes, %d requests of %s, %s blocks" % (count, row["status"], processes, requests, row["requests"], row["blocks"]))
    return found


async def lead(count, scenario, directory, addresses, options):
    """One run of the leader, with all its hosts."""
    hosts = hosts_of(count, options)
    environment = dict(os.environ, RUNNER_TOKEN=TOKEN)
    arguments = ["--listen", "127.0.0.1:0", "--wait-for", str(hosts), "--results", os.path.join(directory, "results"), "--progress", "none"]
    arguments += ["--http", addresses["http"], "--grpc", addresses["grpc"]]
    leader = await asyncio.create_subprocess_exec(
        options.runner, scenario, *arguments, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        line = (await leader.stderr.readline()).decode()
        port = int(re.search(r":(\d+):", line).group(1))
        crowd = Crowd(count, leader.pid)
        told = asyncio.create_task(leader.stderr.read())
        await asyncio.gather(*(crowd.host(options.runner, port, number) for number in range(hosts)))
        if await leader.wait():
            sys.exit("the leader ended with %d: %s" % (leader.returncode, (await told).decode()[-1000:]))
    finally:
        if leader.returncode is None:
            leader.kill()
            await leader.wait()
    # the first block has what comes once: its pages, its caches
    collect, cpu = crowd.collect[1:], crowd.cpu[1:]
    return {
        "memory_mb": crowd.peak / 1e6,
        "cpu_ms": statistics.median(cpu),
        "collect_ms": statistics.median(collect),
        "message_kb": crowd.message / 1e3,
    }


class Crowd:
    """All workers of a run, on all hosts."""

    def __init__(self, count, leader):
        self.count, self.leader = count, leader
        self.peak = self.message = 0
        self.collect, self.cpu = [], []
        self.real = None  # the real worker's number
        self.ready = None
        self.waiting = []  # workers that have been told a block: how to answer, and the block's start
        self.done = None  # when the last worker had said its part
        self.began = 0.0
        self.hello = None

    async def host(self, runner, port, number):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 26)
        await prove(reader, writer)
        agent = await asyncio.create_subprocess_exec(
            runner, "worker", "--host", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 26
        )
        try:
            hello = json.loads(await agent.stdout.readline())
            hello["hello"].update(name="host-%d" % number, rank=number)
            write(writer, hello)
            passing = asyncio.create_task(self.pass_on(agent, writer)) if number == 0 else None
            while line := await reader.readline():
                message = json.loads(line)
                if message == "bye":
                    break
                self.heard(message, writer, agent, number)
            if passing:
                passing.cancel()
        finally:
            agent.stdin.close()
            await agent.wait()
            writer.close()

    def heard(self, message, writer, agent, host):
        if "ping" in message:
            write(writer, {"pong": {"number": message["ping"], "clock_ns": time.monotonic_ns()}})
        elif "start" in message:
            if host == 0 and self.real is None:
                self.real = message["start"]
                write(agent.stdin, message)
        elif "tell" in message:
            self.told(message["tell"], writer, agent, host)
        elif "end" in message:
            if host == 0 and message["end"] == self.real:
                write(agent.stdin, message)
            else:
                write(writer, {"ended": {"worker": message["end"], "how": ""}})

    def told(self, tell, writer, agent, host):
        if self.done is not None:
            # the leader goes on: the block before is collected
            self.collect.append(1e3 * (time.monotonic() - self.done))
            self.cpu.append(1e3 * (cpu_of(self.leader) - self.began))
            self.done = None
        real = host == 0 and tell["worker"] == self.real
        if real:
            write(agent.stdin, {"tell": tell})
        if "job" in tell["message"]:
            if not real:
                self.waiting.append((writer, tell["worker"], 0))
                if self.ready:
                    self.answer(self.ready)
        elif "block" in tell["message"]:
            self.waiting.append((None if real else writer, tell["worker"], tell["message"]["block"]["start_ns"]))

    async def pass_on(self, agent, writer):
        """What the real worker says, and with it all others."""
        while line := await agent.stdout.readline():
            message = json.loads(line)
            if "said" not in message:
                if "pong" not in message:
                    writer.write(line)
                continue
            said = message["said"]["message"]
            if "ready" in said:
                writer.write(line)
                self.ready = said
                self.answer(said)
            elif "done" in said:
                self.message = len(line)
                while len(self.waiting) < self.count:
                    await asyncio.sleep(0.001)
                self.began = cpu_of(self.leader)
                writer.write(line)
                self.answer(said)
                await writer.drain()
                self.done = time.monotonic()
                self.peak = max(self.peak, peak_of(self.leader))
            else:
                writer.write(line)

    def answer(self, said):
        """Says it for every worker that waits."""
        text = json.dumps(said)
        for writer, worker, _ in self.waiting:
            if writer is not None:
                writer.write(b'{"said":{"worker":%d,"message":%s}}\n' % (worker, text.encode()))
        self.waiting.clear()


async def prove(reader, writer):
    greeting, theirs = (await reader.readline()).decode().split()
    assert greeting == "runner-leader", greeting
    mine = os.urandom(32).hex()
    proof = hmac.new(TOKEN.encode(), b"host %s %s" % (theirs.encode(), mine.encode()), hashlib.sha256).hexdigest()
    writer.write(("%s %s\n" % (mine, proof)).encode())
    assert await reader.readline(), "the leader does not accept the token"


def write(writer, message):
    writer.write(json.dumps(message).encode() + b"\n")


def cpu_of(process):
    """Seconds of CPU time, user and system."""
    with open("/proc/%d/stat" % process) as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_of(process):
    with open("/proc/%d/status" % process) as file:
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1))


if __name__ == "__main__":
    main()
