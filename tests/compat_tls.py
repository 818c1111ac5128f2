"""TLS as other servers speak it: the embedded server behind nginx, and with --triton a real Triton's own gRPC TLS.

Run it as scripts/compat --tls. Good runs have to end well. Of every fault there is, the words that the program says are printed,
and have to name the cause and a remedy. Then a run with tokens in its headers: nginx has to get them, and nobody else: they may
be in no file of the run, in no output, in no command line or title of a process, and the system may write no core dump.
"""

import argparse
import base64
import contextlib
import json
import os
import pathlib
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
import time

from compat_servers import RUNNER
from tls_front import Authority, nginx

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODELS = ROOT / "tests" / "model_repository"
HOST = "DNS:localhost,IP:127.0.0.1"
PATIENCE = 60  # seconds for workers to begin
NAMES = {"http": "HTTP", "grpc": "gRPC"}
SCHEMES = {"http": "https://", "grpc": "grpcs://"}

SCENARIO = """title = "TLS"
[server]
%s
[model]
name = "null"
[[input]]
name = "input.1"
datatype = "FP32"
shape = [3, 56, 56]
data = "zeros"
[[output]]
name = "nothing"
[matrix]
protocols = %s
processes = [%d]
[load]
%s
blocks = 1
warmup = 2
"""

# what there is to go wrong: the front, how the scenario is wrong, and the words that have to be said of it
FAULTS = {
    "authority not trusted": ("tls", {"tls_ca": "other/ca.pem"}, ["signed", "tls_ca"]),
    "other name": ("other", {}, ["other.example", "tls_name"]),
    "expired": ("expired", {}, ["expired", "clock"]),
    "that of the authority itself": ("authority", {}, ["authority", "tls_insecure"]),
    "not yet valid": ("early", {}, ["not valid yet", "clock"]),
    "no client certificate": ("mtls", {}, ["certificate", "tls_certificate"]),
    "client certificate of another authority": ("mtls", {"identity": "other/client"}, ["certificate", "tls_certificate"]),
    "client certificate expired": ("mtls", {"identity": "own/late-client"}, ["certificate", "tls_certificate"]),
    "plain to a port of TLS": ("tls", {"plain": True}, ["TLS", "://"]),
    "TLS to a plain port": ("plain", {}, ["port of TLS", "://"]),
}


class Certificates:
    """All that the fronts and their clients need, in a folder."""

    def __init__(self, folder):
        self.folder = folder
        own, other = Authority(folder / "own"), Authority(folder / "other")
        good = own.sign("server", HOST)
        self.client = own.sign("client", "DNS:client")
        own.sign("late-client", "DNS:client", -9, -2)
        other.sign("client", "DNS:client")
        self.ca = own.ca
        self.fronts = {
            "plain": (None, None),
            "tls": (good, None),
            "mtls": (good, own.ca),
            "other": (own.sign("other", "DNS:other.example"), None),
            "expired": (own.sign("expired", HOST, -9, -2), None),
            "early": (own.sign("early", HOST, 2, 9), None),
            "authority": ((own.ca, own.folder / "ca.key"), None),
        }

    def server(self, ports, wrong):
        """The lines of a scenario's [server]: addresses by protocol, and whom to trust."""
        addresses = ['%s = "%slocalhost:%s"' % (name, "" if "plain" in wrong else SCHEMES[name], port) for name, port in ports.items()]
        if "plain" in wrong:
            return "\n".join(addresses)
        keys = ['tls_ca = "%s"' % (self.folder / wrong.get("tls_ca", "own/ca.pem"))]
        if "identity" in wrong:
            keys += ['%s = "%s.%s"' % (key, self.folder / wrong["identity"], end) for key, end in (("tls_certificate", "pem"), ("tls_key", "key"))]
        return "\n".join(addresses + keys)


