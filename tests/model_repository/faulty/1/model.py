"""Echoes the input, but every Nth request, N being the model parameter `fail_every`, is answered with an error."""

import json

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        self.every = int(parameters["fail_every"]["string_value"])
        self.seen = 0

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        self.seen += 1
        if self.seen % self.every == 0:
            message = "request %d fails: every %dth does" % (self.seen, self.every)
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(message))
        value = pb_utils.get_input_tensor_by_name(request, "value").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("echo", value)])
