"""The lab checks itself: that its hosts are apart as they are said to be, that launchers start tasks, and that nothing is left.

Prints a line for each thing that it finds, and the variables by which tasks can tell what they are part of.
"""

import contextlib
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import leftovers
from mpi import PMI_BEGIN, PMI_JOB, Mpi
from namespaces import HERE, Namespaces
from processes import stop, wait_until
from slurm import Slurm

PYTHON = [sys.executable, "-I", "-B"]
PROBE = [sys.executable, "-B", str(HERE / "probe.py")]
MOVABLE = "host3"
SILENCE_S = 0.6  # of a link that is cut

# what tells a task its place, by launcher; a run prints their values
VARIABLES = {
    "srun": "SLURM_PROCID SLURM_NTASKS SLURM_STEP_NUM_TASKS SLURM_LOCALID SLURM_STEP_TASKS_PER_NODE SLURM_GTIDS SLURM_NODEID "
    "SLURM_STEP_NUM_NODES SLURMD_NODENAME SLURM_STEP_NODELIST SLURM_JOB_NODELIST SLURM_JOB_ID SLURM_STEP_ID SLURM_TASK_PID "
    "SLURM_LAUNCH_NODE_IPADDR SLURM_SRUN_COMM_HOST SLURM_STEP_LAUNCHER_PORT SLURM_SUBMIT_HOST",
    "mpirun of Open MPI": "OMPI_COMM_WORLD_RANK OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_LOCAL_RANK OMPI_COMM_WORLD_LOCAL_SIZE "
    "OMPI_COMM_WORLD_NODE_RANK OMPI_MCA_orte_num_nodes PMIX_RANK PMIX_HOSTNAME PMIX_NAMESPACE OMPI_MCA_ess_base_jobid "
    "OMPI_MCA_orte_hnp_uri OMPI_MCA_orte_precondition_transports OMPI_MCA_initial_wdir",
    "mpiexec of MPICH": "PMI_RANK PMI_SIZE MPI_LOCALRANKID MPI_LOCALNRANKS PMI_FD HYDI_CONTROL_FD MPIR_CVAR_CH3_INTERFACE_HOSTNAME",
}


class Checks:
    """What was found, a line each."""

    def __init__(self) -> None:
        self.well = True

    def check(self, good: object, what: str, said: object = "") -> None:
        """Prints whether it is as it has to be, and where not, what was said."""
        self.well &= bool(good)
        print(f"{'ok' if good else 'WRONG':5} {what}", flush=True)
        for line in [] if good else str(said).splitlines():
            print(f"        {line}", flush=True)


