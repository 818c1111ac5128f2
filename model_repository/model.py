"""Serves the `model.onnx` beside it with ONNX Runtime on the CPU, from Triton's Python backend.

For the PyPI tritonserver, which has no ONNX Runtime backend. It behaves like that backend where a client can see it:
the requests that dynamic batching hands over together become one run, and only outputs that somebody asked for are computed.
It knows no model: the names come from Triton's configuration. `scrfd/1/model.py` and `arcface/1/model.py` link to this file.
"""

import json
import os

import numpy
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One instance: one ONNX Runtime session with one thread."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]
        self.batched = config["max_batch_size"] > 0

        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        if not os.path.exists(path):
            raise pb_utils.TritonModelException(
                "%s is missing: `runner models synth %s` writes a stand-in, `runner models fetch %s` the published weights"
                % (path, args["model_name"], args["model_name"])
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.check_names(path)

    def check_names(self, path):
        """A name that the file does not have is an error now, not at the first request."""
        for what, configured, offered in (
            ("input", self.inputs, [tensor.name for tensor in self.session.get_inputs()]),
            ("output", self.outputs, [tensor.name for tensor in self.session.get_outputs()]),
        ):
            missing = sorted(set(configured) - set(offered))
            if missing:
                raise pb_utils.TritonModelException(
                    "%s has no %s %s; it has %s" % (path, what, ", ".join(missing), ", ".join(offered))
                )

    def execute(self, requests):
        """One answer a request, in order; a failure is the answer of the requests it concerns, and of no others."""
        if len(requests) > 1 and self.batched:
            try:
                return self.run(requests)
            except Exception:  # one bad request must not fail its neighbours: each gets its own run, and its own error
                pass
        return [self.run_alone(request) for request in requests]

    def run_alone(self, request):
        try:
            return self.run([request])[0]
        except Exception as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))

    def run(self, requests):
        """The requests as one run: inputs joined along the batch dimension, outputs split where they were joined."""
        feed = {}
        for name in self.inputs:
            parts = [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for request in requests]
            feed[name] = parts[0] if len(parts) == 1 else numpy.concatenate(parts)
        sizes = [len(part) for part in parts]  # every input has the same batch sizes: Triton checked them

        wanted = [set(request.requested_output_names()) for request in requests]
        names = [name for name in self.outputs if any(name in some for some in wanted)]
        results = dict(zip(names, self.session.run(names, feed)))

        if len(requests) == 1:
            return [respond(results, wanted[0])]
        ends = numpy.cumsum(sizes)
        return [
            respond({name: result[end - size : end] for name, result in results.items()}, some)
            for size, end, some in zip(sizes, ends, wanted)
        ]


def respond(results, wanted):
    """The answer with those of the results that the request wants."""
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor(name, result) for name, result in results.items() if name in wanted]
    )
