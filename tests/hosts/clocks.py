"""Monotonic clocks that stop and jump: the file by which clock.c is told, and the library that it becomes."""

import ctypes
import mmap
import pathlib
from collections.abc import Callable

from processes import call

NANOSECONDS = 1_000_000_000
SOURCE = pathlib.Path(__file__).resolve().parent / "clock.c"


class Clock:
    """The monotonic clock of a host that can be moved."""

    def __init__(self, path: pathlib.Path, kernel_ns: Callable[[], int]) -> None:
        self.kernel_ns = kernel_ns  # the host's clock as the kernel has it
        path.write_bytes(bytes(mmap.PAGESIZE))
        with path.open("r+b") as file:
            mapped = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        # three aligned words, so that none is ever read half-written
        self.mode, self.offset_ns, self.stopped_ns = (ctypes.c_int64.from_buffer(mapped, 8 * number) for number in range(3))

    def now_ns(self) -> int:
        return self.stopped_ns.value if self.mode.value else self.kernel_ns() + self.offset_ns.value

    def stop(self) -> None:
        self.stopped_ns.value = self.now_ns()
        self.mode.value = 1

    def start(self) -> None:
        """Goes on from where it stands."""
        self.offset_ns.value = self.now_ns() - self.kernel_ns()
        self.mode.value = 0

    def jump(self, seconds: float) -> None:
        word = self.stopped_ns if self.mode.value else self.offset_ns
        word.value += round(seconds * NANOSECONDS)


def built(folder: pathlib.Path) -> pathlib.Path:
    """The library of clock.c in a folder, for LD_PRELOAD; it reads the file that LAB_CLOCK names."""
    library = folder / "clock.so"
    if not library.exists():
        call("cc", "-std=c11", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl")
    return library
