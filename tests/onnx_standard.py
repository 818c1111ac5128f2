"""Runs the ONNX standard's own tests through the embedded server, and holds the outcome against a committed table.

    python tests/onnx_standard.py RUNNER [--write] [--only PART_OF_A_NAME]

The tests are those of the package onnx 1.17.0 (onnx/backend/test/data: later packages leave the node tests out). Each model is
served by one process of RUNNER and asked over HTTP. A test's outcome is one of

    passed            the answer is the standard's, in type, shape and value: within 1e-3 of each number, as the standard's own
                      runner has it, or within 1e-7 of the largest
    refused           the server says at load, in words, what it cannot compute
    not expressible   the protocol has no such value (sequences, FLOAT8, 4-bit integers), and the server refuses it at load
    deviation         differs from the standard for the reason in DEVIATIONS
    wrong             loads and answers something else
    failed            loads and then refuses the standard's own input

The exit code is not 0 when a test is wrong or failed, or when one that passes in tests/onnx/outcomes.txt no longer does.
--write renews that file and the table tests/onnx/README.md.
"""

import argparse
import collections
import glob
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile

import numpy
import onnx
from onnx import TensorProto, numpy_helper

ROOT = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data")
SUITES = ("node", "simple", "pytorch-converted", "pytorch-operator")
COMMITTED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "onnx")
TABLE, EACH = os.path.join(COMMITTED, "README.md"), os.path.join(COMMITTED, "outcomes.txt")
OUTCOMES = ("passed", "refused", "not expressible", "deviation", "wrong", "failed")
RELATIVE, ABSOLUTE = 1e-3, 1e-7
DEVIATIONS = {
    "test_resize_downsample_scales_linear_align_corners": "ONNX Runtime gives the server's answer, not the standard's",
    "test_bernoulli_expanded": "random numbers, in the right type and shape",
    "test_bernoulli_double_expanded": "random numbers, in the right type and shape",
    "test_bernoulli_seed_expanded": "random numbers, in the right type and shape",
}
TYPES = {
    TensorProto.FLOAT: "FP32", TensorProto.DOUBLE: "FP64", TensorProto.FLOAT16: "FP16", TensorProto.BOOL: "BOOL",
    TensorProto.INT8: "INT8", TensorProto.INT16: "INT16", TensorProto.INT32: "INT32", TensorProto.INT64: "INT64",
    TensorProto.UINT8: "UINT8", TensorProto.UINT16: "UINT16", TensorProto.UINT32: "UINT32", TensorProto.UINT64: "UINT64",
    TensorProto.BFLOAT16: "BF16", TensorProto.STRING: "BYTES",
}
NUMPY = {
    "FP32": "f4", "FP64": "f8", "FP16": "f2", "BOOL": "?", "INT8": "i1", "INT16": "i2", "INT32": "i4", "INT64": "i8",
    "UINT8": "u1", "UINT16": "u2", "UINT32": "u4", "UINT64": "u8",
}


