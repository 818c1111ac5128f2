"""What MLServer serves for the comparison: a model that gives its input doubled. Its settings say whether it is declared."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Doubled(MLModel):
    async def predict(self, payload):
        doubled = NumpyCodec.decode_input(payload.inputs[0]) * 2
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", doubled)])
