"""Sums each of the two rows of an INT32 matrix, in FP32."""

import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            matrix = pb_utils.get_input_tensor_by_name(request, "matrix").as_numpy()
            total = matrix.sum(axis=1, dtype=numpy.float32)
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("sum", total)]))
        return answers