class Session:
    """An open ssh session, to which lines are said and which answers each with one."""

    def __init__(self, hosts: Namespaces, host: str, command: str | Sequence[object]) -> None:
        self.process = subprocess.Popen(
            hosts.ssh_command(host, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_error: object) -> None:
        stop(self.process)

    def ask(self, line: bytes = b"") -> bytes:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(line + b"\n")
        return self.process.stdout.readline()

    def round_trip_ms(self) -> float:
        begin = time.perf_counter()
        self.ask()
        return (time.perf_counter() - begin) * 1000

    def clock_ahead_s(self) -> float:
        """By how much the other's clock is ahead of ours, of the quickest of some answers."""
        found = []
        for _ in range(10):
            begin = time.monotonic_ns()
            theirs = int(self.ask())
            end = time.monotonic_ns()
            found.append((end - begin, theirs - (begin + end) / 2))
        return min(found)[1] / 1e9


@contextlib.contextmanager
def echo_server(address: str) -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    with subprocess.Popen([*PROBE, "echo", address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin and server.stdout
        yield int(server.stdout.readline())
        server.stdin.close()


def check_hosts(checks: Checks) -> None:
    begin = time.monotonic()
    with Namespaces(movable_clocks=[MOVABLE]) as hosts:
        said = {name: hosts.ssh(name, "hostname").stdout.strip() for name in hosts.names}
        checks.check(all(name == each for name, each in said.items()), f"{len(said)} hosts in {time.monotonic() - begin:.1f} s", said)
        delays = dict(zip(hosts.names, (delay_ms for delay_ms, _ in hosts.settings)))
        for name, delay_ms in delays.items():
            check_session(checks, hosts, name, delay_ms)
        with echo_server(hosts.address) as port:
            for name, delay_ms in delays.items():
                check_link(checks, hosts, name, delay_ms, port)
        for name in hosts.names:
            check_clock(checks, hosts, name)
        check_moved_clock(checks, hosts, MOVABLE)
        check_cut(checks, hosts, hosts.names[0])
        check_fill(checks, hosts, hosts.names[1])
        check_processes(checks, hosts, hosts.names[-1])


def check_session(checks: Checks, hosts: Namespaces, name: str, delay_ms: float) -> None:
    with Session(hosts, name, "cat") as session:
        session.ask()
        trips_ms = [session.round_trip_ms() for _ in range(30)]
    median_ms = statistics.median(trips_ms)
    good = 2 * delay_ms <= median_ms < 2 * delay_ms + 5
    checks.check(good, f"{name}: {2 * delay_ms:g} ms both ways, through an ssh session {min(trips_ms):.2f} ms, median {median_ms:.2f} ms")


def check_link(checks: Checks, hosts: Namespaces, name: str, delay_ms: float, port: int) -> None:
    addresses = hosts.server(name, port)
    direct, delayed = (json.loads(hosts.ssh(name, [*PROBE, "link", each]).stdout) for each in (addresses.direct, addresses.delayed))
    added_ms = delayed["median"] - direct["median"]
    words = f"{added_ms:.2f} ms more, eight of ten within {delayed['spread']:.2f} ms, {delayed['mb_s']:.0f} MB/s each way"
    directly = f"directly {direct['median']:.2f} ms, {direct['mb_s']:.0f} MB/s"
    good = 2 * delay_ms <= added_ms < 2 * delay_ms + 2 and delayed["mb_s"] > 20
    checks.check(good, f"{name}: to a server through the link {words}; {directly}", (direct, delayed))


def check_clock(checks: Checks, hosts: Namespaces, name: str) -> None:
    with Session(hosts, name, [*PROBE, "clock"]) as session:
        ahead_s, said_s = session.clock_ahead_s(), hosts.true_clock_offset_s(name)
    checks.check(abs(ahead_s - said_s) < 0.02, f"{name}: clock ahead by {ahead_s:+.4f} s, as is said: {said_s:+.4f} s")


def check_moved_clock(checks: Checks, hosts: Namespaces, name: str) -> None:
    with Session(hosts, name, [*PROBE, "clock"]) as session:
        before_s = session.clock_ahead_s()
        hosts.jump_clock(name, 2.5)
        jumped_s = session.clock_ahead_s() - before_s
        checks.check(abs(jumped_s - 2.5) < 0.02, f"{name}: clock jumped by {jumped_s:+.4f} s in a process that runs")
        hosts.stop_clock(name)
        first = session.ask()
        time.sleep(0.3)
        checks.check(first == session.ask(), f"{name}: clock stands still")
        hosts.start_clock(name)
        lost_s = session.clock_ahead_s() - before_s - jumped_s
        checks.check(-0.6 < lost_s <= -0.3, f"{name}: clock goes on, {-lost_s:.2f} s late")
        said_s = hosts.true_clock_offset_s(name)
        checks.check(abs(session.clock_ahead_s() - said_s) < 0.02, f"{name}: ahead by {said_s:+.4f} s, as is said")


def check_cut(checks: Checks, hosts: Namespaces, name: str) -> None:
    with Session(hosts, name, "cat") as session:
        session.ask()
        hosts.cut(name)
        begin = time.monotonic()
        answers: list[bytes] = []
        waiting = threading.Thread(target=lambda: answers.append(session.ask(b"after all")), daemon=True)
        waiting.start()
        waiting.join(SILENCE_S)
        checks.check(not answers, f"{name}: cut off, an open session is silent", answers)
        refused = hosts.ssh(name, "true", "-o", "ConnectTimeout=1")
        checks.check(refused.returncode == 255, f"{name}: cut off, a new session fails: {refused.stderr.splitlines()[:1]}", refused)
        hosts.restore(name)
        waiting.join(30)
        checks.check(
            answers == [b"after all\n"], f"{name}: restored, the answer came {time.monotonic() - begin:.1f} s after the cut", answers
        )


def check_fill(checks: Checks, hosts: Namespaces, name: str) -> None:
    write = 'head -c 8192 /dev/zero >"$TMPDIR/file" && echo written >"$HOME/file"'
    filled = hosts.fill(name)
    full = hosts.ssh(name, write)
    hosts.empty(name)
    empty = hosts.ssh(name, write)
    good = full.returncode != 0 and "No space left on device" in full.stderr and empty.returncode == 0
    checks.check(
        good and hosts.home(name).joinpath("file").read_text() == "written\n", f"{name}: full with {filled} bytes, then not", (full, empty)
    )


def check_processes(checks: Checks, hosts: Namespaces, name: str) -> None:
    hosts.ssh(name, "setsid sleep 1000 >/dev/null 2>&1 </dev/null & exit")
    running = hosts.processes(name)
    inside = int(hosts.ssh(name, "pgrep sleep").stdout)
    good = running == [hosts.process(name, inside)] and not hosts.processes(hosts.names[0])
    checks.check(good, f"{name}: its one process is seen, there {inside} and here {running[0]}", running)
    with Session(hosts, name, "cat") as session:
        session.ask()
        hosts.crash(name)
        checks.check(
            not hosts.processes(name) and session.process.wait(10) == 255, f"{name}: crashed, its processes are gone and ssh tells"
        )


def check_slurm(checks: Checks) -> None:
    begin = time.monotonic()
    with Slurm() as slurm:
        checks.check(True, f"{len(slurm.nodes)} nodes of Slurm are idle in {time.monotonic() - begin:.1f} s")
        for arguments, nodes in (["-n4"], 4), (["-N1", "-n4", "--overcommit"], 1), (["-N2", "-n4", "--overcommit"], 2):
            tasks = run_tasks(slurm.folder, lambda command: slurm.srun(arguments, command, env=bare(SLURM_CONF=str(slurm.configuration))))
            names = {task["variables"]["SLURMD_NODENAME"] for task in tasks}
            good = ranks(tasks, "SLURM_PROCID") == list(range(4)) and len(names) == nodes
            checks.check(good, f"srun {' '.join(arguments)}: four tasks on {', '.join(sorted(names))}", tasks)
        print_variables("srun", f"srun {' '.join(arguments)}", "SLURM_PROCID", tasks)
        check_scancel(checks, slurm)


def check_scancel(checks: Checks, slurm: Slurm) -> None:
    with slurm.srun(["-n2", "--quiet"], [*PYTHON, "-c", "import time; time.sleep(1000)"], stderr=subprocess.DEVNULL) as job:
        wait_until("two tasks run", lambda: len(slurm.processes()) == 2)
        nodes = [len(slurm.processes(node)) for node in slurm.nodes]
        slurm.scancel(next(iter(slurm.jobs())))
        job.wait(20)
    checks.check(sorted(nodes) == [0, 0, 1, 1] and not slurm.processes(), f"scancel ends two tasks, srun's code is {job.returncode}", nodes)


def check_mpi(checks: Checks) -> None:
    with Mpi() as mpi:
        tasks = run_tasks(mpi.folder, lambda command: mpi.mpirun(["-n", "4"], command, env=bare()))
        checks.check(ranks(tasks, "OMPI_COMM_WORLD_RANK") == list(range(4)), "mpirun -n 4 of Open MPI: four tasks", tasks)
        print_variables("mpirun of Open MPI", "mpirun -n 4", "OMPI_COMM_WORLD_RANK", tasks)
        tasks = run_tasks(mpi.folder, lambda command: mpi.mpiexec_mpich(["-n", "4"], command, env=bare()))
        checks.check(ranks(tasks, "PMI_RANK") == list(range(4)), "mpiexec -n 4 of MPICH: four tasks", tasks)
        print_variables("mpiexec of MPICH", "mpiexec -n 4", "PMI_RANK", tasks)
        jobs = {task["answers"].get(PMI_JOB) for task in tasks}
        checks.check(len(jobs) == 1, f"PMI_FD: {PMI_BEGIN!r}: {tasks[0]['answers'].get(PMI_BEGIN)!r}; {PMI_JOB!r}: {jobs.pop()!r}", tasks)
        check_killed(checks, mpi)


def check_killed(checks: Checks, mpi: Mpi) -> None:
    """Leaves tasks behind, and one that is its own session, which are to be gone with the lab."""
    for name, start in (("mpirun of Open MPI", mpi.mpirun), ("mpiexec of MPICH", mpi.mpiexec_mpich)):
        already = set(mpi.processes())
        with start(["-n", "2"], ["sh", "-c", "setsid sleep 1000 & exec sleep 1000"], stdin=subprocess.DEVNULL) as launcher:
            wait_until("four processes run", lambda: len(set(mpi.processes()) - already) == 4)
            launcher.kill()
        wait_until("some are left", lambda: len(set(mpi.processes()) - already) in (2, 4))
        time.sleep(0.5)
        left = set(mpi.processes()) - already
        checks.check(left, f"{name} killed: of its 4 processes {len(left)} are left, for the lab")


def bare(**more: str) -> dict[str, str]:
    """An environment in which what launchers set stands out."""
    return {"PATH": os.defpath, "HOME": "/root", **more}


def run_tasks(folder: pathlib.Path, launch: Callable[[Sequence[object]], subprocess.Popen]) -> list[dict]:
    """What the tasks of a launcher wrote of themselves."""
    tasks = folder / "tasks"
    tasks.mkdir()
    with launch([*PROBE, "task", tasks]) as launcher:
        try:
            launcher.wait(30)
        finally:
            launcher.kill()
    said = [json.loads(path.read_text()) for path in tasks.glob("*.json")]
    for path in tasks.iterdir():
        path.unlink()
    tasks.rmdir()
    return said


def ranks(tasks: list[dict], variable: str) -> list[int]:
    return sorted(int(task["variables"].get(variable, -1)) for task in tasks)


def print_variables(launcher: str, command: str, rank: str, tasks: list[dict]) -> None:
    """The variables of all tasks in the order of their ranks; one value where all have the same."""
    print(f"\n      what {command} sets for each task:")
    tasks = sorted(tasks, key=lambda task: int(task["variables"].get(rank, -1)))
    for name in VARIABLES[launcher].split():
        values = [task["variables"].get(name, "(not set)") for task in tasks]
        print(f"      {name} = {values[0] if len(set(values)) == 1 else ' | '.join(values)}")
    print(flush=True)


def check_interrupted(checks: Checks, parts: Sequence[str]) -> None:
    """A program with the lab that is stopped leaves nothing; of one that is killed, the next takes the rest away."""
    if not parts:
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with subprocess.Popen([*PYTHON[:1], "-B", HERE / "lab.py", "--hold", *parts], stdout=subprocess.PIPE, text=True) as held:
            assert held.stdout
            while "Ctrl-C" not in (held.stdout.readline() or "Ctrl-C"):
                pass  # it is still starting
            there = bool(leftovers.found(held.pid))
            held.send_signal(number)
        if number == signal.SIGKILL:
            leftovers.sweep()
        left = leftovers.found(held.pid)
        checks.check(there and not left, f"nothing is left of a program with the lab that got {number.name}", left)


def check(parts: Sequence[str]) -> int:
    """Checks these parts; the exit code."""
    begin, checks = time.monotonic(), Checks()
    for part, function in {"hosts": check_hosts, "slurm": check_slurm, "mpi": check_mpi}.items():
        if part in parts:
            function(checks)
            left = leftovers.found(os.getpid())
            checks.check(not left, f"{part}: nothing is left", left)
    check_interrupted(checks, [part for part in parts if part != "mpi"])
    print(f"\n{'all is well' if checks.well else 'NOT all is well'}, after {time.monotonic() - begin:.0f} s")
    return 0 if checks.well else 1
