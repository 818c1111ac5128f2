"""Echoes the input, but adds 0.01 to the last element of every thousandth answer."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.answered = 0

    def execute(self, requests):
        answers = []
        for request in requests:
            value = pb_utils.get_input_tensor_by_name(request, "value").as_numpy()
            self.answered += 1
            if self.answered % 1000 == 0:
                value = value.copy()
                value[..., -1] += 0.01
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("echo", value)]))
        return answers
