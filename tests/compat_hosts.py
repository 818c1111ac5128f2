"""Load from many hosts, for real: network namespaces with an sshd each, Slurm, Open MPI and MPICH, on one machine.

Run it as scripts/compat --hosts. The server is the embedded one with a model that takes one request at a time, 2 ms each: it is
the limit, so that one host's four processes and four hosts' one process each have to reach the same rate. Clocks of the hosts are
seconds apart, and their streams take 0.2 to 20 ms each way. What each fault makes of a row is printed, and has to name it.
"""

import argparse
import contextlib
import csv
import glob
import json
import os
import pathlib
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "hosts"))

from lab import Mpi, Namespaces, Slurm, require, signals_unwind  # noqa: E402
from processes import clean_environment  # noqa: E402

RUNNER = os.environ.get("RUNNER", str(HERE.parent / "target" / "release" / "runner"))
LIMIT = 500  # requests a second that the server answers
CLOSE = 0.02  # what rates may differ by
PATIENCE = 120  # seconds for anything
LEADER_SILENCE, HOST_SILENCE = 30, 20  # seconds after which a host and a leader give the other up
MODEL = """backend: "loopback"
max_batch_size: 4
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
parameters { key: "copy.y" value { string_value: "x" } }
parameters { key: "service_time" value { string_value: "constant 2ms" } }
"""
SCENARIO = """title = "Hosts"
[server]
http = "%(server)s"
grpc = "%(grpc)s"
[model]
name = "echo"
[[input]]
name = "x"
datatype = "FP32"
shape = [4]
data = {file = "x.npy"}
[[output]]
name = "y"
expect = {file = "x.npy"}
[matrix]
protocols = %(protocols)s
processes = [4]
concurrency = [4]
%(matrix)s
[load]
iterations = %(iterations)d
blocks = %(blocks)d
warmup = 20
timeout_s = 10
%(hosts)s
"""
VERSION = '#!/bin/sh\necho \'{"hello":{"version":"9.9.9","revision":"elsewhere","rank":0,"name":"x","machine":"x","environment":{}}}\'\nsleep 5\n'


class Checks:
    """What was checked, and what of it does not hold."""

    def __init__(self):
        self.count = 0
        self.failed = []

    def that(self, holds, words):
        self.count += 1
        print("%s %s" % ("ok    " if holds else "FAILED", words), flush=True)
        if not holds:
            self.failed.append(words)
        return holds

    def within(self, value, expected, share, words):
        self.that(value is not None and abs(value / expected - 1) <= share, "%s: %.4g, %.4g expected (within %g %%)" % (words, value or 0, expected, 100 * share))


