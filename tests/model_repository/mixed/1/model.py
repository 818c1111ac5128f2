"""Echoes every input NAME as NAME_out; `summary` is computed from them, one string a row of the batch:
sum of counts / length in bytes of the words / number of true flags / sum of pixels, as in "6/9/2/510"."""

import numpy
import triton_python_backend_utils as pb_utils

NAMES = ["counts", "halves", "words", "flags", "pixels"]


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        inputs = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in NAMES}
        outputs = {name + "_out": value for name, value in inputs.items()}
        outputs["summary"] = numpy.array(
            [[summary(inputs, row)] for row in range(len(inputs["counts"]))], dtype=numpy.object_
        )
        wanted = request.requested_output_names()
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, outputs[name]) for name in outputs if name in wanted])


def summary(inputs, row):
    parts = [
        inputs["counts"][row].sum(),
        sum(len(word) for word in inputs["words"][row]),
        inputs["flags"][row].sum(),
        inputs["pixels"][row].sum(dtype=numpy.int64),
    ]
    return "/".join(str(int(part)) for part in parts).encode()
