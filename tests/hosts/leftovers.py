"""What a lab owns on this machine, told by its names: `lab`, and the process id of the program that started it.

So what a program left that was killed can be found and taken away by the next one, and a check can tell that nothing is left.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence

import processes

NAMED = re.compile(r"lab-?(\d+)(?:-|br$|h\d+$)")
NAMESPACES = pathlib.Path("/run/netns")


def name(suffix: str) -> str:
    """A name for a namespace or an interface of this program: no longer than the 15 characters that interfaces can have."""
    return f"lab{os.getpid()}{suffix}"


@dataclasses.dataclass
class Leftovers:
    """What is there of the labs of one program."""

    owner: int
    folders: list[pathlib.Path] = dataclasses.field(default_factory=list)
    namespaces: list[str] = dataclasses.field(default_factory=list)
    links: list[str] = dataclasses.field(default_factory=list)
    processes: list[int] = dataclasses.field(default_factory=list)
    mounts: list[str] = dataclasses.field(default_factory=list)

    def __bool__(self) -> bool:
        return any((self.folders, self.namespaces, self.links, self.processes, self.mounts))

    def __str__(self) -> str:
        running = [f"{pid} ({processes.command_line(pid)})" for pid in self.processes]
        kinds: dict[str, Sequence[object]] = {
            "folders": self.folders,
            "namespaces": self.namespaces,
            "links": self.links,
            "processes": running,
            "mounts": self.mounts,
        }
        return "; ".join(f"{kind}: {', '.join(map(str, each))}" for kind, each in kinds.items() if each) or "nothing"

    def remove(self) -> None:
        """Ends and deletes all of it."""
        processes.kill_all(lambda: found(self.owner).processes)
        for link in self.links:
            with contextlib.suppress(processes.LabError):  # its other half may have taken it along
                processes.call("ip", "link", "delete", link)
        for namespace in self.namespaces:
            processes.call("ip", "netns", "delete", namespace)
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)


def owner_of(text: str) -> int | None:
    """The program that a name is of."""
    match = NAMED.match(text.rpartition("/")[2])
    return int(match[1]) if match else None


def found(owner: int) -> Leftovers:
    """What is there of the labs of the program `owner`."""
    mark = os.path.join(tempfile.gettempdir(), f"lab-{owner}-")
    here = Leftovers(
        owner,
        folders=[path for path in pathlib.Path(tempfile.gettempdir()).glob(f"lab-{owner}-*") if owner_of(path.name) == owner],
        namespaces=[each for each in names_of("netns", "list") if owner_of(each) == owner],
        links=[each for each in names_of("link") if owner_of(each) == owner],
        mounts=[line.split()[1] for line in pathlib.Path("/proc/mounts").read_text().splitlines() if mark in line],
    )
    here.processes = sorted({*marked(mark), *inside(here.namespaces)} - {owner})
    return here


def marked(path: str | os.PathLike[str]) -> set[int]:
    """The processes that were started with a file in `path` in their arguments or variables, and what those started."""
    text = os.fsencode(path)
    known = processes.snapshot()
    begun = [pid for pid in known if text in processes.arguments(pid) or any(text in each for each in processes.environment(pid))]
    return {*begun, *processes.descendants(begun, known)} - {os.getpid()}


def inside(namespaces: Iterable[str]) -> list[int]:
    """The processes inside network namespaces, by the names of those."""
    numbers = {(NAMESPACES / each).stat().st_ino for each in namespaces if (NAMESPACES / each).exists()}
    found = []
    for pid in processes.snapshot() if numbers else ():
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}/ns/net").st_ino in numbers:
                found.append(pid)
    return found


def names_of(*what: str) -> list[str]:
    """Names of network namespaces or of interfaces; none where there is no iproute2, as without it there can be none."""
    if not shutil.which("ip", path=processes.PATH):
        return []
    said = processes.call("ip", "-json", *what).strip()
    return [each.get("name") or each["ifname"] for each in json.loads(said or "[]") if each]


def sweep() -> None:
    """Takes away what programs left that are no more: they were killed before they could."""
    everything = [path.name for path in pathlib.Path(tempfile.gettempdir()).glob("lab-*")] + names_of("netns", "list") + names_of("link")
    for owner in {owner for each in everything if (owner := owner_of(each))}:
        if not (processes.PROC / str(owner)).exists():
            found(owner).remove()


class Part:
    """A part of the lab: a context manager with a folder of its own, which takes down all that it built, whatever happens.

    A subclass has `build`, which registers at `self.stack` how to take away a thing before it makes it. At last whatever still
    runs is killed that was told of the folder: also what was started with its files by others, such as ssh with its configuration.
    """

    kind: str

    def __init__(self) -> None:
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        try:
            sweep()
            self.folder = self.stack.enter_context(own_folder(self.kind))
            self.stack.callback(processes.kill_all, lambda: marked(self.folder))
            self.build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Takes everything down."""
        with processes.undisturbed():
            self.stack.close()

    def build(self) -> None:
        """Makes everything."""
        raise NotImplementedError


@contextlib.contextmanager
def own_folder(kind: str) -> Iterator[pathlib.Path]:
    """A temporary folder with the mark of this program in its name. Others may look into it: munge insists."""
    with tempfile.TemporaryDirectory(prefix=f"lab-{os.getpid()}-{kind}-", ignore_cleanup_errors=True) as path:
        folder = pathlib.Path(path)
        folder.chmod(0o755)
        yield folder
