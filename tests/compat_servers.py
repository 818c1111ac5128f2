"""Other servers of the protocol, alone and behind nginx: one checked request a case and a short run, over both protocols.

Run it as scripts/compat --servers, which installs the servers. All listen on loopback, on ports that the system picks.
"""

import csv
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = ROOT / "tests" / "other_servers"
RUNNER = os.environ.get("RUNNER", str(ROOT / "target" / "release" / "runner"))
PATIENCE = 120  # seconds for a server to start

SCENARIO = """title = "Doubled"
[model]
name = "%s"
[[input]]
name = "x"
datatype = "FP32"
shape = [4]
data = { random = { seed = 1 } }
[[output]]
name = "y"
[matrix]
batch_sizes = [1, 3]
[load]
iterations = 300
blocks = 3
warmup = 5
"""

# more requests on a connection than the 1000 after which nginx ends it; over gRPC also with two in flight on it
SHARED_AXES = """concurrency = [2]
connections = [1, 2]
exclude = [{ protocols = ["http"], connections = [1] }]"""
SHARED = SCENARIO.replace("batch_sizes = [1, 3]", SHARED_AXES).replace("iterations = 300\nblocks = 3", "iterations = 2500\nblocks = 1")

NGINX = """daemon off; worker_processes 1; pid nginx.pid; error_log error.log;
events { worker_connections 256; }
http {
    access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    upstream http_server { server 127.0.0.1:%(http)d; keepalive 16; }
    upstream grpc_server { server 127.0.0.1:%(grpc)d; keepalive 16; }
    server {
        listen 127.0.0.1:%(front_http)d;
        location / { proxy_pass http://http_server; proxy_http_version 1.1; proxy_set_header Connection ""; }
    }
    server {
        listen 127.0.0.1:%(front_grpc)d http2;
        location / { grpc_pass grpc://grpc_server; }
    }
}
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Process:
    """A server, from when it listens until the end of the block."""

    def __init__(self, command, folder, ports, environment=None):
        self.command, self.folder, self.ports = list(map(str, command)), folder, ports
        self.environment = {**os.environ, **(environment or {})}

    def __enter__(self):
        self.log = open(self.folder / "log.txt", "wb")
        self.process = subprocess.Popen(
            self.command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )
        deadline = time.monotonic() + PATIENCE
        while not all(map(listens, self.ports)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                sys.exit("%s did not start:\n%s" % (self.command[0], (self.folder / "log.txt").read_text()[-3000:]))
            time.sleep(0.1)
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


def listens(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def mlserver(folder):
    http, grpc, metrics = free_ports(3)
    settings = {"host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics, "parallel_workers": 0}
    (folder / "settings.json").write_text(json.dumps(settings))
    shutil.copy(SOURCES / "mlserver_models.py", folder)
    declared = {"name": "", "datatype": "FP32", "shape": [-1, 4]}
    tensors = {"inputs": [{**declared, "name": "x"}], "outputs": [{**declared, "name": "y"}]}
    for name, more in [("undeclared", {}), ("declared", tensors)]:
        (folder / name).mkdir()
        model = {"name": name, "implementation": "mlserver_models.Doubled", **more}
        (folder / name / "model-settings.json").write_text(json.dumps(model))
    command = [ROOT / ".venv-mlserver" / "bin" / "mlserver", "start", "."]
    return Process(command, folder, (http, grpc), {"PYTHONPATH": str(folder)}), ["undeclared", "declared"]


def kserve(folder):
    http, grpc = free_ports(2)
    command = [ROOT / ".venv-kserve" / "bin" / "python", SOURCES / "kserve_server.py", http, grpc]
    return Process(command, folder, (http, grpc)), ["undeclared", "declared", "binary"]


def nginx(folder, ports):
    front = free_ports(2)
    settings = dict(zip(["http", "grpc", "front_http", "front_grpc"], (*ports, *front)))
    (folder / "nginx.conf").write_text(NGINX % settings)
    return Process([shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"), "-p", folder, "-c", folder / "nginx.conf"], folder, front)


def runner(folder, scenario, ports, *options):
    """The exit code, what was said, and the rows."""
    (folder / "case.toml").write_text(scenario)
    addresses = ["--http", "127.0.0.1:%d" % ports[0], "--grpc", "127.0.0.1:%d" % ports[1]]
    done = subprocess.run(
        [RUNNER, "case.toml", *addresses, *options], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    rows = []
    for path in sorted(folder.glob("results/case/*/records.csv")):
        rows = list(csv.DictReader(open(path, newline="")))
    return done.returncode, done.stdout, rows


def row_words(row):
    latency = "%7.2f ms" % float(row["mean_ms"]) if row["mean_ms"] else "no answer"
    load = "%s, %s in flight over %s" % (row["batch_size"], row["concurrency"], row["connections"])
    return "batch %-26s %5s requests, %s errors, mean %s %s" % (load, row["requests"], row["errors"], latency, row.get("tensors", ""))


def measure(server, place, model, ports):
    """Whether all is well with one model at one place."""
    well = True
    for what, scenario, options in [
        ("verify", SCENARIO, ["--verify"]),
        ("run", SCENARIO, []),
        ("shared", SHARED, []),
    ]:
        with tempfile.TemporaryDirectory() as folder:
            code, said, rows = runner(pathlib.Path(folder), scenario % model, ports, *options)
        good = code == 0 and all(row["status"] == "ok" for row in rows) and (bool(rows) or what == "verify")
        well &= good
        print("%-5s %s %s, %s: %s" % ("ok" if good else "WRONG", server, place, model, what), flush=True)
        for row in rows:
            print("        %s %s" % (row["protocol"], row_words(row)))
        notices = [line for line in said.splitlines() if "does not tell" in line or "no binary" in line or "no statistics" in line]
        for line in notices if good else said.splitlines():
            print("        %s" % line)
    return well


def main():
    well = True
    for name, start in [("mlserver", mlserver), ("kserve", kserve)]:
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as front_folder:
            process, models = start(pathlib.Path(folder))
            with process:
                for model in models:
                    well &= measure(name, "alone", model, process.ports)
                with nginx(pathlib.Path(front_folder), process.ports) as front:
                    for model in models:
                        well &= measure(name, "behind nginx", model, front.ports)
    print("all is well" if well else "not all is well")
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
