"""What the benchmarks share: requests and clients, the server's own counts, and how numbers and verdicts are written."""

import argparse
import contextlib
import csv
import ctypes
import glob
import json
import os
import re
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import namedtuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

MODEL = "null"
INPUT, OUTPUT = "input.1", "nothing"
NAMES = {"http": "HTTP", "grpc": "gRPC"}
PATHS = {"http": "/v2/models/%s/infer" % MODEL, "grpc": "/inference.GRPCInferenceService/ModelInfer"}
SHAPES = {"0.001": [1, 3, 8, 11], "0.15": [1, 3, 112, 112], "4.9": [1, 3, 640, 640], "39.3": [8, 3, 640, 640]}  # by megabytes

# The body is read once; without a function `request`, wrk prepares the request once too and sends the same bytes again.
WRK_SCRIPT = """
local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.headers["Inference-Header-Content-Length"] = os.getenv("HEADER_LENGTH")
function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format("COUNTS %d %d %d\\n", summary.requests, summary.duration,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


# --- requests ---


def binary_body(inputs, outputs):
    """Body and headers of an HTTP request with raw tensors: `inputs` has name, shape and bytes of each FP32 tensor."""
    header = json.dumps({
        "inputs": [
            {"name": name, "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": len(data)}}
            for name, shape, data in inputs
        ],
        "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in outputs],
    }).encode()  # fmt: skip
    headers = {"Inference-Header-Content-Length": str(len(header)), "Content-Type": "application/octet-stream"}
    return header + b"".join(data for _, _, data in inputs), headers


def post(host, model, body, headers):
    """JSON and raw bytes of the answer to one request to infer; raises where it is not answered with success."""
    request = urllib.request.Request("http://%s/v2/models/%s/infer" % (host, model), data=body, headers=headers)
    with urllib.request.urlopen(request) as answer:
        body = answer.read()
        length = int(answer.headers["Inference-Header-Content-Length"])
    return json.loads(body[:length]), body[length:]


class Payload:
    """One request to the null model in both protocols, as the files that the clients post. Keeps no more of it than their names."""

    def __init__(self, size, directory):
        self.shape = SHAPES[size]
        data = bytes(4 * self.shape[0] * self.shape[1] * self.shape[2] * self.shape[3])
        body, headers = binary_body([(INPUT, self.shape, data)], [OUTPUT])
        message = grpc_message(self.shape, data)
        self.headers = headers
        self.files = {protocol: os.path.join(directory, "%s.%s" % (size, protocol)) for protocol in NAMES}
        self.script = os.path.join(directory, "post.lua")
        for path, content in [
            (self.files["http"], body),
            (self.files["grpc"], struct.pack(">BI", 0, len(message)) + message),  # not compressed, length, message
            (self.script, WRK_SCRIPT.encode()),
        ]:
            with open(path, "wb") as file:
                file.write(content)

    def check(self, host):
        """The very bytes that are posted later, by clients that look at the answer."""
        import grpc
        from tritonclient.grpc.service_pb2 import ModelInferResponse

        body, framed = contents(self.files["http"]), contents(self.files["grpc"])
        _, answer = post(host["http"], MODEL, body, self.headers)
        if answer != bytes(4 * self.shape[0]):
            sys.exit("%s answered something else than zeros" % host["http"])
        with grpc.insecure_channel(host["grpc"]) as channel:
            call = channel.unary_unary(PATHS["grpc"], request_serializer=None, response_deserializer=ModelInferResponse.FromString)
            answer = call(framed[5:], timeout=60)
        if list(answer.raw_output_contents) != [bytes(4 * self.shape[0])]:
            sys.exit("%s answered something else than zeros" % host["grpc"])


def grpc_message(shape, data):
    from tritonclient.grpc.service_pb2 import ModelInferRequest

    message = ModelInferRequest(model_name=MODEL)
    message.inputs.add(name=INPUT, datatype="FP32", shape=shape)
    message.outputs.add(name=OUTPUT)
    message.raw_input_contents.append(data)
    return message.SerializeToString()


def contents(path):
    with open(path, "rb") as file:
        return file.read()


# --- the server's counts ---


def model_stats(host, model):
    """The server's cumulative statistics of the model."""
    with urllib.request.urlopen("http://%s/v2/models/%s/stats" % (host, model)) as answer:
        return json.load(answer)["model_stats"][0]


def successes(host):
    """Requests that the server has answered for the null model since its start."""
    return model_stats(host["http"], MODEL)["inference_stats"]["success"]["count"]


