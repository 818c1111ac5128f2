"""Whether the runner's open loop is one: requests leave when they are due, and a server that stands still shows.

Run it as bench/open_loop, which sets up what it needs. It has three parts; all ask the embedded server.

Pacing: a model that answers at once is asked at a Poisson rate. What the runner reports (rate, lateness) is held against
the server's request log, whose column `admitted_ns` tells when the server had read each request, and against the system's
own stamps of the packets that reach the server's port (Linux, and the right to look at packets: CAP_NET_RAW, as root has).

The distances between arrivals are held against the exponential distribution by Kolmogorov and Smirnov's test. Judged are
the stamps of packets: a server reads what comes while it wakes up in one go, so its log is bent by some 100 us and is
printed only. Two requests that are due within some 20 us of each other leave one after the other, which a test of all
60000 distances sees and rejects: it is printed. Judged are tests of 1000 distances each (every n-th, from each possible
first one), which together take all of them; they share none, so they are as good as independent, and of exponential
distances 5 % are rejected: what fails is more rejections than binomial chance allows, and no single lucky sample decides.
A test of 1000 does not see what bends the distribution by less than some 2 %. (The schedule itself is held against all of
the distribution by the tests of src/worker/schedule.rs.)

Files: a file of drawn distances, some of them bursts, says when requests arrive, and what arrives is held against it by the stamps of
packets, distance by distance. What arrived is written down as a run's requests, replayed, and held against the first arrivals
likewise. Without stamps of packets nothing is judged, and the part fails.

The stall: a model stands still for one second in every ten and is asked at a constant rate. What users of such a server
wait is computed from its definition alone, and so is what the runner has to report. Beside it stand the service times of
the same requests, a closed loop and perf_analyzer, which all see less.
"""

import argparse
import csv
import ctypes
import math
import os
import random
import re
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

from common import NAMES, ROOT, add_runner, binary_body, embedded, loopback_scenario, post, run_scenario, spread, verdict, write_loopback

PARTS = ["pacing", "files", "stall"]

RATE = 2000  # of the part `pacing`
RATE_LIMIT = 0.005  # how far off a rate may be
LATENESS_LIMIT_MS = 0.2  # of the 99th percentile
SAME_LIMIT_US = 200  # between the arrivals of the same request in two runs, median
SAMPLE = 1000  # distances in one test
REQUEST_BYTES = 1024  # of tensors; packets with fewer are none of the requests
CRITICAL = 1.358  # of Kolmogorov and Smirnov's test at 5 %, times the root of the number of distances

FILE_RATE = 500  # of the part `files`, on average
FILE_SHAPE = 0.5  # of its gamma distributed distances
DISTANCE_LIMIT_US = 200  # between a distance as it arrived and as it was asked for, 99th percentile
ATTEMPTS = 3  # at a run whose packets are its requests
REPLAYED = "http-b1-p1-c64-r%d" % FILE_RATE  # the case under which a replay finds what arrived

STALL_RATE = 100
SERVICE_S, STALL_S, PERIOD_S = 0.001, 1.0, 10.0
STALL_LIMIT = 0.05  # how far off the 99th percentile may be
PERCENTILES = [90, 95, 99]

MODELS = {
    "null": {},
    "stall": {"service_time": "constant %gms" % (SERVICE_S * 1000), "stalls": "%gs every %gs" % (STALL_S, PERIOD_S)},
}
SCENARIO = loopback_scenario("Open loop: %(model)s", "%(model)s", 256, """[matrix]
batch_sizes = [1]
%(matrix)s
[load]
blocks = 1
warmup = 50
%(load)s
""")
SCENARIOS = {
    "pacing": {"model": "null", "matrix": "", "load": 'rate = [%d]\narrival = "poisson"' % RATE},
    "file": {"model": "null", "matrix": "", "load": 'arrivals = {file = "arrivals.csv"}'},
    "replay": {"model": "null", "matrix": "processes = [2]", "load": 'arrivals = {file = "requests.csv", case = "%s", block = 0}' % REPLAYED},
    "open": {"model": "stall", "matrix": "concurrency = [256]", "load": "rate = [%d]" % STALL_RATE},
    "closed": {"model": "stall", "matrix": "concurrency = [1]", "load": ""},
}


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as directory:
        write_files(directory)
        passed = []
        if "pacing" in options.parts:
            passed += pacing(directory, options)
        if "files" in options.parts:
            passed += files(directory, options)
        if "stall" in options.parts:
            passed += stall(directory, options)
    sys.exit(0 if all(passed) else 1)


