"""Hosts on one machine: network namespaces with an sshd each, clocks that are seconds apart, and links that take time.

    with Namespaces() as hosts:
        subprocess.run(["ssh", "-F", hosts.ssh_config, "host1", "hostname"])

What differs from real hosts: they share processors, kernel, file system (but for home, /run and /dev/shm) and /tmp. What the
program here measures of their processes it measures of its own machine.
"""

import contextlib
import dataclasses
import ipaddress
import json
import os
import pathlib
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from typing import Any

import clocks
import leftovers
import network
from processes import PATH, LabError, call, clean_environment, descendants, kill_all, snapshot, start, stop, wait_until

HERE = pathlib.Path(__file__).resolve().parent
SSH_PORT = 22
FIRST_HOST = 10  # the last byte of an address, before the number of the host

SSHD = """Port {port}
ListenAddress {address}
HostKey {folder}/host_key
AuthorizedKeysFile {shared}/key.pub
# the folder is below /tmp, which everyone can write to
StrictModes no
AuthenticationMethods publickey
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
AcceptEnv LANG LC_*
PidFile {folder}/sshd.pid
LoginGraceTime 30
MaxStartups 200
MaxSessions 200
Subsystem sftp internal-sftp
SetEnv {variables}
"""
CLIENT = """Host *
BatchMode yes
User root
ConnectTimeout 5
IdentityFile {shared}/key
IdentitiesOnly yes
IdentityAgent none
StrictHostKeyChecking yes
UserKnownHostsFile {shared}/known_hosts
GlobalKnownHostsFile /dev/null
"""
CLIENT_HOST = """Host {name}
HostName 127.0.0.1
Port {port}
HostKeyAlias {name}
"""


@dataclasses.dataclass(frozen=True)
class Addresses:
    """Where a host reaches a server of the machine, as HOST:PORT: at once, and with the host's delay in each direction."""

    direct: str
    delayed: str


class Host:
    """One of them; nothing in it is for users of the lab."""

    def __init__(self, number: int, shared: pathlib.Path, subnet: ipaddress.IPv4Network, delay_ms: float, clock_s: float) -> None:
        self.name = f"host{number}"
        self.namespace = leftovers.name(f"-{self.name}")
        self.link = leftovers.name(f"h{number}")  # the end of its cable in the bridge
        self.address = str(subnet[FIRST_HOST + number])
        self.folder = shared / self.name
        self.home = self.folder / "home"
        self.delay_ms = delay_ms
        self.clock_ns = round(clock_s * clocks.NANOSECONDS)
        self.clock: clocks.Clock | None = None  # where it can be moved
        self.init = 0  # its process 1, which is sshd, as the machine numbers it
        self.delays: subprocess.Popen | None = None
        self.forwarded: dict[tuple[str, str, int], int] = {}  # address listened at and target, to the port of delay.py

    def kernel_ns(self) -> int:
        return time.monotonic_ns() + self.clock_ns


