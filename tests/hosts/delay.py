"""A link that takes time: what comes in on a connection leaves it so many milliseconds later, in order, however much it is.

Each line of standard input, of JSON, asks for a port: {"listen": ADDRESS, "target": [ADDRESS, PORT], "delay_ms": ONE_WAY}; each is
answered by a line, the port. All ends with the input. The kernels of many machines have no netem, which would do this below TCP.

A target that refuses resets the connection that was just accepted. One that is not to be reached leaves it silent, as a broken
link does.
"""

import asyncio
import collections
import contextlib
import errno
import functools
import json
import os
import selectors
import socket
import struct
import sys

# so much may be under way in one direction, far more than any link here holds: beyond it the sender has to wait
UNDER_WAY_BYTES = 64 * 1024 * 1024
RETRY_S = 0.2  # between attempts to reach a target that is cut off
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


class End(asyncio.Protocol):
    """One end of a connection. What it receives leaves at the other end; `None` there is the end of it, `b""` a reset."""

    def __init__(self, delay_s: float, other: "End | None" = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.delay_s = delay_s
        self.other = other or End(delay_s, self)
        self.transport: asyncio.Transport | None = None
        self.due: collections.deque[tuple[float, bytes | None]] = collections.deque()  # what is to leave here, and when
        self.under_way = 0
        self.timer: asyncio.TimerHandle | None = None
        self.received_all = self.sent_all = self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=1024 * 1024)
        self.leave()

    def data_received(self, data: bytes) -> None:
        self.other.enter(data)

    def eof_received(self) -> bool:
        self.received_all = True
        self.other.enter(None)
        return True  # the other direction goes on

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if error or not self.received_all:
            self.other.enter(b"")

    def pause_writing(self) -> None:
        self.other.flow()

    def resume_writing(self) -> None:
        self.other.flow()

    def flow(self) -> None:
        """Lets this end receive or not, by how much is under way to the other."""
        if self.transport and not self.lost and not self.received_all:
            waiting = self.other.under_way + (self.other.transport.get_write_buffer_size() if self.other.transport else 0)
            if waiting > UNDER_WAY_BYTES:
                self.transport.pause_reading()
            elif not self.transport.is_reading():
                self.transport.resume_reading()

    def enter(self, data: bytes | None) -> None:
        """Takes what is to leave here, later."""
        self.due.append((self.loop.time() + self.delay_s, data))
        self.under_way += len(data or b"")
        if self.under_way > UNDER_WAY_BYTES:
            self.other.flow()
        if self.transport and not self.timer:
            self.timer = self.loop.call_at(self.due[0][0], self.leave)

    def leave(self) -> None:
        """Sends what is due, and sets the clock for the rest."""
        self.timer = None
        while self.due and self.due[0][0] <= self.loop.time():
            data = self.due.popleft()[1]
            self.under_way -= len(data or b"")
            if not self.lost:
                self.send(data)
        if self.due:
            self.timer = self.loop.call_at(self.due[0][0], self.leave)
        self.other.flow()

    def send(self, data: bytes | None) -> None:
        assert self.transport
        if data:
            self.transport.write(data)
            return
        if data is None:
            self.sent_all = True
            with contextlib.suppress(OSError):  # who sent a reset meanwhile hears no more
                self.transport.write_eof()
        else:
            self.reset()
        for end in (self, self.other):
            if end.sent_all and end.received_all and end.transport:
                end.transport.close()

    def reset(self) -> None:
        """Ends the connection as a program does that was killed."""
        if self.transport:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.transport.abort()


class Accepted(End):
    """The end that faces who connected; it connects the other one to the target."""

    def __init__(self, delay_s: float, target: tuple[str, int]) -> None:
        super().__init__(delay_s)
        self.target = target

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.task = self.loop.create_task(self.reach())  # kept, as a loop holds its tasks weakly

    async def reach(self) -> None:
        while not self.lost:
            try:
                await self.loop.create_connection(lambda: self.other, *self.target)
                return
            except OSError as error:
                if error.errno == errno.ECONNREFUSED:
                    self.enter(b"")
                    return
                await asyncio.sleep(RETRY_S)


async def main() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    servers = []  # kept, as they listen as long as they are held
    while line := await lines.readline():
        asked = json.loads(line)
        end = functools.partial(Accepted, asked["delay_ms"] / 1000, tuple(asked["target"]))
        servers.append(await loop.create_server(end, asked["listen"], 0, family=socket.AF_INET, backlog=512))
        print(servers[-1].sockets[0].getsockname()[1], flush=True)


def punctual() -> None:
    """Before all others on a busy machine: this is the hardware."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError:  # containers may have no real time to give
        with contextlib.suppress(OSError):
            os.nice(-20)


if __name__ == "__main__":
    punctual()
    # epoll waits whole milliseconds; select, microseconds
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(main())