class Place:
    """A folder with the model, the data, scenarios and results, and the server."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        (self.folder / "models" / "echo" / "1").mkdir(parents=True)
        (self.folder / "models" / "echo" / "config.pbtxt").write_text(MODEL)
        header = "{'descr': '<f4', 'fortran_order': False, 'shape': (8, 4), }"
        header += " " * ((64 - (11 + len(header)) % 64) % 64) + "\n"
        numbers = struct.pack("<32f", *(each / 8 for each in range(32)))
        (self.folder / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + numbers)

    @contextlib.contextmanager
    def serves(self, address):
        """The server at an address of this machine: its HTTP and gRPC addresses."""
        command = [RUNNER, "serve", "--until-input-ends", "--model-repository", str(self.folder / "models"), "--http", address + ":0", "--grpc", address + ":0"]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            ready = json.loads(server.stdout.readline())
            yield ready["http"], ready["grpc"]
        finally:
            server.stdin.close()
            server.wait()

    def scenario(self, name, server, hosts="", matrix="", iterations=1000, blocks=2, protocols='["http"]'):
        path = self.folder / (name + ".toml")
        fields = {"server": server[0], "grpc": server[1], "hosts": hosts, "matrix": matrix, "iterations": iterations, "blocks": blocks, "protocols": protocols}
        path.write_text(SCENARIO % fields)
        return path

    def command(self, scenario, *options):
        return [RUNNER, str(scenario), "--results", str(self.folder / "results"), "--progress", "none", *options]

    def newest(self, scenario):
        runs = sorted(glob.glob(str(self.folder / "results" / scenario.stem / "*")))
        return pathlib.Path(runs[-1]) if runs else None


def rows(run, name):
    path = run / name
    return list(csv.DictReader(path.open(newline=""))) if path.exists() else []


def number(row, column):
    return float(row[column]) if row.get(column) else None


def agrees(run):
    counts = json.loads((run / "run.json").read_text())["counts"]
    return counts is not None and counts["server"] == counts["measured"] + counts["prepared"]


def run(command, environment=None, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment or clean_environment(), **options)


def until(holds, seconds=PATIENCE):
    """Whether something holds within a time, and after how long."""
    begin = time.monotonic()
    while time.monotonic() < begin + seconds:
        if holds():
            return True, time.monotonic() - begin
        time.sleep(0.05)
    return False, time.monotonic() - begin


def of_hosts(hosts, names=None):
    """`[hosts]` for the lab's."""
    names = names or hosts.names
    return "[hosts]\nnames = %s\nssh = %s\nprogram = %s" % (json.dumps(names), json.dumps(["ssh", "-F", str(hosts.ssh_config)]), json.dumps(RUNNER))


def rates_of(rows_of_run, **wanted):
    return [number(row, "requests_per_s") for row in rows_of_run if all(row[key] == value for key, value in wanted.items())]


# --- hosts by ssh ---


def alone(checks, place, server):
    """One host, four processes: the rate that the others are held against."""
    scenario = place.scenario("alone", server, protocols='["http", "grpc"]')
    done = run(place.command(scenario))
    found = place.newest(scenario)
    checks.that(done.returncode == 0 and agrees(found), "one machine, four processes: every case ok, counts agree with the server's")
    rates = {row["protocol"]: number(row, "requests_per_s") for row in rows(found, "records.csv")}
    checks.within(rates["http"], LIMIT, CLOSE, "its rate is the server's limit, HTTP")
    return rates


def by_ssh(checks, place, server, hosts, rates):
    matrix = 'hosts = [1, 2, 4]\ncompare = "hosts"'
    scenario = place.scenario("ssh", server, of_hosts(hosts), matrix, protocols='["http", "grpc"]')
    done = run(place.command(scenario))
    if not checks.that(done.returncode == 0, "four hosts by ssh: every case ok %s" % done.stderr[-500:]):
        return
    found = place.newest(scenario)
    records, parts = rows(found, "records.csv"), rows(found, "hosts.csv")
    checks.that(agrees(found), "counts of all hosts together equal the server's")
    # interleaved with the others: what one host's four processes reach
    base = {record["protocol"]: number(record, "requests_per_s") for record in records if record["hosts"] == "1"}
    for protocol, rate in base.items():
        checks.within(rate, rates[protocol], CLOSE, "one host by ssh: rate against this machine's own four processes, %s" % protocol)
    for record in records:
        own = [part for part in parts if part["case"] == record["case"]]
        total = sum(int(part["requests"]) for part in own)
        checks.that(len(own) == int(record["hosts"]) and total == int(record["requests"]) == 4000, "%s: %d hosts measured %d requests, and the row has %s" % (record["case"], len(own), total, record["requests"]))
        checks.within(number(record, "requests_per_s"), base[record["protocol"]], CLOSE, "%s: rate against one host's four processes" % record["case"])
        checks.that(int(record["answers_verified"]) > 0 and int(record["distinct_requests"]) == 8, "%s: answers were verified against the file's %s items" % (record["case"], record["distinct_requests"]))
    for part in parts:
        true = 1e3 * hosts.true_clock_offset_s(part["host"])
        off = abs(float(part["clock_offset_ms"]) - true)
        words = "%s, %s: its clock is %.3f ms ahead, found %.3f ms: off by %.3f ms, stated at most %.3f ms" % (part["case"], part["host"], true, float(part["clock_offset_ms"]), off, float(part["clock_error_ms"]))
        checks.that(off <= float(part["clock_error_ms"]), words)
    for record in [record for record in records if record["hosts"] == "4"]:
        skew, error = number(record, "start_skew_ms"), number(record, "clock_error_ms")
        checks.that(skew <= error, "%s: starts are %.3f ms apart, below the stated uncertainty of %.3f ms" % (record["case"], skew, error))
    machines = json.loads((found / "run.json").read_text())["hosts"]
    checks.that([machine["name"] for machine in machines] == hosts.names, "run.json has the machines of all hosts")


