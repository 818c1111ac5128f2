"""What the lab's check runs on its hosts, beside them and as tasks: probe.py clock | echo ADDRESS | link ADDRESS:PORT | task FOLDER."""

import contextlib
import json
import os
import pathlib
import socket
import socketserver
import statistics
import sys
import threading
import time
from collections.abc import Callable

from delay import punctual
from mpi import PMI_BEGIN, PMI_END, PMI_JOB

PINGS_S = 1.0  # how long a link's round trips are measured
BULK_BYTES = 40 * 1024 * 1024


def clock() -> None:
    """Answers each line with the monotonic clock, in nanoseconds."""
    for _line in sys.stdin:
        print(time.monotonic_ns(), flush=True)


class Echo(socketserver.BaseRequestHandler):
    """Sends back what it gets."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(256 * 1024):
                self.request.sendall(data)


def echo(address: str) -> None:
    """A server that sends back what it gets, on the port that it prints, until its input ends."""
    punctual()
    with socketserver.ThreadingTCPServer((address, 0), Echo) as server:
        server.daemon_threads = True
        print(server.server_address[1], flush=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdin.read()


def link(address: str) -> None:
    """Round trips to an echoing server, in milliseconds, and how fast many bytes go there and back."""
    punctual()
    host, port = address.split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        trips_ms = sorted(round_trips_ms(connection))
        begin = time.perf_counter()
        exchange(connection, BULK_BYTES)
        took_s = time.perf_counter() - begin
    tenth, *_, last_tenth = statistics.quantiles(trips_ms, n=10)
    print(json.dumps({"median": statistics.median(trips_ms), "spread": last_tenth - tenth, "mb_s": BULK_BYTES / 1e6 / took_s}))


def round_trips_ms(connection: socket.socket) -> list[float]:
    trips = []
    end = time.perf_counter() + PINGS_S
    while (begin := time.perf_counter()) < end:
        connection.sendall(b"x")
        connection.recv(1)
        trips.append((time.perf_counter() - begin) * 1000)
    return trips[1:]  # the first one waits until delay.py has its connection


def exchange(connection: socket.socket, size: int) -> None:
    """Sends so many bytes and receives as many, both at once."""
    connection.setblocking(False)
    chunk = bytes(256 * 1024)
    sent = received = 0
    while received < size:
        with contextlib.suppress(BlockingIOError):
            sent += connection.send(chunk[: size - sent]) if sent < size else 0
        try:
            received += len(connection.recv(1024 * 1024))
        except BlockingIOError:
            time.sleep(0.0005)


def task(folder: str) -> None:
    """Writes a task's variables to a file, and what MPICH's mpiexec answers."""
    said = {"variables": dict(os.environ), "answers": pmi_answers(int(os.environ["PMI_FD"])) if "PMI_FD" in os.environ else {}}
    path = pathlib.Path(folder, str(os.getpid()))
    path.with_suffix(".part").write_text(json.dumps(said))
    path.with_suffix(".part").rename(path.with_suffix(".json"))


def pmi_answers(number: int) -> dict[str, str]:
    """What is answered to each question, in turn."""
    answers = {}
    for question in (PMI_BEGIN, PMI_JOB, PMI_END):
        os.write(number, question.encode() + b"\n")
        answers[question] = os.read(number, 4096).decode().strip()
    return answers


if __name__ == "__main__":
    commands: dict[str, Callable[..., None]] = {"clock": clock, "echo": echo, "link": link, "task": task}
    commands[sys.argv[1]](*sys.argv[2:])
