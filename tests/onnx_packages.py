"""Holds the embedded server's answers against ONNX Runtime's for the model files inside Python packages.

    pip download --no-deps -d WHEELS silero-vad magika nudenet basic-pitch ...
    python tests/onnx_packages.py RUNNER WHEELS/*.whl [--shape FILE.onnx:INPUT=2,512]...

Prints a table: each file agrees within 1e-3 of the largest value of every output, or is refused when it is loaded, in words. Where a
model magnifies rounding, so that ONNX Runtime without its optimisations differs from itself by more, twice that is the limit.
Sizes that a file leaves free are 2 in the first dimension and 64 in others, unless --shape says otherwise. The exit code is not
0 where a file differs, or is loaded and then fails. Needs numpy, onnx and onnxruntime; nothing of the packages is run.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import zipfile

import numpy
import onnxruntime

from onnx_standard import NUMPY, Server

LIMIT = 1e-3
TYPES = {
    "tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(float16)": "FP16", "tensor(int64)": "INT64",
    "tensor(int32)": "INT32", "tensor(bool)": "BOOL", "tensor(uint8)": "UINT8", "tensor(int8)": "INT8",
}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("runner")
    arguments.add_argument("wheels", nargs="+")
    arguments.add_argument("--shape", action="append", default=[], help="FILE.onnx:INPUT=SIZE,SIZE...")
    arguments = arguments.parse_args()
    shapes = {}
    for text in arguments.shape:
        place, sizes = text.rsplit("=", 1)
        shapes[tuple(place.split(":", 1))] = [int(size) for size in sizes.split(",")]
    bad = 0
    with tempfile.TemporaryDirectory() as repository:
        files = unpack(arguments.wheels, repository)
        with Server(arguments.runner, repository) as server:
            states = server.states()
            for model, path in sorted(files.items()):
                outcome, words = compare(server, model, states[model], path, shapes)
                bad += outcome in ("DIFFERS", "FAILS")
                print(f"| {model} | {outcome} | {words} |")
    sys.exit(1 if bad else 0)


def unpack(wheels, repository):
    """Every model file of the packages, as a model of the repository that nothing is configured of."""
    files = {}
    for wheel in wheels:
        package = os.path.basename(wheel).split("-")[0]
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.endswith(".onnx"):
                    model = re.sub(r"[^A-Za-z0-9.]+", "_", f"{package}.{os.path.basename(os.path.dirname(name))}.{os.path.basename(name)[:-5]}")
                    # packages may hold files of one name in several folders
                    while model in files:
                        model += "_"
                    path = os.path.join(repository, model, "1", "model.onnx")
                    os.makedirs(os.path.dirname(path))
                    with open(path, "wb") as file:
                        file.write(archive.read(name))
                    files[model] = path
    return files


def compare(server, model, refused, path, shapes):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever it is: there is nothing to compare with
        return "no comparison", f"ONNX Runtime: {str(error)[:150]}"
    if refused is not None:
        return "refused", refused.split("version 1: ")[-1]
    generator = numpy.random.default_rng(3)
    inputs = []
    for value in session.get_inputs():
        sizes = [size if isinstance(size, int) and size > 0 else (64 if index else 2) for index, size in enumerate(value.shape)]
        sizes = shapes.get((model.rsplit(".", 1)[-1] + ".onnx", value.name), sizes)
        datatype = TYPES[value.type]
        if value.name == "sr":  # a sampling rate is not any number
            data = numpy.full(sizes, 16000)
        elif datatype.startswith("FP"):
            data = generator.standard_normal(sizes) / 2
        else:
            data = generator.integers(0, 2 if datatype == "BOOL" else 10, sizes)
        inputs.append((value.name, datatype, numpy.asarray(data).astype(NUMPY[datatype])))
    outputs = [value.name for value in session.get_outputs()]
    try:
        expected = dict(zip(outputs, session.run(outputs, {name: data for name, _, data in inputs})))
    except Exception as error:  # the model wants other sizes: say them with --shape
        return "no comparison", f"ONNX Runtime: {str(error)[:150]}"
    # a tensor with a batch dimension alone is of shape [batch, 1] outside, as with Triton
    described = {tensor["name"]: tensor["shape"] for tensor in metadata(server, model)["inputs"]}
    sent = [(name, datatype, data.reshape(*data.shape, 1) if len(described[name]) > max(1, data.ndim) else data) for name, datatype, data in inputs]
    answers, error = server.infer(model, sent)
    if error is not None:
        return "FAILS", error
    worst = 0.0
    for name in outputs:
        datatype, shape, raw = answers[name]
        wanted = expected[name].reshape(shape) if expected[name].size == numpy.prod(shape) else expected[name]
        if wanted.size != expected[name].size:
            return "DIFFERS", f"{name} is {shape} instead of {list(expected[name].shape)}"
        found = numpy.frombuffer(raw, "<" + NUMPY[datatype]).reshape(shape).astype(float)
        worst = max(worst, difference(found, wanted))
    words = f"{len(outputs)} outputs within {worst:.0e} of the largest value"
    if worst <= LIMIT:
        return "agrees", words
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    again = plain.run(outputs, {name: data for name, _, data in inputs})
    own = max(difference(value, expected[name]) for name, value in zip(outputs, again))
    words += f"; ONNX Runtime without optimisations: {own:.0e} from itself"
    return ("agrees" if worst <= 2 * own else "DIFFERS"), words


def difference(found, wanted):
    """Of the largest value."""
    return float(numpy.abs(found.astype(float) - wanted).max(initial=0) / max(1e-9, numpy.abs(wanted).max(initial=0)))


def metadata(server, model):
    server.connection.request("GET", f"/v2/models/{model}")
    return json.loads(server.connection.getresponse().read())


if __name__ == "__main__":
    main()