def settled(host):
    """The server's count once it no longer rises."""
    count = successes(host)
    while True:
        time.sleep(0.2)
        again = successes(host)
        if again == count:
            return count
        count = again


def peak_memory(pid, key="VmHWM"):
    """The process's largest resident memory so far (VmHWM), or that of now (VmRSS), in bytes."""
    with open("/proc/%s/status" % pid) as status:
        for line in status:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    raise SystemExit("process %s tells no %s" % (pid, key))


# --- clients ---

TIMEOUT_S = 120

Ended = namedtuple("Ended", ["text", "cpu_s", "peak_mb"])
Rate = namedtuple("Rate", ["requests", "seconds", "cpu_s"])

# The command's memory is told apart from that of its starter, which the system would count as the command's: a shell stands
# between them. Signals are what they would be without it.
APART = 'output=$1; shift; env --default-signal=INT,QUIT "$@" </dev/null >"$output" 2>&1 & echo $!'


class Hung(Exception):
    """A client that did not end by itself and was killed."""


def run(command, **environment):
    """Runs a client to its end: what it printed, CPU seconds of it and its descendants, peak memory of the largest of them.

    Raises Hung if it has not ended after TIMEOUT_S: perf_analyzer now and then waits for ever, with no connection left.
    """
    adopt_orphans()
    with tempfile.NamedTemporaryFile("w+") as output:
        shell = ["sh", "-c", APART, "sh", output.name] + command
        pid = int(subprocess.run(shell, env=dict(os.environ, **environment), stdout=subprocess.PIPE, check=True).stdout)
        timer = threading.Timer(TIMEOUT_S, os.kill, [pid, signal.SIGKILL])
        timer.start()
        _, status, usage = os.wait4(pid, 0)  # the usage of the child and of all that it has waited for
        hung = not timer.is_alive()
        timer.cancel()
        if hung:
            raise Hung("%s did not end within %d s" % (command[0], TIMEOUT_S))
        usages = [usage] + orphans()
        output.seek(0)
        text = output.read()
    if status != 0:
        how = "signal %d" % os.WTERMSIG(status) if os.WIFSIGNALED(status) else "code %d" % os.WEXITSTATUS(status)
        sys.exit("%s failed with %s:\n%s" % (" ".join(command), how, text))
    return Ended(
        text,
        sum(usage.ru_utime + usage.ru_stime for usage in usages),
        max(usage.ru_maxrss for usage in usages) / 1024,
    )


def adopt_orphans():
    """Descendants that a client leaves behind become children of this process instead of init's."""
    PR_SET_CHILD_SUBREAPER = 36
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("cannot become a subreaper: %s" % os.strerror(ctypes.get_errno()))


def orphans():
    """The usage of the descendants that the client has not waited for: without it their CPU time would be missing."""
    usages = []
    while True:
        try:
            usages.append(os.wait4(-1, 0)[2])
        except ChildProcessError:
            return usages


def rate(protocol, host, payload, connections, streams, seconds):
    """The rate of wrk or h2load, by its own clock and count, if the server counted the same: h2load does not look at grpc-status."""
    before = successes(host)
    found = {"http": wrk, "grpc": h2load}[protocol](host[protocol], payload, connections, streams, seconds)
    # what was in flight when the client ended may be answered or not
    counted = settled(host) - before
    if not found.requests <= counted <= found.requests + connections * streams:
        sys.exit("%s: the client counted %d requests, the server %d" % (host[protocol], found.requests, counted))
    return found


def wrk(host, payload, connections, streams, seconds):
    assert streams == 1, "HTTP/1.1 has no streams"
    command = [
        "wrk", "-t", "1", "-c", str(connections), "-d", "%ds" % seconds, "--timeout", "30s", "-s", payload.script,
        "http://%s%s" % (host, PATHS["http"]),
    ]  # fmt: skip
    ended = run(command, BODY=payload.files["http"], HEADER_LENGTH=payload.headers["Inference-Header-Content-Length"])
    found = re.search(r"^COUNTS (\d+) (\d+) (\d+)$", ended.text, re.MULTILINE)
    if not found or int(found.group(3)) or not int(found.group(1)):
        sys.exit("wrk met errors:\n%s" % ended.text)
    return Rate(int(found.group(1)), int(found.group(2)) / 1e6, ended.cpu_s)


