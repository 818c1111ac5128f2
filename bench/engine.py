"""A model at batch 1 on the embedded server, beside ONNX Runtime in Python with as many threads as there are cores.

Run it as bench/engine, which starts an embedded server for each model.

Both execute the same input and have to give the same outputs. They take turns, round by round, the other one first in
every second round. The server's time is compute_infer of its statistics, the latency is what the client waits for.
"""

import argparse
import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from common import ROOT, binary_body, model_stats, peak_memory, post, spread, verdict

SHAPES = {"scrfd": [1, 3, 640, 640], "arcface": [1, 3, 112, 112]}
INPUT = "input.1"
SLOWER = 2.2  # times ONNX Runtime's time that the server's may be
MODELS = 3  # times the model that its memory may be, beside activations
LIMITED = ["scrfd"]  # the others are shown, without a verdict
TOLERANCE = 1e-3
PAUSE_S = 0.05  # between turns: ONNX Runtime's threads spin for a while when they are done


def main():
    options = arguments()
    path = os.path.join(ROOT, "model_repository", options.model, "1", "model.onnx")
    if options.alone:
        print(json.dumps(alone(path, options.model)))
        return
    host = os.environ["EMBEDDED_HTTP"]
    session = session_of(path)
    outputs = [output.name for output in session.get_outputs()]
    image = image_of(options.model)
    body, headers = binary_body([(INPUT, SHAPES[options.model], image.tobytes())], outputs)
    deviation = agreement(post(host, options.model, body, headers), session.run(outputs, {INPUT: image}), outputs)

    samples = []
    for number in range(options.rounds):
        turns = [("server", lambda: server(host, options, body, headers)), ("reference", lambda: reference(session, outputs, image, options))]
        sample = {}
        for name, turn in turns if number % 2 == 0 else turns[::-1]:
            time.sleep(PAUSE_S)
            sample[name] = turn()
        samples.append(sample)
        words = (number + 1, options.rounds, options.model, sample["server"]["infer_ms"], sample["reference"])
        print("round %d/%d  %s  embedded %.2f ms, ONNX Runtime %.2f ms" % words, file=sys.stderr)
    sys.exit(0 if report(samples, path, deviation, options) else 1)


