"""KServe's Python server with models that give their input doubled: undeclared, declared, and one that answers binary.

Usage: kserve_server.py HTTP_PORT GRPC_PORT. The server would listen on all addresses; here it does on loopback only.
"""

import sys

import uvicorn
from grpc.aio import _server
from kserve import InferOutput, InferResponse, Model, ModelServer
from kserve.utils.utils import generate_uuid

LOOPBACK = "127.0.0.1"


class OnLoopback(uvicorn.Config):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **{**options, "host": LOOPBACK})


def listen_on_loopback(add_insecure_port):
    return lambda server, address: add_insecure_port(server, "%s:%s" % (LOOPBACK, address.rsplit(":", 1)[1]))


class Doubled(Model):
    def __init__(self, name, binary=False):
        super().__init__(name)
        self.binary = binary
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):
        doubled = payload.inputs[0].as_numpy() * 2
        output = InferOutput(name="y", shape=list(doubled.shape), datatype="FP32")
        output.set_data_from_numpy(doubled, binary_data=self.binary)
        return InferResponse(model_name=self.name, infer_outputs=[output], response_id=generate_uuid())


class Declared(Doubled):
    async def get_input_types(self):
        return [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]

    async def get_output_types(self):
        return [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}]


if __name__ == "__main__":
    http_port, grpc_port = map(int, sys.argv[1:])
    sys.argv[1:] = []
    uvicorn.Config = OnLoopback
    _server.Server.add_insecure_port = listen_on_loopback(_server.Server.add_insecure_port)
    models = [Doubled("undeclared"), Declared("declared"), Declared("binary", binary=True)]
    ModelServer(http_port=http_port, grpc_port=grpc_port).start(models)
