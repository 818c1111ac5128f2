"""Answers zeros of shape [batch, 1] at once, without looking at the input."""

import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        largest = 8
        zeros = numpy.zeros((largest, 1), numpy.float32)
        self.answers = [pb_utils.Tensor("nothing", zeros[:batch]) for batch in range(largest + 1)]

    def execute(self, requests):
        return [
            # only the shape of the input is looked at; its values stay where the backend put them
            pb_utils.InferenceResponse([self.answers[request.inputs()[0].shape()[0]]])
            for request in requests
        ]
