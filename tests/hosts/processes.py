"""Processes by /proc: which there are, what waits for them and what ends them. By process id alone, never by a name.

Knows nothing of hosts, Slurm or MPI.
"""

import contextlib
import dataclasses
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar

PROC = pathlib.Path("/proc")
# daemons live where a user's PATH may not look
PATH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
# variables of a batch system or of MPI, which would tell a job in the lab that it is part of the job around it
FOREIGN = ("SLURM", "SRUN_", "SBATCH_", "OMPI_", "PMI", "MPI_", "HYDRA_", "HYDI_")

Found = TypeVar("Found")


class LabError(RuntimeError):
    """The lab cannot do what was asked; its words say why, and what to do about it."""


@dataclasses.dataclass(frozen=True)
class Process:
    """A process that is more than a zombie."""

    pid: int
    parent: int
    command: str  # the kernel's name for it, at most 15 characters


def snapshot() -> dict[int, Process]:
    """All processes that are there now, by their id."""
    found = {}
    for folder in PROC.glob("[0-9]*"):
        try:
            begin, _, end = (folder / "stat").read_text(errors="replace").rpartition(")")
        except OSError:
            continue  # it ended meanwhile
        state, parent = end.split()[:2]
        if state not in "ZX":
            pid = int(folder.name)
            found[pid] = Process(pid, int(parent), begin.partition("(")[2])
    return found


def descendants(roots: Collection[int], known: dict[int, Process] | None = None) -> set[int]:
    """The children of `roots`, their children and so on, without the roots."""
    known = snapshot() if known is None else known
    children: dict[int, list[int]] = {}
    for process in known.values():
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    rest = list(roots)
    while rest:
        for child in children.get(rest.pop(), []):
            if child not in found:
                found.add(child)
                rest.append(child)
    return found


def environment(pid: int) -> list[bytes]:
    """The variables that a process began with; none if it ended."""
    with contextlib.suppress(OSError):
        return (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    return []


def arguments(pid: int) -> bytes:
    """The arguments of a process, a zero after each; empty if it ended."""
    with contextlib.suppress(OSError):
        return (PROC / str(pid) / "cmdline").read_bytes()
    return b""


def command_line(pid: int) -> str:
    """The arguments of a process for people."""
    return arguments(pid).replace(b"\0", b" ").decode(errors="replace").strip()


def wait_until(what: str | Callable[[], str], condition: Callable[[], Found], patience_s: float = 20, pause_s: float = 0.02) -> Found:
    """What `condition` returns once that counts as true; after `patience_s` a `LabError` with `what` was waited for."""
    end = time.monotonic() + patience_s
    while not (found := condition()):
        if time.monotonic() > end:
            raise LabError(f"{what if isinstance(what, str) else what()}: not within {patience_s:.0f} s")
        time.sleep(pause_s)
    return found


def kill_all(find: Callable[[], Collection[int]], patience_s: float = 10) -> None:
    """Kills what `find` finds until it finds nothing: what is killed may have started more meanwhile."""

    def none_left() -> bool:
        left = [pid for pid in find() if pid != os.getpid()]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    wait_until("processes end that were killed", none_left, patience_s)


def stop(process: subprocess.Popen, patience_s: float = 5) -> None:
    """Ends a child: it is asked to, and killed after `patience_s`."""
    if process.stdin:
        with contextlib.suppress(OSError):
            process.stdin.close()
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def start(command: Sequence[object], log: pathlib.Path, **popen) -> subprocess.Popen:
    """A daemon in the foreground of its own session, so that Ctrl-C is for the lab alone; its words go to `log`."""
    popen.setdefault("stdin", subprocess.DEVNULL)
    with log.open("ab") as words:
        return subprocess.Popen([str(part) for part in command], stdout=words, stderr=words, start_new_session=True, **popen)


def call(*command: object) -> str:
    """What a command says that has to end well."""
    done = subprocess.run(
        [str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, env={**os.environ, "PATH": PATH}
    )
    if done.returncode != 0:
        raise LabError(f"{' '.join(map(str, command))}: code {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without traces of a batch system or of MPI, with the folders of daemons in PATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return {**kept, "PATH": PATH, **more}


def free_ports(count: int) -> list[int]:
    """Ports of TCP that are free on every address."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """While the lab takes itself down, another Ctrl-C does not stop it half-way."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    kept = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def signals_unwind() -> Iterator[None]:
    """SIGTERM and SIGHUP end the program as Ctrl-C does: through its context managers. For main programs."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    kept = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