class Test:
    def __init__(self, suite, folder):
        self.suite, self.folder, self.name = suite, folder, os.path.basename(folder)
        self.key = f"{suite}_{self.name}".replace("-", "_")
        self.path = os.path.join(folder, "model.onnx")
        self.model = onnx.load(self.path)
        constants = {tensor.name for tensor in self.model.graph.initializer}
        self.inputs = [value for value in self.model.graph.input if value.name not in constants]
        self.outputs = list(self.model.graph.output)
        versions = [entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx")]
        self.opset = str(versions[0]) if versions else "other domains"

    def expressible(self):
        return all(
            value.type.WhichOneof("value") == "tensor_type" and value.type.tensor_type.elem_type in TYPES
            for value in self.inputs + self.outputs
        )

    def configuration(self):
        """None where the server completes it from the model file. Triton would take a free first dimension for a batch, and
        these tests mean their shapes as they are: such a model's configuration is written."""
        shapes = [shape_of(value) for value in self.inputs + self.outputs]
        if not self.expressible() or not all(shape and shape[0] == -1 for shape in shapes if shape is not None):
            return None
        text = 'backend: "onnxruntime"\n'
        for kind, values in (("input", self.inputs), ("output", self.outputs)):
            for value in values:
                shape = shape_of(value)
                type_ = TYPES[value.type.tensor_type.elem_type].replace("BYTES", "STRING")
                text += f'{kind} [ {{ name: "{value.name}" data_type: TYPE_{type_} dims: {shape or [1]} }} ]\n'
        return text

    def data(self, kind):
        values = self.inputs if kind == "input" else self.outputs
        for index, value in enumerate(values):
            with open(os.path.join(self.folder, "test_data_set_0", f"{kind}_{index}.pb"), "rb") as file:
                tensor = TensorProto.FromString(file.read())
            yield value.name, TYPES[tensor.data_type], numpy_helper.to_array(tensor)


def shape_of(value):
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [side.dim_value if side.dim_value > 0 else -1 for side in tensor.shape.dim]


class Server:
    def __init__(self, runner, repository):
        command = [runner, "serve", "--model-repository", repository, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command + ["--until-input-ends"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log)
        ready = json.loads(self.process.stdout.readline() or "{}")
        if "http" not in ready:
            self.log.seek(0)
            raise SystemExit(f"the embedded server did not start: {self.log.read().decode()}")
        host, port = ready["http"].rsplit(":", 1)
        self.connection = http.client.HTTPConnection(host, int(port), timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(20)

    def ask(self, path, body=b"", headers=None):
        self.connection.request("POST", path, body, headers or {})
        response = self.connection.getresponse()
        return response.status, response.headers, response.read()

    def states(self):
        """Of each model: None where it is ready, or why it is not."""
        _, _, body = self.ask("/v2/repository/index", b"{}")
        return {row["name"]: None if row.get("state") == "READY" else row.get("reason", "") for row in json.loads(body)}

    def infer(self, model, inputs):
        tensors, data = [], []
        for name, datatype, values in inputs:
            raw = bytes_of(datatype, values)
            shape = list(values.shape) or [1]
            tensors.append({"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(raw)}})
            data.append(raw)
        head = json.dumps({"parameters": {"binary_data_output": True}, "inputs": tensors}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        status, headers, body = self.ask(f"/v2/models/{model}/infer", head + b"".join(data), headers)
        if status != 200:
            return None, json.loads(body)["error"]
        at = int(headers["Inference-Header-Content-Length"])
        answers = {}
        for output in json.loads(body[:at])["outputs"]:
            size = output["parameters"]["binary_data_size"]
            answers[output["name"]] = (output["datatype"], output["shape"], body[at:at + size])
            at += size
        return answers, None


def bytes_of(datatype, values):
    if datatype == "BYTES":
        texts = [text if isinstance(text, bytes) else str(text).encode() for text in values.reshape(-1)]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    if datatype == "BF16":
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return numpy.ascontiguousarray(values.astype("<" + NUMPY[datatype])).tobytes()


def outcome_of(test, reason, server):
    """(outcome, words)"""
    if reason is not None:
        return ("refused" if test.expressible() else "not expressible"), reason
    if not test.expressible():
        return "wrong", "loads, though the protocol cannot express its values"
    answers, error = server.infer(test.key, test.data("input"))
    if error is not None:
        return "failed", error
    for name, datatype, expected in test.data("output"):
        words = difference(answers[name], datatype, expected)
        if words:
            known = test.name in DEVIATIONS and "instead of" in words and "differ" in words
            return ("deviation" if known else "wrong"), f"output {name}: {words}"
    return "passed", ""


def difference(answer, datatype, expected):
    found_type, found_shape, raw = answer
    shape = list(expected.shape) or [1]
    if (found_type, found_shape) != (datatype, shape):
        return f"{found_type} {found_shape} instead of {datatype} {shape}"
    if datatype == "BYTES" or datatype == "BF16":
        return "" if raw == bytes_of(datatype, expected) else "other bytes"
    found = numpy.frombuffer(raw, "<" + NUMPY[datatype]).reshape(shape)
    expected = expected.reshape(shape)
    finite = numpy.abs(expected[numpy.isfinite(expected)].astype(numpy.float64))
    absolute = ABSOLUTE * max(1, finite.max(initial=0))
    close = numpy.isclose(found.astype(numpy.float64), expected.astype(numpy.float64), rtol=RELATIVE, atol=absolute, equal_nan=True)
    if close.all():
        return ""
    at = numpy.argwhere(~close)
    first = tuple(at[0])
    return f"{len(at)} of {found.size} differ, such as {found[first]} instead of {expected[first]} at {list(map(int, first))}"


def run(runner, data, only):
    tests = [Test(suite, folder) for suite in SUITES for folder in sorted(glob.glob(os.path.join(data, suite, "*")))]
    tests = [test for test in tests if only in test.key]
    with tempfile.TemporaryDirectory() as repository:
        for test in tests:
            folder = os.path.join(repository, test.key)
            os.makedirs(os.path.join(folder, "1"))
            os.symlink(test.path, os.path.join(folder, "1", "model.onnx"))
            text = test.configuration()
            if text is not None:
                with open(os.path.join(folder, "config.pbtxt"), "w") as file:
                    file.write(text)
        with Server(runner, repository) as server:
            states = server.states()
            return [(test, *outcome_of(test, states[test.key], server)) for test in tests]


OPERATOR = re.compile(r"operator (\S+)")


def table(results):
    """The committed page: outcomes by opset, and what is refused, by its operator."""
    by_opset = collections.defaultdict(collections.Counter)
    for test, outcome, _ in results:
        by_opset[test.opset][outcome] += 1
    total = collections.Counter(outcome for _, outcome, _ in results)
    lines = [
        "# The ONNX standard's own tests, through the embedded server",
        "",
        "Written by `tests/onnx_standard.py --write`, and held by `scripts/test`: no test may get worse, none may be wrong, none",
        f"may fail after its model was loaded. The tests are the {len(results)} of the package onnx {onnx.__version__}; the server computes with",
        "rten, and refuses when a model is loaded, in words, what that does not have or is known to get wrong. `outcomes.txt` has",
        "every test.",
        "",
        "| opset | " + " | ".join(OUTCOMES) + " |",
        "|---" * (len(OUTCOMES) + 1) + "|",
    ]
    order = sorted(by_opset, key=lambda opset: int(opset) if opset.isdigit() else 1000)
    for opset, counts in [(opset, by_opset[opset]) for opset in order] + [("all", total)]:
        lines.append(f"| {opset} | " + " | ".join(str(counts[outcome]) for outcome in OUTCOMES) + " |")
    lines += ["", "*Not expressible*: the protocol has no such values (sequences, optional values, FLOAT8, 4-bit integers).", ""]
    lines += [f"*Deviation*: `{name}`: {words}." for name, words in sorted(DEVIATIONS.items())]
    refused, others = collections.Counter(), collections.Counter()
    for _, outcome, words in results:
        if outcome == "refused":
            operator = OPERATOR.search(words)
            if operator:
                refused[operator.group(1).strip(':,')] += 1
            else:
                others[re.sub(r'"[^"]*"', "..", words.split(": ", 1)[-1])[:100]] += 1
    lines += ["", "## Refused, by the operator that is named", "", "| operator | tests |", "|---|---|"]
    lines += [f"| {operator} | {count} |" for operator, count in sorted(refused.items(), key=lambda row: (-row[1], row[0]))]
    if others:
        lines += ["", "## Refused for another reason", "", "| in words | tests |", "|---|---|"]
        lines += [f"| {words} | {count} |" for words, count in sorted(others.items(), key=lambda row: (-row[1], row[0]))]
    return "\n".join(lines) + "\n"


def committed():
    """The outcome of every test, by the committed file."""
    with open(EACH) as file:
        return dict(line.strip().split(" ", 1) for line in file)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("runner")
    arguments.add_argument("--write", action="store_true", help="renew the committed table")
    arguments.add_argument("--only", default="", help="only tests with this in their name; the table is neither read nor written")
    arguments.add_argument("--words", action="store_true", help="print what the server says of every test that does not pass")
    arguments.add_argument("--data", default=ROOT, help="other tests of the same kind, such as those of a newer package's generators")
    arguments = arguments.parse_args()
    results = run(arguments.runner, arguments.data, arguments.only)
    counts = collections.Counter(outcome for _, outcome, _ in results)
    print(", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES))
    bad = [f"{outcome}: {test.key}: {words}" for test, outcome, words in results if outcome in ("wrong", "failed")]
    if arguments.words:
        bad = [f"{outcome}: {test.key} ({test.opset}): {words}" for test, outcome, words in results if outcome != "passed"]
    elif arguments.write:
        with open(TABLE, "w") as file:
            file.write(table(results))
        with open(EACH, "w") as file:
            file.writelines(sorted(f"{test.key} {outcome}\n" for test, outcome, _ in results))
    elif not arguments.only and arguments.data == ROOT:
        before = committed()
        bad += [
            f"got worse: {test.key}: {before.get(test.key, 'not there')}, now {outcome}: {words}"
            for test, outcome, words in results
            if outcome != "passed" and before.get(test.key) in ("passed", None)
        ]
    print("\n".join(bad))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
