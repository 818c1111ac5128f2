"""perf_analyzer's sweep over concurrency, as anybody would run it."""

import os
import re
import subprocess
import sys

MODEL = "null"
CONCURRENCY = [1, 2, 3]


def sweep(protocol, address):
    """Exit code, output, and throughput and mean latency by concurrency."""
    peers = os.path.dirname(os.path.dirname(sys.executable))
    command = [
        os.path.join(peers, "bin", "perf_analyzer"), "-m", MODEL, "-i", protocol, "-u", address, "-b", "1",
        "--shape", "input.1:3,224,224", "--input-data", "zero",
        "--concurrency-range", "%d:%d" % (CONCURRENCY[0], CONCURRENCY[-1]),
        # what is asked is whether it runs, not how fast the servers are: short windows, and no wait for steady ones
        "--measurement-interval", "500", "--stability-percentage", "999",
    ]  # fmt: skip
    environment = {**os.environ, "LD_LIBRARY_PATH": os.path.join(peers, "perf_analyzer-libraries")}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180)
    rows = re.findall(r"^Concurrency: (\d+), throughput: ([\d.]+) infer/sec, latency (\d+) usec", done.stdout, re.MULTILINE)
    rows = {int(concurrency): (float(throughput), int(latency)) for concurrency, throughput, latency in rows}
    server = re.findall(r"Inference count: (\d+)", done.stdout)
    return {"code": done.returncode, "output": done.stdout, "rows": rows, "server": [int(count) for count in server]}


def worked(result):
    """It ended well, with a throughput at each concurrency, and could read the server's own statistics."""
    complete = list(result["rows"]) == CONCURRENCY and all(throughput > 0 for throughput, _ in result["rows"].values())
    return result["code"] == 0 and complete and len(result["server"]) >= len(CONCURRENCY) and all(result["server"])


def show(triton, embedded):
    for name, result in [("triton", triton), ("embedded", embedded)]:
        if not worked(result):
            print("          %s: exit code %d; the end of its output:" % (name, result["code"]))
            print("\n".join("            " + line for line in result["output"].splitlines()[-25:]))
    print("          concurrency     triton: infer/s   mean us   embedded: infer/s   mean us")
    for concurrency in CONCURRENCY:
        row = triton["rows"].get(concurrency, (0, 0)) + embedded["rows"].get(concurrency, (0, 0))
        print("          %11d  %18.1f  %8d  %18.1f  %8d" % (concurrency, *row))