def h2load(host, payload, connections, streams, seconds):
    command = [
        "h2load", "-t", "1", "-c", str(connections), "-m", str(streams), "-D", str(seconds), "-d", payload.files["grpc"],
        "-H", "content-type: application/grpc", "-H", "te: trailers", "http://%s%s" % (host, PATHS["grpc"]),
    ]  # fmt: skip
    ended = run(command)
    done = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed", ended.text)
    good = re.search(r"status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx", ended.text)
    if not done or not good or not int(done.group(1)) or int(done.group(2)) != int(done.group(1)):
        sys.exit("h2load met errors:\n%s" % ended.text)
    return Rate(int(done.group(1)), float(seconds), ended.cpu_s)


# --- what comes out ---


def spread(values, form):
    """Median (smallest to largest) of those that are known."""
    values = [value for value in values if value is not None]
    if not values:
        return "-"
    if len(values) == 1:
        return form % values[0]
    return "%s (%s to %s)" % tuple(form % value for value in (statistics.median(values), min(values), max(values)))


def verdict(passed, words):
    """Prints a line that says whether a limit is kept, and gives that back."""
    print("%s: %s" % ("PASS" if passed else "FAIL", words))
    return passed


# --- the runner, and models that behave as they are told ---

LOOPBACK = """name: "%s"
backend: "loopback"
max_batch_size: 1
input [ { name: "in" data_type: TYPE_FP32 dims: [%d] } ]
output [ { name: "out" data_type: TYPE_FP32 dims: [%d] } ]
"""
PARAMETER = 'parameters { key: "%s" value: { string_value: "%s" } }\n'


def add_runner(parser):
    """The option --runner, the program that is measured."""

    def program(path):
        if not os.path.exists(path):
            raise argparse.ArgumentTypeError("there is no %s: cargo build --release makes it" % path)
        return path

    default = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release", "runner")
    parser.add_argument("--runner", type=program, default=default, help="[target/release/runner]")


def write_loopback(repository, name, inputs, outputs, parameters):
    """A loopback model that takes and gives so many numbers, with its parameters."""
    os.makedirs(os.path.join(repository, name, "1"))
    with open(os.path.join(repository, name, "config.pbtxt"), "w") as file:
        file.write(LOOPBACK % (name, inputs, outputs) + "".join(PARAMETER % parameter for parameter in parameters.items()))


def loopback_scenario(title, model, numbers, rest):
    """A scenario that asks such a model with so many numbers; `rest` is its tables from [matrix] on."""
    tensors = '[[input]]\nname = "in"\ndatatype = "FP32"\nshape = [%d]\n[[output]]\nname = "out"\n' % numbers
    return 'title = "%s"\n[model]\nname = "%s"\n' % (title, model) + tensors + rest


@contextlib.contextmanager
def embedded(runner, repository, *options):
    """The embedded server, as a process that serves meanwhile: host:port of `http` and of `grpc`."""
    command = [runner, "serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--until-input-ends", "--model-repository", repository]
    server = subprocess.Popen(command + list(options), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        line = server.stdout.readline()
        if not line:
            sys.exit("the embedded server did not start: %s" % " ".join(server.args))
        yield json.loads(line)
    finally:
        # it ends when its input does, and writes its log to the end before
        server.stdin.close()
        server.wait()
        server.stdout.close()


def run_scenario(runner, scenario, hosts, *options, watch=None, under=()):
    """Rows of records.csv and the contents of run.json of one run. `watch` is called with the process until that ends.

    `under` is a command that runs the runner.
    """
    with tempfile.TemporaryDirectory() as results:
        run = run_into(results, runner, scenario, hosts, *options, watch=watch, under=under)
        rows = rows_of(run)
        with open(os.path.join(run, "run.json")) as file:
            return rows, json.load(file)


def rows_of(run):
    """Rows of records.csv in a run's folder."""
    with open(os.path.join(run, "records.csv"), newline="") as file:
        return list(csv.DictReader(file))


def run_into(results, runner, scenario, hosts, *options, watch=None, under=()):
    """The folder of one run, the only one in `results`."""
    command = [*under, runner, scenario, "--http", hosts["http"], "--grpc", hosts["grpc"], "--results", results] + list(options)
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        if watch:
            watch(process)
        if process.wait() != 0:
            output.seek(0)
            sys.exit("%s failed with code %d:\n%s" % (" ".join(command), process.returncode, output.read()))
    (run,) = glob.glob(os.path.join(results, "*", "*"))
    return run