def arguments():
    parser = argparse.ArgumentParser(
        prog="bench/open_loop", description=__doc__.split("\n\n")[0], epilog="Exit code 1: requests are not sent when they are due, or waits are missing."
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=3, help="how often each protocol takes its turn in `pacing` and `files` [%(default)s]")
    parser.add_argument("--pacing-seconds", type=int, default=30, help="of one turn [%(default)s]")
    parser.add_argument("--file-seconds", type=int, default=20, help="that the file is long [%(default)s]")
    parser.add_argument("--stall-seconds", type=int, default=60, help="of each client, a multiple of %g [%%(default)s]" % PERIOD_S)
    parser.add_argument("--protocols", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--no-peers", action="store_true", help="without perf_analyzer")
    add_runner(parser)
    parser.add_argument("--seed", type=int, default=1, help="of the order of turns [%(default)s]")
    options = parser.parse_args()
    if options.rounds < 1 or options.pacing_seconds < 1 or options.stall_seconds < PERIOD_S or options.stall_seconds % PERIOD_S:
        parser.error("at least one round of a second, and stalls for a multiple of %g seconds" % PERIOD_S)
    if "pacing" in options.parts and options.pacing_seconds * RATE <= SAMPLE:
        parser.error("a test needs more than %d requests" % SAMPLE)
    return options


def write_files(directory):
    for model, parameters in MODELS.items():
        write_loopback(os.path.join(directory, "models"), model, 256, 1, parameters)
    for name, words in SCENARIOS.items():
        with open(os.path.join(directory, name + ".toml"), "w") as file:
            file.write(SCENARIO % words)


def run(name, protocol, hosts, seconds, directory, options):
    """The row of one case without errors, and run.json. `None` seconds: as long as the scenario says."""
    scenario = os.path.join(directory, name + ".toml")
    length = [] if seconds is None else ["--duration", str(seconds)]
    (row,), manifest = run_scenario(options.runner, scenario, hosts, "--protocols", protocol, *length)
    if row["status"] != "ok" or int(row["errors"]):
        sys.exit("%s over %s: %s, %s errors" % (name, protocol, row["status"], row["errors"]))
    return row, manifest


# --- pacing ---


def pacing(directory, options):
    runs = {protocol: [] for protocol in options.protocols}
    order = random.Random(options.seed)
    for number in range(options.rounds):
        for protocol in order.sample(options.protocols, len(options.protocols)):
            row, arrivals, packets = paced(protocol, directory, options)
            runs[protocol].append((row, arrivals, packets))
            words = (number + 1, options.rounds, NAMES[protocol], float(row["requests_per_s"]), float(row["lateness_p99_ms"]))
            print("round %d/%d  %s  %.1f requests/s, lateness p99 %.3f ms" % words, file=sys.stderr)
    return report_pacing(runs, options) + report_arrivals(runs, options)


def paced(protocol, directory, options):
    """The runner's row, and when the measured requests arrived: by the server's log, and by the packets' stamps, or `None`.

    In order and in microseconds.
    """
    log = os.path.join(directory, "requests.csv")
    with embedded(options.runner, os.path.join(directory, "models"), "--load-model", "null", "--request-log", log) as hosts:
        with Packets(int(hosts[protocol].rsplit(":", 1)[1])) as packets:
            row, manifest = run("pacing", protocol, hosts, options.pacing_seconds, directory, options)
    counts = manifest["counts"]
    with open(log, newline="") as file:
        admitted = sorted(int(entry["admitted_ns"]) / 1e3 for entry in csv.DictReader(file))
    expected = options.pacing_seconds * RATE
    if not len(admitted) == counts["server"] == counts["prepared"] + expected:
        sys.exit("%s: %d requests in the log and %d were due, but the runner counts %s" % (protocol, len(admitted), expected, counts))
    if packets.stamps is not None and len(packets.stamps) != len(admitted):
        print("%s: %d packets for %d requests, so they are not judged" % (protocol, len(packets.stamps), len(admitted)), file=sys.stderr)
        packets.stamps = None
    # those to verify and warm up were answered before the first of the others was due
    first = counts["prepared"]
    return row, admitted[first:], packets.stamps and sorted(packets.stamps)[first:]


class Packets:
    """When the requests reached a port of this machine, by the system's stamps of their packets, in microseconds.

    `stamps` is `None` where packets cannot be looked at. A request of 1 KB is one packet; those of its answer and of the
    protocol are shorter. The system picks them and keeps them until the end, so that nothing runs beside what is measured.
    """

    ALL = 3  # ETH_P_ALL
    STAMP_NS, ROOM_FORCE, FILTER = 35, 33, 26  # SO_TIMESTAMPNS, SO_RCVBUFFORCE, SO_ATTACH_FILTER
    ROOM = 512 << 20

    def __init__(self, port):
        self.port, self.stamps, self.socket = port, None, None

    def __enter__(self):
        try:
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            self.socket.setsockopt(socket.SOL_SOCKET, self.ROOM_FORCE, self.ROOM)
            self.socket.setsockopt(socket.SOL_SOCKET, self.STAMP_NS, 1)
            program = ctypes.create_string_buffer(self.program())
            self.socket.setsockopt(socket.SOL_SOCKET, self.FILTER, struct.pack("@HP", len(program) // 8, ctypes.addressof(program)))
            self.socket.bind(("lo", self.ALL))
            self.socket.setblocking(False)
        except (AttributeError, OSError) as error:
            print("packets cannot be looked at: %s" % error, file=sys.stderr)
            self.socket = None
        return self

    def program(self):
        """Of the system's packet filter: passes the first bytes of what comes in over TCP for this port and is long enough."""
        steps = [
            (0x30, 0, 0, 0xFFFFF004), (0x15, 8, 0, 4),  # which way: not what goes out, it is seen again as it comes in
            (0x30, 0, 0, 9), (0x15, 0, 6, socket.IPPROTO_TCP),
            (0x28, 0, 0, 2), (0x35, 0, 4, REQUEST_BYTES),  # length
            (0xB1, 0, 0, 0), (0x48, 0, 0, 2), (0x15, 0, 1, self.port),  # behind the header: port
            (0x06, 0, 0, 64),
            (0x06, 0, 0, 0),
        ]  # fmt: skip
        return b"".join(struct.pack("=HBBI", *step) for step in steps)

    def __exit__(self, *_):
        if self.socket is None:
            return
        self.stamps = []
        with self.socket:
            while True:
                try:
                    _, beside, _, _ = self.socket.recvmsg(1, 64)
                except BlockingIOError:
                    return
                seconds, nanoseconds = struct.unpack("@ll", beside[0][2])
                self.stamps.append(seconds * 1e6 + nanoseconds / 1e3)


def rate_of(arrivals):
    """Arrivals a second."""
    return (len(arrivals) - 1) / (arrivals[-1] - arrivals[0]) * 1e6


def report_pacing(runs, options):
    print(
        "Poisson arrivals, %d a second for %d s in one block, requests of 1 KB, %d runs, median (smallest to largest)"
        % (RATE, options.pacing_seconds, options.rounds)
    )
    print("\n| Protocol | Rate, runner (1/s) | Rate, server's log (1/s) | Lateness p50 (ms) | p99 (ms) | max (ms) | Held back | Response p99 (ms) |")
    print("|---|" + "---|" * 7)
    columns = {}
    for protocol, turns in runs.items():
        rows = [row for row, _, _ in turns]
        columns[protocol] = {name: [float(row[name]) for row in rows] for name in ("requests_per_s", "lateness_p99_ms")}
        columns[protocol]["logged"] = [rate_of(arrivals) for _, arrivals, _ in turns]
        cells = [NAMES[protocol], spread(columns[protocol]["requests_per_s"], "%.1f"), spread(columns[protocol]["logged"], "%.1f")]
        cells += [spread([float(row["lateness_%s_ms" % name]) for row in rows], "%.3f") for name in ("p50", "p99", "max")]
        cells += [spread([int(row["held_back"]) for row in rows], "%d"), spread([float(row["p99_ms"]) for row in rows], "%.3f")]
        print("| " + " | ".join(cells) + " |")
    print()
    passed = []
    for protocol, values in columns.items():
        for name, words in [("requests_per_s", "the runner's rate"), ("logged", "the rate by the server's log")]:
            off = [value / RATE - 1 for value in values[name]]
            good = abs(statistics.median(off)) <= RATE_LIMIT
            passed.append(verdict(good, "%s: %s is off by %s %%, at most %g %%" % (NAMES[protocol], words, spread([100 * share for share in off], "%+.3f"), 100 * RATE_LIMIT)))
        late = values["lateness_p99_ms"]
        good = statistics.median(late) <= LATENESS_LIMIT_MS
        passed.append(verdict(good, "%s: 99 %% of requests start within %s ms of when they are due, at most %g ms" % (NAMES[protocol], spread(late, "%.3f"), LATENESS_LIMIT_MS)))
    print()
    return passed


def kolmogorov_smirnov(distances):
    """The largest distance between the distribution of these and the exponential one of the rate asked for."""
    count, largest = len(distances), 0.0
    for index, distance in enumerate(sorted(distances)):
        share = 1 - math.exp(-distance * RATE / 1e6)
        largest = max(largest, share - index / count, (index + 1) / count - share)
    return largest


def critical(count):
    """Largest distance that chance leaves in 19 of 20 tests."""
    return CRITICAL / math.sqrt(count)


def rejected_at_most(tests):
    """So many of the independent tests chance rejects in 19 of 20 cases at most, when each is one at 5 %."""
    share = 0.0
    for rejected in range(tests + 1):
        share += math.comb(tests, rejected) * 0.05**rejected * 0.95 ** (tests - rejected)
        if share >= 0.95:
            return rejected
    return tests


def report_arrivals(runs, options):
    print("Arrivals at the server: distances against the exponential distribution of mean %g us\n" % (1e6 / RATE))
    print("| Protocol | Stamped by | KS, all distances | Critical | KS, samples of %d, median | Critical | Rejected samples | Allowed |" % SAMPLE)
    print("|---|---|" + "---|" * 6)
    lines = []
    for protocol, turns in runs.items():
        for place, name in [(1, "the server's log"), (2, "the system, packets")]:
            known = [turn[place] for turn in turns if turn[place]]
            if not known:
                continue
            whole, parts, rejected = [], [], []
            for arrivals in known:
                distances = [after - before for before, after in zip(arrivals, arrivals[1:])]
                step = len(distances) // SAMPLE
                samples = [kolmogorov_smirnov(distances[first::step][:SAMPLE]) for first in range(step)]
                whole.append(kolmogorov_smirnov(distances))
                parts.append(statistics.median(samples))
                rejected.append(sum(sample > critical(SAMPLE) for sample in samples))
            allowed = rejected_at_most(step)
            cells = [NAMES[protocol], name, spread(whole, "%.4f"), "%.4f" % critical(len(distances)), spread(parts, "%.4f"), "%.4f" % critical(SAMPLE)]
            print("| " + " | ".join(cells + ["%s of %d" % (spread(rejected, "%d"), step), "%d" % allowed]) + " |")
            if place == 2:
                words = (NAMES[protocol], spread(rejected, "%d"), step, allowed)
                lines.append((statistics.median(rejected) <= allowed, "%s: distances are exponential: %s of %d samples rejected, at most %d" % words))
    print()
    passed = [verdict(*line) for line in lines]
    everything = [(NAMES[protocol], turn[2] or turn[1]) for protocol, turns in runs.items() for turn in turns]
    if len(everything) > 1:
        off = [apart(everything[0][1], arrivals) for _, arrivals in everything[1:]]
        good = max(off) <= SAME_LIMIT_US
        passed.append(verdict(good, "the same seed, the same arrivals: in %d further runs over %s the same request arrives within %s us of the first run, median, at most %d us" % (len(off), " and ".join(dict(everything)), spread(off, "%.1f"), SAME_LIMIT_US)))
    print()
    return passed


def apart(some, others):
    """Median distance of the arrivals of the same requests in two runs, once both begin at the same instant."""
    shift = statistics.median(other - one for one, other in zip(some, others))
    return statistics.median(abs(other - one - shift) for one, other in zip(some, others))


# --- files ---


def files(directory, options):
    generator = random.Random(options.seed)
    distances = [generator.gammavariate(FILE_SHAPE, 1 / FILE_SHAPE) / FILE_RATE for _ in range(FILE_RATE * options.file_seconds)]
    with open(os.path.join(directory, "arrivals.csv"), "w") as file:
        file.write("interval_s\n" + "".join("%.9f\n" % distance for distance in distances))
    # the first is from the block's start
    asked = [1e6 * distance for distance in distances[1:]]
    runs = {(what, protocol): [] for what in ("file", "replay") for protocol in options.protocols}
    for number in range(options.rounds):
        for protocol in generator.sample(options.protocols, len(options.protocols)):
            stamps = arrived("file", protocol, len(distances), directory, options)
            if stamps is None:
                return [verdict(False, "arrivals from files: there are no stamps of packets")]
            runs["file", protocol].append(off_by(asked, stamps))
            write_requests(os.path.join(directory, "requests.csv"), stamps)
            again = arrived("replay", protocol, len(distances), directory, options)
            if again is None:
                return [verdict(False, "a replay: there are no stamps of packets")]
            runs["replay", protocol].append(off_by([after - before for before, after in zip(stamps, stamps[1:])], again))
            words = (number + 1, options.rounds, NAMES[protocol], runs["file", protocol][-1][99], runs["replay", protocol][-1][99])
            print("round %d/%d  %s  p99 of a distance: %.1f us off the file, replayed %.1f us off" % words, file=sys.stderr)
    return report_files(runs, options)


def arrived(name, protocol, count, directory, options):
    """When the measured requests of a run reached the server's port, in order and in microseconds; `None` without stamps of packets.

    A packet that the system sent twice hides which request was when: such a run is repeated.
    """
    for _ in range(ATTEMPTS):
        with embedded(options.runner, os.path.join(directory, "models"), "--load-model", "null") as hosts:
            with Packets(int(hosts[protocol].rsplit(":", 1)[1])) as packets:
                _, manifest = run(name, protocol, hosts, None, directory, options)
        prepared = manifest["counts"]["prepared"]
        if packets.stamps is None:
            return None
        if len(packets.stamps) == prepared + count:
            return sorted(packets.stamps)[prepared:]
        print("%s: %d packets for %d requests, once more" % (protocol, len(packets.stamps), prepared + count), file=sys.stderr)
    sys.exit("%s: there were other packets than requests in %d runs" % (protocol, ATTEMPTS))


def write_requests(path, stamps):
    """What arrived, as the requests of a run of two processes that wrote theirs one after the other."""
    with open(path, "w") as file:
        file.write("case,block,process,request,due_us,start_us\n")
        for process in range(2):
            for request, stamp in enumerate(stamps[process::2]):
                file.write("%s,0,%d,%d,,%.3f\n" % (REPLAYED, process, request, stamp - stamps[0]))


def off_by(asked, stamps):
    """Percentiles of how far distances are off those asked for, in microseconds."""
    off = sorted(abs(after - before - distance) for before, after, distance in zip(stamps, stamps[1:], asked))
    return {percentile: off[math.ceil(len(off) * percentile / 100) - 1] for percentile in (50, 99, 99.9, 100)}


def report_files(runs, options):
    print(
        "Arrivals from a file, %d requests over %d s at gamma distributed distances (shape %g), and their replay by two processes: how far "
        "distances are off, by the stamps of packets, %d runs, median (smallest to largest)\n" % (FILE_RATE * options.file_seconds, options.file_seconds, FILE_SHAPE, options.rounds)
    )
    print("| Load | Protocol | p50 (us) | p99 (us) | p99.9 (us) | max (us) |")
    print("|---|---|" + "---|" * 4)
    for (what, protocol), turns in runs.items():
        cells = [what, NAMES[protocol]] + [spread([turn[percentile] for turn in turns], "%.1f") for percentile in (50, 99, 99.9, 100)]
        print("| " + " | ".join(cells) + " |")
    print()
    passed = []
    for (what, protocol), turns in runs.items():
        off = [turn[99] for turn in turns]
        good = statistics.median(off) <= DISTANCE_LIMIT_US
        passed.append(verdict(good, "%s, %s: 99 %% of distances are within %s us of those asked for, at most %d us" % (NAMES[protocol], what, spread(off, "%.1f"), DISTANCE_LIMIT_US)))
    print()
    return passed


# --- the stall ---


def stall(directory, options):
    computed = {arrival: response_percentiles(arrival) for arrival in ("constant", "poisson")}
    print(
        "A server that needs %g ms a request, one after the other, and stands still for %g s in every %g; %d requests a second for %d s\n"
        % (1000 * SERVICE_S, STALL_S, PERIOD_S, STALL_RATE, options.stall_seconds)
    )
    print("| Client | Protocol | p90 (ms) | p95 (ms) | p99 (ms) | p99 / computed |")
    print("|---|---|---|---|---|---|")
    line("computed from the definition, constant arrivals", "", computed["constant"], computed["constant"])
    line("computed from the definition, Poisson arrivals", "", computed["poisson"], computed["poisson"])
    verdicts = []
    for protocol in options.protocols:
        with embedded(options.runner, os.path.join(directory, "models"), "--load-model", "stall") as hosts:
            begin = first_request(hosts)
            for client, arrival, values in measured(protocol, hosts, begin, directory, options):
                line(client, NAMES[protocol], values, computed[arrival])
                if client == OURS:
                    off = values[99] / computed[arrival][99] - 1
                    words = (NAMES[protocol], values[99], computed[arrival][99], 100 * off, 100 * STALL_LIMIT)
                    verdicts.append((abs(off) <= STALL_LIMIT, "%s: reported p99 %.1f ms, computed %.1f ms: %+.2f %%, at most %g %%" % words))
    print()
    return [verdict(*words) for words in verdicts]


OURS = "runner, open loop, response time"


def line(client, protocol, values, computed):
    cells = [client, protocol] + ["-" if values[percentile] is None else "%.2f" % values[percentile] for percentile in PERCENTILES]
    cells.append("-" if values[99] is None else "%.3f" % (values[99] / computed[99]))
    print("| " + " | ".join(cells) + " |", flush=True)


def first_request(hosts):
    """The model's stalls count from its first request, which is sent here: when that was."""
    body, headers = binary_body([("in", [1, 256], bytes(1024))], ["out"])
    begin = time.monotonic()
    post(hosts["http"], "stall", body, headers)
    return begin


def await_phase(begin):
    """Waits until two seconds after a stall: each client meets as many whole stalls as its time has periods."""
    passed = time.monotonic() - begin
    due = PERIOD_S + STALL_S + 2
    while due < passed:
        due += PERIOD_S
    time.sleep(due - passed)


def measured(protocol, hosts, begin, directory, options):
    """Of each client in turn: its name, how its requests arrived, and percentiles in milliseconds."""
    await_phase(begin)
    row, _ = run("open", protocol, hosts, options.stall_seconds, directory, options)
    yield OURS, "constant", {percentile: float(row["p%d_ms" % percentile]) for percentile in PERCENTILES}
    # service times have no column of their 90th percentile
    yield "runner, open loop, service time", "constant", {90: None, 95: float(row["service_p95_ms"]), 99: float(row["service_p99_ms"])}
    await_phase(begin)
    row, _ = run("closed", protocol, hosts, options.stall_seconds, directory, options)
    yield "runner, closed loop, one in flight", "constant", {percentile: float(row["p%d_ms" % percentile]) for percentile in PERCENTILES}
    if not options.no_peers:
        for arrival, flags in [("constant", []), ("poisson", []), ("constant", ["--async"])]:
            await_phase(begin)
            name = "perf_analyzer, %s" % ", ".join([arrival] + flags)
            yield name, arrival, perf_analyzer(protocol, hosts, arrival, flags, options)


def perf_analyzer(protocol, hosts, arrival, flags, options):
    """Percentiles in milliseconds; `None` where it tells none."""
    peers = os.path.join(ROOT, ".venv-peers")
    command = [
        os.path.join(peers, "bin", "perf_analyzer"), "-m", "stall", "-i", protocol, "-u", hosts[protocol], "-b", "1",
        "--input-data", "zero", "--request-rate-range", str(STALL_RATE), "--request-distribution", arrival,
        "--request-count", str(STALL_RATE * options.stall_seconds), *flags,
    ]  # fmt: skip
    environment = dict(os.environ, LD_LIBRARY_PATH=os.path.join(peers, "perf_analyzer-libraries"))
    ended = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    found = dict(re.findall(r"p(\d+) latency: (\d+) usec", ended.stdout))
    if ended.returncode != 0 or not found:
        print("%s failed with code %d:\n%s" % (" ".join(command), ended.returncode, ended.stdout[-2000:]), file=sys.stderr)
    for words in re.findall(r"^.*(?:WARNING|delayed|Failed|unstable).*$", ended.stdout, re.MULTILINE | re.IGNORECASE):
        print("perf_analyzer, %s, %s: %s" % (arrival, NAMES[protocol], words.strip()), file=sys.stderr)
    return {percentile: int(found[str(percentile)]) / 1000 if str(percentile) in found else None for percentile in PERCENTILES}


def response_percentiles(arrival):
    """Of requests that come to the server as the model defines it, in milliseconds from when they are due.

    Requests are served one after the other. Constant arrivals are taken at a hundred phases to the stall, Poisson ones over
    as many periods.
    """
    generator = random.Random(1)
    distance, count = 1 / STALL_RATE, round(PERIOD_S * STALL_RATE)
    responses = []
    for phase in range(100):
        if arrival == "constant":
            due = [(index + phase / 100) * distance for index in range(count)]
        else:
            due = sorted(generator.random() * PERIOD_S for _ in range(count))
        free = 0.0
        for instant in due:
            # the stall is from half of the period on
            free = served(max(instant, free), PERIOD_S / 2)
            responses.append(1000 * (free - instant))
    responses.sort()
    return {percentile: responses[math.ceil(len(responses) * percentile / 100) - 1] for percentile in PERCENTILES}


def served(begin, stall):
    """When a request ends whose work begins then, if everything stands still from `stall` on."""
    if begin + SERVICE_S <= stall or begin >= stall + STALL_S:
        return begin + SERVICE_S
    done = max(stall - begin, 0)
    return stall + STALL_S + SERVICE_S - done


if __name__ == "__main__":
    main()