def shipped(checks, place, server, hosts):
    """The program and the data, where the hosts have neither."""
    shared = pathlib.Path("/dev/shm") / ("runner-hosts-%d" % os.getpid())  # the hosts have their own
    shared.mkdir()
    try:
        for name in ("x.npy",):
            shutil.copy(place.folder / name, shared / name)
        there = of_hosts(hosts, hosts.names[:2]).replace(json.dumps(RUNNER), '"no-such-program"')
        scenario = shared / "shipped.toml"
        scenario.write_text(place.scenario("shipped", server, there, iterations=50).read_text())
        checks.that(not (hosts.path("host1", shared / "x.npy")).exists(), "the hosts do not have the data file")
        missing = run(place.command(scenario))
        checks.that(missing.returncode != 0 and "--ship copies" in missing.stderr, "a host without the program: %s" % last(missing.stderr))
        begin = time.monotonic()
        first = run(place.command(scenario, "--ship"))
        took = time.monotonic() - begin
        copies = [list((hosts.home(name) / ".cache" / "runner").glob("runner-*")) for name in hosts.names[:2]]
        checks.that(first.returncode == 0 and all(len(copy) == 1 for copy in copies), "--ship: the program and the data are copied, and measure (%.1f s) %s" % (took, last(first.stderr) if first.returncode else ""))
        begin = [copy.stat().st_mtime_ns for copies_of in copies for copy in copies_of]
        second = run(place.command(scenario, "--ship"))
        same = [copy.stat().st_mtime_ns for copies_of in copies for copy in copies_of] == begin
        checks.that(second.returncode == 0 and same and agrees(place.newest(scenario)), "the second run finds the program there")
        left = [str(path) for name in hosts.names[:2] for path in (hosts.home(name) / "tmp").glob("*")]
        checks.that(not left, "no data is left on the hosts %s" % left)
        # a host whose disk is full
        hosts.fill("host1")
        full = run(place.command(scenario, "--ship"))
        checks.that(full.returncode != 0 and "host1" in full.stderr and "is the disk full?" in full.stderr, "a full disk: %s" % last(full.stderr))
        hosts.empty("host1")
    finally:
        shutil.rmtree(shared)


def last(text):
    return (text.strip().splitlines() or [""])[-1][-400:]


def refused(checks, place, server, hosts):
    program = hosts.home("host2") / "elsewhere"
    program.write_text(VERSION)
    program.chmod(0o755)
    text = of_hosts(hosts, ["host2"]).replace(json.dumps(RUNNER), '"~/elsewhere"')
    done = run(place.command(place.scenario("version", server, text)))
    checks.that(done.returncode != 0 and "9.9.9" in done.stderr and "host2" in done.stderr, "another version: %s" % last(done.stderr))
    with place.serves("127.0.0.1") as own:
        done = run(place.command(place.scenario("loopback", own, of_hosts(hosts))))
    checks.that(done.returncode != 0 and "would ask itself" in done.stderr, "a server on the leader's loopback: %s" % last(done.stderr))
    done = run(place.command(place.scenario("many", server, of_hosts(hosts)), "--processes", "8", "--set", "hosts=5"))
    checks.that(done.returncode != 0 and "hosts = 5" in done.stderr, "more hosts than there are: %s" % last(done.stderr))