def arguments():
    parser = argparse.ArgumentParser(
        prog="bench/engine", description=__doc__.split("\n\n")[0], epilog="Exit code 1: slower or larger than it may be."
    )
    parser.add_argument("--rounds", type=int, default=10, help="how often each takes its turn [%(default)s]")
    parser.add_argument("--requests", type=int, default=10, help="of one turn [%(default)s]")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("model", nargs="?", choices=list(SHAPES), default="scrfd", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if min(options.rounds, options.requests) < 1:
        parser.error("at least one round and one request")
    return options


def image_of(model):
    import numpy

    return numpy.random.default_rng(1).random(SHAPES[model], numpy.float32)


def session_of(path, profile=None):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def agreement(answer, expected, outputs):
    """Largest deviation of the server's outputs, relative to the largest value of each."""
    import numpy

    head, raw = answer
    at = 0
    deviations = []
    for output in head["outputs"]:
        size = output["parameters"]["binary_data_size"]
        found = numpy.frombuffer(raw[at : at + size], numpy.float32).reshape(output["shape"])
        at += size
        reference = expected[outputs.index(output["name"])].reshape(found.shape)
        deviations.append(float(numpy.abs(found - reference).max() / max(float(numpy.abs(reference).max()), 1e-6)))
    if [output["name"] for output in head["outputs"]] != outputs or max(deviations) > TOLERANCE:
        sys.exit("the server's outputs are not ONNX Runtime's: they differ by %s of the largest value" % deviations)
    return max(deviations)


def server(host, options, body, headers):
    """Milliseconds of one inference, by the server's statistics, and of the whole request."""
    before = model_stats(host, options.model)["inference_stats"]["compute_infer"]
    latencies = []
    for _ in range(options.requests):
        began = time.perf_counter()
        post(host, options.model, body, headers)
        latencies.append((time.perf_counter() - began) * 1000)
    after = model_stats(host, options.model)["inference_stats"]["compute_infer"]
    if after["count"] - before["count"] != options.requests:
        sys.exit("the server counted %d inferences of %d" % (after["count"] - before["count"], options.requests))
    return {"infer_ms": (after["ns"] - before["ns"]) / options.requests / 1e6, "latency_ms": statistics.mean(latencies)}


def reference(session, outputs, image, options):
    began = time.perf_counter()
    for _ in range(options.requests):
        session.run(outputs, {INPUT: image})
    return (time.perf_counter() - began) * 1000 / options.requests


def alone(path, model):
    """In its own process: ONNX Runtime's peak memory, and the activations of the layer that has most.

    Activations are the largest sum of one layer's inputs and outputs, weights aside: no engine that goes layer by layer can
    do with less, and what else is alive meanwhile is not allowed for.
    """
    image = image_of(model)
    session_of(path).run(None, {INPUT: image})
    peak = peak_memory("self")
    with tempfile.TemporaryDirectory() as directory:
        session = session_of(path, os.path.join(directory, "profile"))
        session.run(None, {INPUT: image})
        session.end_profiling()
        (file,) = glob.glob(os.path.join(directory, "profile*"))
        with open(file) as profile:
            layers = [event["args"] for event in json.load(profile) if event["name"].endswith("_kernel_time")]
    return {"peak": peak, "activations": max(int(layer["activation_size"]) + int(layer["output_size"]) for layer in layers)}


def report(samples, path, deviation, options):
    # before ONNX Runtime's own process runs beside it
    peak = peak_memory(os.environ["EMBEDDED_PID"])
    ended = subprocess.run([sys.executable, __file__, "--alone", options.model], stdout=subprocess.PIPE, text=True, check=True)
    other = json.loads(ended.stdout)
    size = os.path.getsize(path)
    allowed = MODELS * size + other["activations"]
    ratio = [sample["server"]["infer_ms"] / sample["reference"] for sample in samples]
    whole = [sample["server"]["latency_ms"] / sample["reference"] for sample in samples]
    cores = len(os.sched_getaffinity(0))
    print(
        "%s, batch 1, %d threads each, %d rounds of %d, median (smallest to largest); outputs agree within %.0e of the largest value\n"
        % (options.model, cores, options.rounds, options.requests, deviation)
    )
    print("| | Time (ms) | Times ONNX Runtime | Peak memory (MB) |")
    print("|---|---|---|---:|")
    for name, values, ratios, memory in [
        ("ONNX Runtime in Python", [sample["reference"] for sample in samples], None, "%.0f" % (other["peak"] / 1e6)),
        ("Embedded, compute_infer", [sample["server"]["infer_ms"] for sample in samples], ratio, "%.0f" % (peak / 1e6)),
        ("Embedded, latency over HTTP", [sample["server"]["latency_ms"] for sample in samples], whole, ""),
    ]:
        print("| %s | %s | %s | %s |" % (name, spread(values, "%.2f"), spread(ratios, "%.2f") if ratios else "1", memory))
    print(
        "\nMemory: the model's file has %.1f MB, the inputs and outputs of the layer that has most %.1f MB (from ONNX Runtime's profile).\n"
        % (size / 1e6, other["activations"] / 1e6)
    )
    words = "%s: compute_infer %s <= %s x ONNX Runtime" % (options.model, spread(ratio, "%.2f"), SLOWER)
    memory = "%s: peak memory %.0f MB <= %d x model + activations = %.0f MB" % (options.model, peak / 1e6, MODELS, allowed / 1e6)
    if options.model not in LIMITED:
        print("no limit: " + words + "\nno limit: " + memory + "\n")
        return True
    passed = [verdict(statistics.median(ratio) <= SLOWER, words), verdict(peak <= allowed, memory)]
    print()
    return all(passed)


if __name__ == "__main__":
    main()
