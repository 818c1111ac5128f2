"""Echoes the input after the model parameter `sleep_ms`."""

import json
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        self.seconds = float(parameters["sleep_ms"]["string_value"]) / 1000

    def execute(self, requests):
        answers = []
        for request in requests:
            time.sleep(self.seconds)
            value = pb_utils.get_input_tensor_by_name(request, "value").as_numpy()
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("echo", value)]))
        return answers