def under_way(place, scenario, blocks=1):
    """Waits until so many blocks are on disk."""

    def are():
        found = place.newest(scenario)
        return found is not None and len(rows(found, "blocks.csv")) >= blocks

    return until(are)[0]


def lost(checks, place, server, hosts):
    """Hosts that go in the middle of a case: cut off, and without power."""
    for how, fault, undo in (("cut off", hosts.cut, hosts.restore), ("without power", hosts.crash, None)):
        name = how.replace(" ", "-")
        scenario = place.scenario(name, server, of_hosts(hosts), 'batch_sizes = [1, 2]', iterations=2000, blocks=10)
        child = subprocess.Popen(place.command(scenario), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=clean_environment())
        checks.that(under_way(place, scenario, 2), "%s: the run is under way" % how)
        begin = time.monotonic()
        host = "host3" if undo else "host4"
        fault(host)
        child.communicate(timeout=PATIENCE)
        took = time.monotonic() - begin
        found = place.newest(scenario)
        records = rows(found, "records.csv")
        reasons = ["%s: %s" % (row["status"], row["reason"]) for row in records]
        good = len(records) == 2 and records[0]["status"] == "failed" and host in records[0]["reason"] and int(records[0]["requests"]) > 0
        checks.that(good and child.returncode == 1, "a host %s (%.0f s until the run ended): %s" % (how, took, " | ".join(reasons)))
        checks.that(took < HOST_SILENCE + 15, "%s: the others end in bounded time" % how)
        others = [pid for other in hosts.names if other != host for pid in hosts.processes(other)]
        checks.that(not others, "%s: no process is left on the others %s" % (how, others))
        if undo:
            gone, after = until(lambda: not hosts.processes(host), LEADER_SILENCE + 15)
            checks.that(gone, "%s: and none on it, %.0f s after the cut, though nobody could reach it" % (how, time.monotonic() - begin))
            undo(host)
            until(lambda: hosts.ssh(host, "true").returncode == 0, 30)
            again = run(place.command(scenario)[:1] + ["--resume", str(found), "--progress", "none"])
            records = rows(found, "records.csv")
            complete = [row["status"] for row in records] == ["ok", "ok"] and all(int(row["requests"]) == 8000 for row in records)
            checks.that(again.returncode == 0 and complete, "%s: --resume goes on, %s requests %s" % (how, [row["requests"] for row in records], last(again.stderr) if again.returncode else ""))


def moved_clocks(checks, place, server, hosts):
    """Clocks that jump and stand still while a case is measured. Only host2's can."""
    for name, fault in (("jumps", lambda: hosts.jump_clock("host2", 0.7)), ("stands-still", lambda: hosts.stop_clock("host2"))):
        scenario = place.scenario(name, server, of_hosts(hosts, ["host1", "host2"]), iterations=1500, blocks=4)
        child = subprocess.Popen(place.command(scenario), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=clean_environment())
        under_way(place, scenario)
        time.sleep(0.3)
        fault()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.communicate(timeout=PATIENCE)
        if child.returncode is None:
            child.kill()
            child.communicate()
        hosts.start_clock("host2")
        (record,) = rows(place.newest(scenario), "records.csv") or [{"status": "none", "reason": "", "flags": ""}]
        words = "a clock that %s: %s %s, flags: %s" % (name.replace("-", " "), record["status"], record["reason"], record["flags"])
        told = "clock" in record["flags"].split() or (record["status"] == "failed" and "host2" in record["reason"])
        checks.that(child.returncode is not None and told, words)
        gone, _ = until(lambda: not (hosts.processes("host1") + hosts.processes("host2")), LEADER_SILENCE + 15)
        checks.that(gone, "a clock that %s: nothing is left on the hosts" % name.replace("-", " "))


