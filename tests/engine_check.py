"""Holds the embedded server's answers against ONNX Runtime's: the same files, the same inputs.

    python tests/engine_check.py RUNNER DIR/scrfd/1/model.onnx DIR/arcface/1/model.onnx

The models of the package rapidocr-onnxruntime, which have real weights, are compared too. Needs numpy, onnxruntime and that
package. One line an output; the exit code is not 0 if one differs by more than 1e-3 of the output's largest value.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request

import numpy
import onnxruntime

LIMIT = 1e-3
REAL = {  # file of the package: the shape of an item, whose free sides are chosen here
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": [3, 48, 192],
    "ch_PP-OCRv4_det_infer.onnx": [3, 320, 416],
    "ch_PP-OCRv4_rec_infer.onnx": [3, 48, 320],
}
BATCH = 2


def main():
    runner, scrfd, arcface = sys.argv[1:]
    models = {"scrfd": (scrfd, [3, 640, 640]), "arcface": (arcface, [3, 112, 112])}
    package = os.path.dirname(importlib.util.find_spec("rapidocr_onnxruntime").origin)
    for file, item in REAL.items():
        models[file.split(".")[0].replace("-", "_")] = (os.path.join(package, "models", file), item)
    with tempfile.TemporaryDirectory() as repository:
        sessions = {name: prepare(repository, name, path, item) for name, (path, item) in models.items()}
        with Server(runner, repository) as server:
            failures = sum(compare(server, name, sessions[name], item) for name, (_, item) in models.items())
    sys.exit(1 if failures else 0)


def prepare(repository, name, path, item):
    """Puts the model into the repository, with a configuration; returns ONNX Runtime's session of it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    folder = os.path.join(repository, name)
    os.makedirs(os.path.join(folder, "1"))
    shutil.copyfile(path, os.path.join(folder, "1", "model.onnx"))
    (only,) = session.get_inputs()
    text = 'backend: "onnxruntime"\nmax_batch_size: 8\n'
    text += 'input [ { name: "%s" data_type: TYPE_FP32 dims: %s } ]\n' % (only.name, item)
    for output in session.get_outputs():
        dims = [side if isinstance(side, int) else -1 for side in output.shape[1:]]
        text += 'output [ { name: "%s" data_type: TYPE_FP32 dims: %s } ]\n' % (output.name, dims)
    with open(os.path.join(folder, "config.pbtxt"), "w") as file:
        file.write(text)
    return session


def compare(server, name, session, item):
    shape = [BATCH] + item
    values = numpy.random.default_rng(1).standard_normal(shape, dtype=numpy.float32)
    (only,) = session.get_inputs()
    outputs = [output.name for output in session.get_outputs()]
    expected = dict(zip(outputs, session.run(outputs, {only.name: values})))
    answered = server.infer(name, only.name, values)
    failures = 0
    for output in outputs:
        found, wanted = answered[output], expected[output]
        same_shape = found.shape == wanted.shape
        difference = float(numpy.abs(found - wanted).max() / numpy.abs(wanted).max()) if same_shape else float("inf")
        passed = difference <= LIMIT
        failures += not passed
        print(f"{'ok  ' if passed else 'FAIL'} {name} {output} {list(wanted.shape)}: differs by {difference:.1e} of the largest value")
    return failures


class Server:
    def __init__(self, runner, repository):
        command = [runner, "serve", "--model-repository", repository, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
        self.process = subprocess.Popen(command + ["--until-input-ends"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        ready = json.loads(self.process.stdout.readline() or "{}")
        if ready.get("unavailable", True):
            raise SystemExit(f"the embedded server cannot serve all models: {ready}")
        self.url = f"http://{ready['http']}/v2/models/"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(10)

    def infer(self, model, name, values):
        head = json.dumps({
            "parameters": {"binary_data_output": True},
            "inputs": [{"name": name, "datatype": "FP32", "shape": values.shape, "parameters": {"binary_data_size": values.nbytes}}],
        }).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        request = urllib.request.Request(f"{self.url}{model}/infer", head + values.tobytes(), headers)
        with urllib.request.urlopen(request) as response:
            body = response.read()
            length = int(response.headers["Inference-Header-Content-Length"])
        answers, at = {}, length
        for output in json.loads(body[:length])["outputs"]:
            size = output["parameters"]["binary_data_size"]
            answers[output["name"]] = numpy.frombuffer(body[at:at + size], numpy.float32).reshape(output["shape"])
            at += size
        return answers


if __name__ == "__main__":
    main()
