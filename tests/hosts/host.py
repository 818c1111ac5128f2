"""Becomes a host, as far as the kernel lets one machine be several, and serves ssh: host.py SETTINGS, a line of JSON.

Started inside a network namespace, as root. Own are the name, the processes, the mounts, the shared memory and the monotonic clock.
The host lives until standard input ends, so that none outlives the program that started it, even if that is killed.
"""

import ctypes
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys

# of linux/sched.h and linux/prctl.h; Python has os.unshare from 3.12
CLONE_NEWTIME, CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID = 0x80, 0x20000, 0x4000000, 0x8000000, 0x20000000
PR_SET_PDEATHSIG = 1
NANOSECONDS = 1_000_000_000
LIBC = ctypes.CDLL(None, use_errno=True)


def system_call(name: str, *arguments: int) -> None:
    """A call of the C library that says by -1 that it failed."""
    if getattr(LIBC, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def set_clocks(offset_ns: int) -> None:
    """Sets the clocks of the children to come apart from the machine's; unshare(1) knows whole seconds only."""
    seconds, rest = divmod(offset_ns, NANOSECONDS)
    pathlib.Path("/proc/self/timens_offsets").write_text("".join(f"{clock} {seconds} {rest}\n" for clock in ("monotonic", "boottime")))


def mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def furnish(folder: pathlib.Path, home_mib: int) -> None:
    """The files of this host: its own home, which can be filled up, and its own /etc/passwd and the like, from `folder`/etc."""
    mount("--make-rprivate", "/")
    mount("-t", "proc", "proc", "/proc")
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/dev/shm")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    pathlib.Path("/run/sshd").mkdir()  # sshd refuses to start without
    for file in (folder / "etc").iterdir():
        mount("--bind", file, f"/etc/{file.name}")
    mount("-t", "tmpfs", "-o", f"size={home_mib}m,mode=700", "tmpfs", folder / "home")
    (folder / "home" / "tmp").mkdir()


def begin(settings: dict) -> None:
    """Process 1 of the host: makes it ready, then is its sshd."""
    system_call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
    folder = pathlib.Path(settings["folder"])
    socket.sethostname(settings["name"])
    furnish(folder, settings["home_mib"])
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.execv(settings["sshd"], [settings["sshd"], "-D", "-e", "-f", str(folder / "sshd_config")])


def main() -> int:
    settings = json.loads(sys.argv[1])
    system_call("unshare", CLONE_NEWTIME | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID)
    set_clocks(settings["clock_ns"])
    child = os.fork()
    if child == 0:
        begin(settings)
    ended = os.pidfd_open(child)
    select.select([sys.stdin, ended], [], [])
    os.kill(child, signal.SIGKILL)  # and with process 1 all others of the host
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
