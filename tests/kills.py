"""Kills runs of both scenarios with SIGKILL at random instants, looks at every file they left, resumes them, and checks that nothing
was lost: kills.py RUNNER KILLS [SEED]. The models are loopback models of the same shapes. Ends with a table; exit code 1 if anything
was wrong."""

import csv
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

CONFIG = """backend: "loopback"
max_batch_size: 8
input [ {{ name: "input.1" data_type: TYPE_FP32 dims: [ {input} ] }} ]
output [ {{ name: "{output}" data_type: TYPE_FP32 dims: [ {dims} ] }} ]
parameters {{ key: "service_time" value {{ string_value: "constant 1ms" }} }}
"""
MODELS = {"scrfd": ("3, 64, 64", "score_8", "800, 1"), "arcface": ("3, 112, 112", "683", "512")}
SCENARIO = """title = "{name}"
[model]
name = "{name}"
[[input]]
name = "input.1"
datatype = "FP32"
shape = [{input}]
[[output]]
name = "{output}"
[matrix]
batch_sizes = [1, 4, 8]
processes = [1, 3]
[load]
iterations = 50
warmup = 3
"""
CASES, BLOCKS, ITERATIONS = 12, 10, 50


def processes():
    """Parent and command line of every process."""
    found = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            found[int(folder.name)] = (parent, (folder / "cmdline").read_bytes())
        except (OSError, IndexError):
            continue
    return found


def children(pid):
    known = processes()
    tree, grown = {pid}, True
    while grown:
        more = {child for child, (parent, _) in known.items() if parent in tree}
        grown = not more <= tree
        tree |= more
    return {child: known[child][1] for child in tree - {pid}}


def still_there(started):
    now = processes()
    # a process with the same number and another command line is another one
    return [pid for pid, line in started.items() if pid in now and now[pid][1] == line and line]


class Wrong(Exception):
    pass


def check(condition, words):
    if not condition:
        raise Wrong(words)


def look_at(runner, run):
    """Every file of a killed run: whole lines that can be read, at most the last one torn."""
    for name in ("records.csv", "blocks.csv", "requests.csv"):
        path = run / name
        if not path.exists():
            continue
        lines = path.read_bytes().split(b"\n")[:-1]
        rows = list(csv.reader(line.decode() for line in lines))
        check(all(len(row) == len(rows[0]) for row in rows), f"{path}: a line within the file has another number of columns")
    for path in run.glob("*.jsonl"):
        for line in path.read_bytes().split(b"\n")[:-1]:
            json.loads(line)
    for path in run.glob("*.json"):
        json.loads(path.read_text())
    if (run / "records.csv").exists():
        told = subprocess.run([runner, "report", run], capture_output=True, text=True)
        rows = len((run / "records.csv").read_bytes().split(b"\n")) - 2
        check(told.returncode == 0 or rows < 1, f"runner report {run}: exit code {told.returncode}: {told.stderr}")


def check_whole(run, name):
    manifest = json.loads((run / "run.json").read_text())
    check(manifest["state"] == "complete", f"{run}: {manifest['state']}")
    counts = manifest["counts"]
    check(counts and counts["server"] == counts["measured"] + counts["prepared"], f"{run}: the server counted otherwise: {counts}")
    rows = list(csv.DictReader((run / "records.csv").open()))
    check(len(rows) == CASES, f"{run}: {len(rows)} cases")
    for row in rows:
        asked = ITERATIONS * int(row["processes"])
        check(row["status"] == "ok" and int(row["requests"]) == asked and row["errors"] == "0", f"{run}: {row}")
        check(row["blocks"] == str(BLOCKS), f"{run}: {row}")
    requests = [(row["case"], row["block"], row["process"], row["request"]) for row in csv.DictReader((run / "requests.csv").open())]
    asked = sum(int(row["requests"]) for row in rows)
    check(len(requests) == len(set(requests)) == asked, f"{run}: {len(requests)} requests, {len(set(requests))} different, of {asked}")
    blocks = [(row["case"], row["block"]) for row in csv.DictReader((run / "blocks.csv").open())]
    check(len(blocks) == len(set(blocks)) == CASES * BLOCKS, f"{run}: {len(blocks)} blocks, {len(set(blocks))} different")


def newest(results, name):
    runs = sorted((results / name).glob("*")) if (results / name).exists() else []
    return runs[-1] if runs else None


def main():
    runner, kills = os.path.abspath(sys.argv[1]), int(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(2**32)
    drawn = random.Random(seed)
    print(f"seed {seed}", flush=True)
    done = {name: {"kills": 0, "before a run's folder": 0, "runs": 0, "resumed": 0, "slowest end of children (s)": 0.0} for name in MODELS}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, (input_shape, output, dims) in MODELS.items():
            (folder / "models" / name).mkdir(parents=True)
            (folder / "models" / name / "config.pbtxt").write_text(CONFIG.format(input=input_shape, output=output, dims=dims))
            (folder / f"{name}.toml").write_text(SCENARIO.format(name=name, input=input_shape, output=output))
        results = folder / "results"
        length = {}
        while sum(tally["kills"] for tally in done.values()) < kills:
            name = min(MODELS, key=lambda name: done[name]["kills"])
            tally = done[name]
            fresh = [runner, folder / f"{name}.toml", "--server", "embedded", "--model-repository", folder / "models", "--results", results, "--quiet", "--requests"]
            command, before = fresh, newest(results, name)
            is_whole = False
            while not is_whole:
                begin = time.monotonic()
                child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                # the first run of each is not killed: it says how long one takes
                wait = drawn.uniform(0.0, 1.0) * length[name] if name in length and tally["kills"] < (kills + 1) // 2 else None
                try:
                    child.wait(timeout=wait)
                except subprocess.TimeoutExpired:
                    started = children(child.pid)
                    child.send_signal(signal.SIGKILL)
                    child.wait()
                    killed = time.monotonic()
                    while still_there(started):
                        check(time.monotonic() - killed < 30, f"processes are left: {still_there(started)}")
                        time.sleep(0.02)
                    tally["slowest end of children (s)"] = max(tally["slowest end of children (s)"], time.monotonic() - killed)
                    tally["kills"] += 1
                    run = newest(results, name)
                    if run is None or run == before:
                        tally["before a run's folder"] += 1
                        continue
                    look_at(runner, run)
                    if (run / "run.json").exists():
                        command = [runner, "--resume", run, "--quiet"]
                        tally["resumed"] += 1
                        continue
                    # killed before its first file: nothing was measured, and a fresh run begins
                    tally["before a run's folder"] += 1
                    before = run
                    continue
                said = child.stderr.read().decode()
                if name not in length:
                    length[name] = time.monotonic() - begin
                run = newest(results, name)
                # killed after its last file was whole
                is_complete = "is complete" in said or "nothing is missing" in said
                check(child.returncode == 0 or is_complete, f"{command}: exit code {child.returncode}: {said}")
                check_whole(run, name)
                is_whole = True
            tally["runs"] += 1
    keys = list(next(iter(done.values())))
    print("| scenario | " + " | ".join(keys) + " |")
    print("|---|" + "---:|" * len(keys))
    for name, tally in done.items():
        print(f"| {name} | " + " | ".join(f"{tally[key]:.2f}" if isinstance(tally[key], float) else str(tally[key]) for key in keys) + " |")
    print("every case complete, counts exact, no process left, every file readable at every kill")


if __name__ == "__main__":
    try:
        main()
    except Wrong as wrong:
        sys.exit(f"kills: {wrong}")
