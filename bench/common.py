"""What the benchmarks of the embedded server share: the server's own counts, and how numbers and verdicts are written."""

import contextlib
import csv
import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def model_stats(host, model):
    """The server's cumulative statistics of the model."""
    with urllib.request.urlopen("http://%s/v2/models/%s/stats" % (host, model)) as answer:
        return json.load(answer)["model_stats"][0]


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


def peak_memory(pid, key="VmHWM"):
    """The process's largest resident memory so far (VmHWM), or that of now (VmRSS), in bytes."""
    with open("/proc/%s/status" % pid) as status:
        for line in status:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    raise SystemExit("process %s tells no %s" % (pid, key))


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


def run_scenario(runner, scenario, hosts, *options, watch=None):
    """Rows of records.csv and the contents of run.json of one run. `watch` is called with the process until that ends."""
    with tempfile.TemporaryDirectory() as results:
        command = [runner, scenario, "--http", hosts["http"], "--grpc", hosts["grpc"], "--results", results] + list(options)
        with open(os.path.join(results, "output"), "w+") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
            if watch:
                watch(process)
            if process.wait() != 0:
                output.seek(0)
                sys.exit("%s failed with code %d:\n%s" % (" ".join(command), process.returncode, output.read()))
        (run,) = glob.glob(os.path.join(results, "*", "*"))
        with open(os.path.join(run, "records.csv"), newline="") as file:
            rows = list(csv.DictReader(file))
        with open(os.path.join(run, "run.json")) as file:
            return rows, json.load(file)