@contextlib.contextmanager
def embedded():
    """The embedded server's addresses; it ends when its input does."""
    options = ["--model-repository", MODELS, "--model-config-name", "loopback", "--load-model", "null"]
    command = [RUNNER, "serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--until-input-ends", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        yield json.loads(server.stdout.readline())
        server.stdin.close()


@contextlib.contextmanager
def triton(folder, certificate, clients):
    """The port of a real Triton's gRPC with its own TLS. Its HTTP has none."""
    with tempfile.TemporaryDirectory(dir=ROOT / ".triton", prefix="tls-") as state, tempfile.TemporaryDirectory() as models:
        pathlib.Path(models, "null").symlink_to(MODELS / "null")
        options = ["--grpc-use-ssl=true", "--grpc-server-cert=%s" % certificate[0], "--grpc-server-key=%s" % certificate[1]]
        if clients:
            options += ["--grpc-use-ssl-mutual=true", "--grpc-root-cert=%s" % clients]
        command = [ROOT / "scripts" / "triton", "start", "--state", state, "--ports", "auto", "--model-repository", models, "--", *options]
        try:
            started = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if started.returncode != 0:
                sys.exit(started.stdout)
            yield dict(line.split("=", 1) for line in pathlib.Path(state, "endpoints").read_text().split())["GRPC"].split(":")[1]
        finally:
            subprocess.run([ROOT / "scripts" / "triton", "stop", "--state", state], stderr=subprocess.DEVNULL)


def run(server, protocols, processes=1, load="iterations = 40", options=(), environment=None):
    """The exit code of a run, and all that was said."""
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "tls.toml").write_text(SCENARIO % (server, json.dumps(protocols), processes, load))
        command = [RUNNER, "tls.toml", *options]
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **(environment or {})}
        )
    return done.returncode, done.stdout


class Checks:
    """What was found: a line each, and a table of words."""

    def __init__(self):
        self.well, self.table = True, []

    def check(self, good, what, said=""):
        self.well &= bool(good)
        print("%-5s %s" % ("ok" if good else "WRONG", what), flush=True)
        for line in [] if good else said.splitlines():
            print("        %s" % line)

    def good(self, name, server, protocols):
        code, said = run(server, protocols)
        self.check(code == 0, "%s: a run over %s" % (name, " and ".join(NAMES[protocol] for protocol in protocols)), said)

    def fault(self, place, certificates, fault, ports):
        """One run a protocol; `ports` is of the fault's front."""
        front, wrong, needed = FAULTS[fault]
        words = {}
        for protocol, port in ports.items():
            code, said = run(certificates.server({protocol: port}, wrong), [protocol], options=["--quiet"])
            words[protocol] = words_of(said)
            missing = [word for word in needed if word not in said]
            good = code == 1 and not missing and "panicked" not in said
            self.check(good, "%s: %s over %s" % (place, fault, NAMES[protocol]), "code %d, not said: %s\n%s" % (code, missing, said))
        self.table.append([place, fault] + [words.get(protocol, "") for protocol in NAMES])

    def print_table(self):
        print("\n| server | fault | HTTP | gRPC |\n|---|---|---|---|")
        for row in self.table:
            print("| %s |" % " | ".join(row))


def words_of(said):
    """The first error, without what differs from run to run."""
    lines = [line.strip() for line in said.splitlines() if "cannot be used" in line or line.startswith("error")]
    return (lines or said.strip().splitlines() or ["nothing"])[0].partition("cannot be used")[2].lstrip(" ;:") or said.strip()


def by_protocol(ports):
    return dict(zip(NAMES, ports))


def through_nginx(checks, certificates, ports):
    both = list(NAMES)
    checks.good("nginx", certificates.server(by_protocol(ports["tls"]), {}), both)
    checks.good("nginx, client's certificate", certificates.server(by_protocol(ports["mtls"]), {"identity": "own/client"}), both)
    insecure = certificates.server(by_protocol(ports["expired"]), {}).partition("\ntls_ca")[0] + "\ntls_insecure = true"
    checks.good("nginx, expired, tls_insecure", insecure, both)
    for fault, (front, _, _) in FAULTS.items():
        checks.fault("nginx", certificates, fault, by_protocol(ports[front]))