class Namespaces(leftovers.Part):
    """`count` hosts, host1 and so on: for each its delay in each direction, and by how much its monotonic clock is ahead.

    Only the hosts in `movable_clocks` have a clock that stops and jumps, as that needs a library preloaded into all their processes.
    A home, which also has TMPDIR, takes `home_mib` and no more.
    """

    kind = "hosts"

    def __init__(
        self,
        count: int = 4,
        delays_ms: Sequence[float] = (0.2, 1, 5, 20),
        clocks_s: Sequence[float] = (0, 1.5, -3, 2),
        movable_clocks: Collection[str] = (),
        home_mib: int = 64,
    ) -> None:
        super().__init__()
        if min(len(delays_ms), len(clocks_s)) < count:
            raise ValueError(f"{count} hosts need as many delays_ms and clocks_s, which are {len(delays_ms)} and {len(clocks_s)}")
        self.settings = list(zip(delays_ms[:count], clocks_s[:count]))
        self.movable_clocks = frozenset(movable_clocks)
        self.home_mib = home_mib
        self.hosts: dict[str, Host] = {}

    # what users ask

    @property
    def names(self) -> list[str]:
        return list(self.hosts)

    @property
    def addresses(self) -> dict[str, str]:
        """The address of each host behind the bridge."""
        return {host.name: host.address for host in self.hosts.values()}

    def ssh_command(self, host: str, command: str | Sequence[object], *options: object) -> list[str]:
        """How ssh runs a command on a host; one that is not a string is quoted for the shell there."""
        remote = command if isinstance(command, str) else shlex.join(map(str, command))
        return ["ssh", "-F", str(self.ssh_config), *map(str, options), self._host(host).name, remote]

    def ssh(self, host: str, command: str | Sequence[object], *options: object, **run) -> subprocess.CompletedProcess:
        """Runs a command on a host to its end; its output and its code, which is 255 where ssh itself failed."""
        if "input" not in run:
            run.setdefault("stdin", subprocess.DEVNULL)
        run.setdefault("capture_output", "stdout" not in run and "stderr" not in run)
        run.setdefault("text", True)
        return subprocess.run(self.ssh_command(host, command, *options), **run)

    def server(self, host: str, port: int, listens_at: str | None = None) -> Addresses:
        """The addresses by which a host reaches a server of the machine.

        Directly it has to listen at all addresses, or at `self.address`; for the delayed one `listens_at` can be 127.0.0.1.
        """
        forwarded = self._forward(self._host(host), self.address, (listens_at or self.address, port))
        return Addresses(f"{self.address}:{port}", f"{self.address}:{forwarded}")

    def cut(self, host: str) -> None:
        """Pulls the cable: nothing passes, nobody is told. Connections live until someone loses patience."""
        network.switch(self._host(host).link, "down")

    def restore(self, host: str) -> None:
        """Puts the cable back. Connections go on when TCP tries again, which takes the longer the longer it was out."""
        network.switch(self._host(host).link, "up")

    def crash(self, host: str) -> None:
        """The power fails: all processes end at once, and unlike with `cut` the address answers with resets."""
        init = self._host(host).init
        kill_all(lambda: [pid for pid in (init, *descendants([init])) if pid in snapshot()])

    def processes(self, host: str) -> list[int]:
        """The processes of a host but for those of sshd, by the ids that they have here."""
        known = snapshot()
        return sorted(pid for pid in descendants([self._host(host).init], known) if known[pid].command != "sshd")

    def process(self, host: str, number: int) -> int:
        """The id that a process has here, of the one that it has on its host."""
        for pid in self.processes(host):
            if namespace_ids(pid)[-1:] == [number]:
                return pid
        raise LabError(f"{host} has no process {number}")

    def path(self, host: str, path: str | os.PathLike[str]) -> pathlib.Path:
        """A file of a host as it is reached from here."""
        return pathlib.Path(f"/proc/{self._host(host).init}/root{os.fspath(path)}")

    def home(self, host: str) -> pathlib.Path:
        """The home of a host as it is reached from here; TMPDIR is its folder `tmp`."""
        return self.path(host, self._host(host).home)

    def fill(self, host: str, leave_bytes: int = 0) -> int:
        """Fills home and TMPDIR up; the bytes that it took."""
        home = self.home(host)
        state = os.statvfs(home)
        with (home / "filler").open("ab") as filler:
            size = max(0, state.f_bavail * state.f_frsize - leave_bytes)
            if size:
                os.posix_fallocate(filler.fileno(), filler.tell(), size)
        return size

    def empty(self, host: str) -> None:
        """Takes away what `fill` filled in."""
        (self.home(host) / "filler").unlink(missing_ok=True)

    def true_clock_offset_s(self, host: str) -> float:
        """By how much the monotonic clock of a host is ahead of the machine's, now."""
        chosen = self._host(host)
        return ((chosen.clock.now_ns() if chosen.clock else chosen.kernel_ns()) - time.monotonic_ns()) / clocks.NANOSECONDS

    def stop_clock(self, host: str) -> None:
        """The monotonic clock of a host stands still."""
        self._clock(host).stop()

    def start_clock(self, host: str) -> None:
        """It goes on from where it stood."""
        self._clock(host).start()

    def jump_clock(self, host: str, seconds: float) -> None:
        """It jumps ahead, or back where `seconds` are negative."""
        self._clock(host).jump(seconds)

    # how it is built

    def build(self) -> None:
        self.subnet = network.unused()
        self.address = str(self.subnet[1])
        self.ssh_config = self.folder / "ssh_config"
        self.bridge = leftovers.name("br")
        self.stack.callback(network.remove_link, self.bridge)
        network.add_bridge(self.bridge, f"{self.address}/{self.subnet.prefixlen}")
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "key")
        for number, (delay_ms, clock_s) in enumerate(self.settings, 1):
            host = Host(number, self.folder, self.subnet, delay_ms, clock_s)
            self.hosts[host.name] = host
        if unknown := self.movable_clocks - self.hosts.keys():
            raise ValueError(f"movable_clocks has hosts that are not there: {', '.join(sorted(unknown))}")
        for host in self.hosts.values():
            self._network(host)
            self._furnish(host)
            self._start(host)
        self._client()
        for host in self.hosts.values():
            wait_until(lambda: f"sshd of {host.name} listens, which said: {self._log(host)}", lambda: self._listens(host))

    def _host(self, name: str) -> Host:
        if name not in self.hosts:
            raise LabError(f"there is no {name}, only {', '.join(self.hosts)}")
        return self.hosts[name]

    def _clock(self, name: str) -> clocks.Clock:
        clock = self._host(name).clock
        if not clock:
            raise LabError(f"the clock of {name} cannot be moved; remedy: Namespaces(movable_clocks=[{name!r}])")
        return clock

    def _network(self, host: Host) -> None:
        self.stack.callback(network.remove_namespace, host.namespace)
        self.stack.callback(kill_all, lambda: leftovers.inside([host.namespace]))
        network.add_namespace(host.namespace)
        self.stack.callback(network.remove_link, host.link)
        network.plug(host.link, self.bridge, host.namespace, f"{host.address}/{self.subnet.prefixlen}")

    def _furnish(self, host: Host) -> None:
        """The files of a host: sshd's, those that are to stand in its /etc, and its clock's."""
        host.home.mkdir(parents=True)
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", host.folder / "host_key")
        variables: dict[str, pathlib.Path] = {"TMPDIR": host.home / "tmp"}
        if host.name in self.movable_clocks:
            host.clock = clocks.Clock(host.folder / "clock", host.kernel_ns)
            variables |= {"LAB_CLOCK": host.folder / "clock", "LD_PRELOAD": clocks.built(self.folder)}
        settings = " ".join(f"{name}={value}" for name, value in variables.items())
        (host.folder / "sshd_config").write_text(
            SSHD.format(port=SSH_PORT, address=host.address, folder=host.folder, shared=self.folder, variables=settings)
        )
        etc = host.folder / "etc"
        etc.mkdir()
        known = {"localhost": "127.0.0.1", "server": self.address} | {each.name: each.address for each in self.hosts.values()}
        (etc / "hosts").write_text("".join(f"{address} {name}\n" for name, address in known.items()))
        # sshd asks these two where root is at home, and whether its account is locked, as it is on some machines
        (etc / "passwd").write_text(with_root(pathlib.Path("/etc/passwd").read_text(), {5: str(host.home)}))
        (etc / "shadow").write_text(with_root(pathlib.Path("/etc/shadow").read_text(), {1: "*"}))
        (etc / "shadow").chmod(0o600)

    def _start(self, host: Host) -> None:
        settings: dict[str, object] = {"name": host.name, "clock_ns": host.clock_ns, "folder": str(host.folder)}
        settings |= {"home_mib": self.home_mib, "sshd": shutil.which("sshd", path=PATH)}  # which wants its whole path
        program = [sys.executable, "-I", HERE / "host.py", json.dumps(settings)]
        command = ["ip", "netns", "exec", host.namespace, *program]
        launcher = start(command, host.folder / "log", stdin=subprocess.PIPE, env=clean_environment())
        self.stack.callback(end, launcher)
        try:
            host.init = wait_until("process 1 begins", lambda: child_of(launcher))
        except LabError as error:
            raise LabError(f"{host.name}: {error}; it said: {self._log(host)}") from error
        host.delays = start_delays(host.folder)
        self.stack.callback(stop, host.delays)

    def _client(self) -> None:
        text, known = CLIENT.format(shared=self.folder), ""
        for host in self.hosts.values():
            port = self._forward(host, "127.0.0.1", (host.address, SSH_PORT))
            text = CLIENT_HOST.format(name=host.name, port=port) + text
            known += f"{host.name} {(host.folder / 'host_key.pub').read_text()}"
        self.ssh_config.write_text(text)
        (self.folder / "known_hosts").write_text(known)

    def _forward(self, host: Host, listen: str, target: tuple[str, int]) -> int:
        """A port at `listen` that leads to `target`, with the delay of the host."""
        if (listen, *target) not in host.forwarded:
            assert host.delays and host.delays.stdin and host.delays.stdout
            asked = {"listen": listen, "target": target, "delay_ms": host.delay_ms}
            host.delays.stdin.write(json.dumps(asked).encode() + b"\n")
            answer = host.delays.stdout.readline()
            if not answer:
                raise LabError(f"delay.py ended: {(host.folder / 'delay.log').read_text()}")
            host.forwarded[(listen, *target)] = int(answer)
        return host.forwarded[(listen, *target)]

    def _listens(self, host: Host) -> bool:
        if host.init not in snapshot():
            raise LabError(f"{host.name} ended at once; it said: {self._log(host)}")
        try:
            with socket.create_connection((host.address, SSH_PORT), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _log(self, host: Host) -> str:
        log = host.folder / "log"
        return log.read_text(errors="replace").strip()[-2000:] if log.exists() else "nothing"


def end(launcher: subprocess.Popen) -> None:
    """Ends a host: its process 1 takes all others along, which are gone when host.py is."""
    assert launcher.stdin
    launcher.stdin.close()
    try:
        launcher.wait(5)
    except subprocess.TimeoutExpired:
        stop(launcher)


def child_of(launcher: subprocess.Popen) -> int:
    """The id of a host's process 1; 0 where there is none yet."""
    if launcher.poll() is not None:
        raise LabError(f"host.py ended with code {launcher.returncode}")
    return next((process.pid for process in snapshot().values() if process.parent == launcher.pid), 0)


def namespace_ids(pid: int) -> list[int]:
    """The ids of a process in all namespaces that it is in, the innermost last; none if it ended."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return [int(each) for each in line.split()[1:]]
    return []


def start_delays(folder: pathlib.Path) -> subprocess.Popen:
    """A process that delays connections: delay.py, which is asked by its input and has `folder` for a mark."""
    program = [sys.executable, "-I", str(HERE / "delay.py")]
    pipes: dict[str, Any] = {"bufsize": 0, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "start_new_session": True}
    with (folder / "delay.log").open("ab") as words:
        return subprocess.Popen(program, stderr=words, env=clean_environment(LAB_FOLDER=str(folder)), **pipes)


def with_root(text: str, fields: dict[int, str]) -> str:
    """A file like /etc/passwd, with other fields for root."""
    lines = [line.split(":") for line in text.splitlines()]
    for line in lines:
        if line[0] == "root":
            for number, value in fields.items():
                line[number] = value
    return "".join(":".join(line) + "\n" for line in lines)
