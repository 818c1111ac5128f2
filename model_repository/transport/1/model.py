"""Answers a zero of shape [1, 1] at once, without looking at the input."""

import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.answer = pb_utils.Tensor("nothing", numpy.zeros((1, 1), numpy.float32))

    def execute(self, requests):
        # the values of the input stay where the backend put them
        return [pb_utils.InferenceResponse([self.answer]) for _ in requests]