def with_triton(checks, certificates, folder):
    (ROOT / ".triton").mkdir(exist_ok=True)
    for front, (certificate, clients) in certificates.fronts.items():
        if certificate is None:
            continue
        with triton(folder, certificate, clients) as port:
            ports = {"grpc": port}
            if front == "tls":
                checks.good("Triton", certificates.server(ports, {}), ["grpc"])
            if front == "mtls":
                checks.good("Triton, client's certificate", certificates.server(ports, {"identity": "own/client"}), ["grpc"])
            for fault, (at, _, _) in FAULTS.items():
                if at == front:
                    checks.fault("Triton", certificates, fault, ports)


# --- tokens ---


def traces(token):
    """What would give a token away: itself, and what base64 makes of it wherever it begins in a longer text."""
    found = {token.encode()}
    for before in range(3):
        encoded = base64.b64encode(b"x" * before + token.encode()).rstrip(b"=")
        found.add(encoded[(before * 8 + 5) // 6 : -1])
    return found


def leaks(tokens, texts):
    """Which of the texts, by name, have a trace of a token."""
    return [name for name, text in texts.items() if any(trace in text for token in tokens for trace in traces(token))]


def family(pid):
    """A process and its descendants."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in pathlib.Path("/proc/%d/task" % pid).iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    return found


def workers(pid):
    return [one for one in family(pid)[1:] if b"worker" in pathlib.Path("/proc/%d/cmdline" % one).read_bytes()]


def started(folder, environment, *options):
    """A run whose two workers are there. It may write core dumps of any size, as far as its starter may."""

    def unlimited():
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

    said = open(folder / "said.txt", "ab")
    process = subprocess.Popen([RUNNER, *options], cwd=folder, stdout=said, stderr=said, env=environment, preexec_fn=unlimited)
    said.close()
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and len(workers(process.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


def with_tokens(checks, certificates, ports, log):
    tokens = {name: secrets.token_hex(24) for name in ("variable", "file")}
    environment = {**os.environ, "TLS_CHECK_TOKEN": tokens["variable"], "RUST_BACKTRACE": "full"}
    headers = 'headers = { authorization = { env = "TLS_CHECK_TOKEN", prefix = "Bearer " }, x-key = { file = "%s" } }\n'
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as apart:
        folder, key = pathlib.Path(folder), pathlib.Path(apart, "key")
        key.write_text(tokens["file"] + "\n")
        good = certificates.server(by_protocol(ports["tls"]), {}) + "\n" + headers % key
        (folder / "tls.toml").write_text(SCENARIO % (good, json.dumps(list(NAMES)), 2, "duration_s = 1"))

        process = started(folder, environment, "tls.toml")
        seen, limits = {}, []
        while process.poll() is None:
            for one in family(process.pid):
                for name in ("cmdline", "comm"):
                    with contextlib.suppress(OSError):
                        text = pathlib.Path("/proc/%d/%s" % (one, name)).read_bytes()
                        seen["%s of %d: %s" % (name, one, text)] = text
                with contextlib.suppress(OSError):
                    text = pathlib.Path("/proc/%d/limits" % one).read_text()
                    limits += [line.split()[4:6] for line in text.splitlines() if line.startswith("Max core file size")]
            time.sleep(0.05)
        checks.check(process.returncode == 0, "tokens: a run", (folder / "said.txt").read_text())
        for uri in ("/v2/models/null/infer", "/inference.GRPCInferenceService/ModelInfer"):
            sent = "%s|Bearer %s|%s\n" % (uri, tokens["variable"], tokens["file"])
            checks.check(log.read_text().count(sent) > 100, "tokens: nginx got them at %s" % uri)
        checks.check(sum(name.startswith("cmdline") for name in seen) > 2, "tokens: processes were looked at")
        found = leaks(tokens.values(), seen)
        checks.check(not found, "tokens: in no command line and no title", "\n".join(found))
        # a process that has begun but not reached its first line still has its parent's, which are none either
        checks.check(limits and limits[-1] == ["0", "0"], "tokens: no core dumps", str(limits[-5:]))

        # one that is stopped, and goes on
        process = started(folder, environment, "tls.toml", "--duration", "5")
        time.sleep(1)
        process.send_signal(signal.SIGTERM)  # which no shell in the background has ignored
        process.wait()
        (newest, *_) = sorted(folder.glob("results/tls/*"), reverse=True)
        process = started(folder, environment, "--resume", newest.relative_to(folder))
        checks.check(process.wait() == 0, "tokens: a run that was stopped goes on", (folder / "said.txt").read_text()[-3000:])

        # errors: of the connection, of the answer, of the token itself; crashes
        for wrong, lines in {
            "no client's certificate": certificates.server(by_protocol(ports["mtls"]), {}) + "\n" + headers % key,
            "no such model": good + '[model]\nname = "none"',
        }.items():
            text = SCENARIO % (lines, json.dumps(list(NAMES)), 1, "iterations = 10")
            (folder / "wrong.toml").write_text(text.replace('[model]\nname = "null"\n', "") if "none" in text else text)
            process = started(folder, environment, "wrong.toml")
            checks.check(process.wait() == 1, "tokens: an error: %s" % wrong)
        broken = {**environment, "TLS_CHECK_TOKEN": tokens["variable"] + "\n\x7f" + tokens["variable"]}
        checks.check(started(folder, broken, "tls.toml").wait() == 1, "tokens: an error: one that no header may have")
        process = started(folder, environment, "tls.toml", "--duration", "2")
        os.kill(workers(process.pid)[0], signal.SIGABRT)
        checks.check(process.wait() == 1, "tokens: a worker that crashes")
        process = started(folder, environment, "tls.toml", "--duration", "20")
        os.kill(process.pid, signal.SIGABRT)
        checks.check(process.wait() == -signal.SIGABRT, "tokens: the program crashes")

        html = [RUNNER, "report", "--html", "report.html", newest.relative_to(folder)]
        subprocess.run(html, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for options in ([], ["--json"]):
            with open(folder / "said.txt", "ab") as said:
                subprocess.run([RUNNER, "report", *options], cwd=folder, check=True, stdout=said, stderr=said)
        texts = {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        checks.check(len(texts) > 10 and "report.html" in "".join(texts), "tokens: files were looked at: %d" % len(texts))
        found = leaks(tokens.values(), texts)
        checks.check(not found, "tokens: in no file and no output", "\n".join(found))
        # only where the system writes them into the folder of the process would they be here
        checks.check(not [name for name in texts if "core" in os.path.basename(name)], "tokens: no core dump was written")
        # the search finds what it looks for
        planted = {"a": b"x" + tokens["file"].encode(), "b": base64.b64encode(b"Bearer " + tokens["variable"].encode())}
        checks.check(leaks(tokens.values(), planted) == ["a", "b"], "tokens: one that is there is found")


def main():
    parser = argparse.ArgumentParser(prog="scripts/compat --tls", description=__doc__.split("\n\n")[0])
    parser.add_argument("--triton", action="store_true", help="also a real Triton's own TLS, which takes a minute more")
    options = parser.parse_args()
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder, embedded() as servers:
        folder = pathlib.Path(folder)
        certificates = Certificates(folder)
        front = folder / "nginx"
        front.mkdir()
        process, ports = nginx(front, servers, certificates.fronts, "access.log")
        with process:
            through_nginx(checks, certificates, ports)
            with_tokens(checks, certificates, ports, front / "access.log")
        if options.triton:
            with_triton(checks, certificates, folder)
    checks.print_table()
    print("\nall is well" if checks.well else "\nnot all is well")
    sys.exit(0 if checks.well else 1)


if __name__ == "__main__":
    main()