def stopped(checks, place, server, hosts):
    """Ctrl-C and SIGKILL at the leader."""
    for name, number, code in (("ctrl-c", signal.SIGINT, 130), ("killed", signal.SIGKILL, -9)):
        scenario = place.scenario(name, server, of_hosts(hosts), iterations=2000, blocks=10)
        child = subprocess.Popen(place.command(scenario), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean_environment())
        under_way(place, scenario)
        child.send_signal(number)
        child.wait(PATIENCE)
        gone, after = until(lambda: not any(hosts.processes(host) for host in hosts.names), LEADER_SILENCE)
        checks.that(child.returncode == code and gone, "%s at the leader: nothing is left on the hosts after %.1f s" % (name, after))
        found = place.newest(scenario)
        again = run(place.command(scenario)[:1] + ["--resume", str(found), "--progress", "none"])
        (record,) = rows(found, "records.csv")
        checks.that(again.returncode == 0 and record["requests"] == "8000", "%s: --resume goes on: %s, %s requests" % (name, record["status"], record["requests"]))


def ceilings(checks, place, server, hosts):
    scenario = place.scenario("ceilings", server, of_hosts(hosts, hosts.names[:2]), iterations=100)
    done = run(place.command(scenario, "--calibrate"))
    found = place.newest(scenario)
    parts = [number(part, "client_ceiling_per_s") for part in rows(found, "hosts.csv")]
    (record,) = rows(found, "records.csv")
    known = len(parts) == 2 and all(parts)
    checks.that(done.returncode == 0 and known and abs(sum(parts) - number(record, "client_ceiling_per_s")) < 1, "--calibrate: each host has its ceiling, %s, and the row their sum" % parts)


# --- engines ---


def measured(checks, place, scenario, words, rates, hosts, tasks):
    """The rows of a run that an engine started."""
    found = place.newest(scenario)
    if not checks.that(found is not None, "%s: there is a run" % words):
        return
    (record,), parts = rows(found, "records.csv"), rows(found, "hosts.csv")
    machines = json.loads((found / "run.json").read_text())["hosts"]
    shape = (len(machines), sum(machine["tasks"] for machine in machines))
    total = sum(int(part["requests"]) for part in parts)
    good = record["status"] == "ok" and total == int(record["requests"]) == 4000 and agrees(found)
    checks.that(good and shape == (hosts, tasks), "%s: %s, %d requests on %d hosts with %d tasks, counts agree" % (words, record["status"], total, *shape))
    checks.within(number(record, "requests_per_s"), rates["http"], CLOSE, "%s: rate against one machine's four processes" % words)


def by_slurm(checks, place, server, rates):
    with Slurm() as slurm, tempfile.TemporaryDirectory() as home:
        more = {"HOME": home}

        def srun(arguments, scenario):
            return slurm.srun(arguments, place.command(scenario), env=slurm.env(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)

        for name, arguments, hosts in (("slurm-nodes", ["-N4", "-n4"], 4), ("slurm-tasks", ["-N1", "-n4", "--overcommit"], 1)):
            scenario = place.scenario(name, server)
            child = srun(arguments, scenario)
            output, errors = child.communicate(timeout=PATIENCE)
            checks.that(child.returncode == 0 and output.count("### Hosts") == 1, "srun %s: one of the tasks prints %s" % (" ".join(arguments), last(errors) if child.returncode else ""))
            measured(checks, place, scenario, name, rates, hosts, 4)
        meetings = list(pathlib.Path(home).rglob("leader-*"))
        checks.that(not meetings, "no file of a leader is left %s" % meetings)
        # a scenario that is wrong ends all tasks
        wrong = place.folder / "wrong.toml"
        wrong.write_text("title = 7\n")
        child = srun(["-N4", "-n4"], wrong)
        begin = time.monotonic()
        _, errors = child.communicate(timeout=PATIENCE)
        checks.that(child.returncode != 0 and errors.count("expected a string") == 1, "a wrong scenario ends all tasks with one error, after %.1f s: %s" % (time.monotonic() - begin, last(errors)))
        for name in ("scancel", "kill"):
            scenario = place.scenario("slurm-" + name, server, iterations=2000, blocks=10)
            child = srun(["-N4", "-n4"], scenario)
            under_way(place, scenario)
            if name == "scancel":
                slurm.scancel(next(iter(slurm.jobs())))
            else:
                child.kill()
            child.communicate(timeout=PATIENCE)
            gone, after = until(lambda: not slurm.processes(), 40)
            found = place.newest(scenario)
            state = json.loads((found / "run.json").read_text())["state"]
            checks.that(gone, "%s: nothing is left after %.1f s; the run is %s, %d blocks are on disk" % (name, after, state, len(rows(found, "blocks.csv"))))
            if name == "scancel":
                checks.that(state == "interrupted", "scancel: the leader ended the run in order")
            until(lambda: not slurm.jobs(), 40)
            again = slurm.srun(["-N4", "-n4"], [RUNNER, "--resume", str(found), "--progress", "none"], env=slurm.env(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
            _, errors = again.communicate(timeout=PATIENCE)
            (record,) = rows(found, "records.csv")
            checks.that(again.returncode == 0 and record["requests"] == "8000", "%s: srun runner --resume goes on: %s, %s requests %s" % (name, record["status"], record["requests"], last(errors) if again.returncode else ""))


def by_mpi(checks, place, server, rates):
    with Mpi() as mpi, tempfile.TemporaryDirectory() as home:
        environment = clean_environment(HOME=home)
        launchers = {"mpirun": mpi.mpirun, "mpiexec of MPICH": mpi.mpiexec_mpich}
        for name, launch in launchers.items():
            scenario = place.scenario(name.split(" ")[0], server)
            child = launch(["-n", 4], place.command(scenario), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
            output, errors = child.communicate(timeout=PATIENCE)
            checks.that(child.returncode == 0 and output.count("Intervals are of 95 %") <= 1, "%s -n 4: ends well %s" % (name, last(errors) if child.returncode else ""))
            measured(checks, place, scenario, name, rates, 1, 4)
            scenario = place.scenario(name.split(" ")[0] + "-kill", server, iterations=2000, blocks=10)
            child = launch(["-n", 4], place.command(scenario), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
            under_way(place, scenario)
            child.terminate()
            child.wait(PATIENCE)
            gone, after = until(lambda: not mpi.processes(), 40)
            found = place.newest(scenario)
            state = json.loads((found / "run.json").read_text())["state"]
            checks.that(gone, "%s, kill: nothing is left after %.1f s; the run is %s, %d blocks are on disk" % (name, after, state, len(rows(found, "blocks.csv"))))
        meetings = [path for path in pathlib.Path(home).rglob("leader-*")]
        print("       files of leaders that were killed: %d (the next leader of that name replaces it)" % len(meetings))


def main():
    parser = argparse.ArgumentParser(prog="scripts/compat --hosts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="of hosts, slurm and mpi; all by default")
    parser.add_argument("--install", action="store_true", help="install what is missing with apt-get")
    options = parser.parse_args()
    parts = options.parts or ["hosts", "slurm", "mpi"]
    require(parts, options.install)
    checks = Checks()
    begin = time.monotonic()
    with signals_unwind(), tempfile.TemporaryDirectory() as folder:
        place = Place(folder)
        with place.serves("127.0.0.1") as server:
            rates = alone(checks, place, server)
            if "slurm" in parts:
                by_slurm(checks, place, server, rates)
            if "mpi" in parts:
                by_mpi(checks, place, server, rates)
        if "hosts" in parts:
            with Namespaces(movable_clocks=["host2"]) as hosts, place.serves(hosts.address) as server:
                by_ssh(checks, place, server, hosts, rates)
                for part in (shipped, refused, ceilings, stopped, moved_clocks, lost):
                    part(checks, place, server, hosts)
    print("%d checks in %.0f s, %d failed" % (checks.count, time.monotonic() - begin, len(checks.failed)))
    if not checks.failed:
        print("all is well")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
