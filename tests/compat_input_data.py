"""Does perf_analyzer's --input-data mean the same to this program? The same JSON files go to both, and what each sends is read on its way
to the embedded server: compat_input_data.py RUNNER, in the environment of .venv-peers. A line a kind of file and protocol; exit code 1 if
the requests differ."""

import base64
import concurrent.futures
import http.client
import http.server
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import threading

import grpc
import tritonclient.grpc.service_pb2 as messages

CALL = "/inference.GRPCInferenceService/ModelInfer"


def packed(letter, *values):
    return base64.b64encode(struct.pack("<%d%s" % (len(values), letter), *values)).decode()


def texts(*values):
    return base64.b64encode(b"".join(struct.pack("<I", len(value)) + value for value in values)).decode()


# name: inputs (type and dims in the model, shape in the scenario), batch size, file
# perf_analyzer takes no number without a point for a float
X = {"x": ("FP32", "3", [3])}
KINDS = {
    "a list of elements": (X, 1, {"data": [{"x": [1.0, 2.0, 3.0]}, {"x": [0.1, -2.5, 1e10]}]}),
    "content without a shape": (X, 1, {"data": [{"x": {"content": [1.0, 2.0, 3.0]}}, {"x": {"content": [4.0, 5.0, 6.0]}}]}),
    "content with a shape": ({"x": ("FP32", "-1, 2", [2, 2])}, 1, {"data": [{"x": {"content": [1.0, 2.0], "shape": [1, 2]}}, {"x": {"content": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "shape": [3, 2]}}]}),
    "two inputs": ({"x": ("FP32", "3", [3]), "n": ("INT32", "2", [2])}, 1, {"data": [{"x": [1.0, 2.0, 3.0], "n": [7, -8]}, {"n": [0, 2147483647], "x": [4.0, 5.0, 6.0]}]}),
    "base64": (X, 1, {"data": [{"x": {"b64": packed("f", 1, 2, 3)}}, {"x": {"b64": packed("f", 0.5, 0.25, -1)}}]}),
    "base64 with a shape": ({"x": ("FP32", "-1", [3])}, 1, {"data": [{"x": {"b64": packed("f", 1, 2), "shape": [2]}}, {"x": {"b64": packed("f", 1, 2, 3, 4), "shape": [4]}}]}),
    "texts": ({"x": ("STRING", "2", [2])}, 1, {"data": [{"x": ["a", "bcd"]}, {"x": ["", "ü"]}]}),
    "texts in base64": ({"x": ("STRING", "1", [1])}, 1, {"data": [{"x": {"b64": texts(b"\\x00\\xffraw")}}, {"x": {"b64": texts(b"z")}}]}),
    "64-bit integers": ({"x": ("INT64", "2", [2])}, 1, {"data": [{"x": [-9223372036854775808, 9223372036854775807]}, {"x": [0, -1]}]}),
    "unsigned bytes": ({"x": ("UINT8", "3", [3])}, 1, {"data": [{"x": [0, 128, 255]}, {"x": [1, 2, 3]}]}),
    "doubles": ({"x": ("FP64", "2", [2])}, 1, {"data": [{"x": [0.1, 1e300]}, {"x": [-0.0, 5e-324]}]}),
    "truth values": ({"x": ("BOOL", "2", [2])}, 1, {"data": [{"x": [True, False]}, {"x": [False, False]}]}),
    "streams": (X, 1, {"data": [[{"x": [1.0, 2.0, 3.0]}, {"x": [4.0, 5.0, 6.0]}], [{"x": [7.0, 8.0, 9.0]}]]}),
    "one stream": (X, 1, {"data": [[{"x": [1.0, 2.0, 3.0]}, {"x": [4.0, 5.0, 6.0]}]]}),
    "batches": (X, 2, {"data": [{"x": [1.0, 2.0, 3.0]}, {"x": [4.0, 5.0, 6.0]}, {"x": [7.0, 8.0, 9.0]}]}),
    "with validation data": (X, 1, {"data": [{"x": [1.0, 2.0, 3.0]}, {"x": [4.0, 5.0, 6.0]}], "validation_data": [{"y": [1.0, 2.0, 3.0]}, {"y": [4.0, 5.0, 6.0]}]}),
}  # fmt: skip
DATATYPES = {"STRING": "BYTES"}


class Capture:
    """Passes everything on to a server, and keeps the tensors of inference requests."""

    def __init__(self, server):
        self.server = server
        self.seen = set()
        capture = self

        class Http(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                if self.path.endswith("/infer"):
                    capture.seen.add(of_http(body, self.headers.get("Inference-Header-Content-Length")))
                connection = http.client.HTTPConnection(capture.server["http"])
                kept = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection", "expect")}
                connection.request(self.command, self.path, body, kept)
                answer = connection.getresponse()
                content = answer.read()
                self.send_response(answer.status)
                for key, value in answer.getheaders():
                    if key.lower() not in ("connection", "transfer-encoding", "content-length"):
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                connection.close()

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self.front = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Http)
        self.http = "127.0.0.1:%d" % self.front.server_address[1]
        threading.Thread(target=self.front.serve_forever, daemon=True).start()
        channel = grpc.insecure_channel(server["grpc"])

        class Grpc(grpc.GenericRpcHandler):
            def service(self, call):
                def pass_on(request, context):
                    if call.method == CALL:
                        capture.seen.add(of_grpc(request))
                    try:
                        return channel.unary_unary(call.method)(request)
                    except grpc.RpcError as error:
                        context.abort(error.code(), error.details())

                return grpc.unary_unary_rpc_method_handler(pass_on)

        self.back = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        self.back.add_generic_rpc_handlers((Grpc(),))
        self.grpc = "127.0.0.1:%d" % self.back.add_insecure_port("127.0.0.1:0")
        self.back.start()

    def taken(self):
        seen, self.seen = self.seen, set()
        return seen

    def stop(self):
        self.front.shutdown()
        self.back.stop(None)


def of_http(body, header_length):
    """Name, type, shape and bytes of each input, whatever their order."""
    length = int(header_length or len(body))
    described, rest = json.loads(body[:length]), body[length:]
    tensors = []
    for tensor in described["inputs"]:
        size = tensor["parameters"]["binary_data_size"]
        tensors.append((tensor["name"], tensor["datatype"], tuple(tensor["shape"]), rest[:size]))
        rest = rest[size:]
    return tuple(sorted(tensors))


def of_grpc(request):
    message = messages.ModelInferRequest.FromString(request)
    raw = zip(message.inputs, message.raw_input_contents)
    return tuple(sorted((tensor.name, tensor.datatype, tuple(tensor.shape), content) for tensor, content in raw))


def config(inputs):
    described = ['input { name: "%s" data_type: TYPE_%s dims: [ %s ] }' % (name, datatype, dims) for name, (datatype, dims, _) in inputs.items()]
    datatype, dims, _ = inputs["x"]
    described.append('output { name: "y" data_type: TYPE_%s dims: [ %s ] }' % (datatype, dims))
    return 'backend: "loopback"\nmax_batch_size: 4\n%s\nparameters { key: "copy.y" value { string_value: "x" } }\n' % "\n".join(described)


def scenario(model, inputs, batch):
    tables = ['title = "Wire"', "[model]", 'name = "%s"' % model]
    for name, (datatype, _, shape) in inputs.items():
        tables += ["[[input]]", 'name = "%s"' % name, 'datatype = "%s"' % DATATYPES.get(datatype, datatype)]
        tables += ["shape = %s" % shape, 'data = {file = "%s.json"}' % model]
    tables += ["[[output]]", 'name = "y"', "[matrix]", "batch_sizes = [%d]" % batch, "[load]", "iterations = 40", "warmup = 0", "blocks = 1"]
    return "\n".join(tables) + "\n"


def told(requests):
    return "\n".join("      %s" % (request,) for request in sorted(requests))


def main():
    runner = os.path.abspath(sys.argv[1])
    peers = pathlib.Path(sys.executable).parent.parent
    environment = {**os.environ, "LD_LIBRARY_PATH": str(peers / "perf_analyzer-libraries")}
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for number, (inputs, batch, data) in enumerate(KINDS.values()):
            model = folder / "models" / ("kind%d" % number)
            model.mkdir(parents=True)
            (model / "config.pbtxt").write_text(config(inputs))
            (folder / ("kind%d.json" % number)).write_text(json.dumps(data))
            (folder / ("kind%d.toml" % number)).write_text(scenario("kind%d" % number, inputs, batch))
        command = [runner, "serve", "--until-input-ends", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--model-repository", folder / "models"]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        capture = Capture(json.loads(server.stdout.readline()))
        try:
            for number, (kind, (inputs, batch, data)) in enumerate(KINDS.items()):
                model = "kind%d" % number
                for protocol, address in (("http", capture.http), ("grpc", capture.grpc)):
                    theirs = subprocess.run(
                        [peers / "bin" / "perf_analyzer", "-m", model, "-i", protocol, "-u", address, "-b", str(batch)]
                        + ["--input-data", folder / (model + ".json"), "--request-count", "40", "--concurrency-range", "1"],
                        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
                    )  # fmt: skip
                    sent = capture.taken()
                    ours = subprocess.run(
                        [runner, folder / (model + ".toml"), "--protocols", protocol, "--http", capture.http, "--grpc", capture.grpc]
                        + ["--results", folder / "results", "--quiet"],
                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
                    )  # fmt: skip
                    same = capture.taken()
                    verdict = "ok" if same and sent == same else "DIFFERS"
                    print("%-8s %s, %s: %d different requests" % (verdict, protocol, kind, len(same)), flush=True)
                    if verdict != "ok":
                        wrong += 1
                        print("    perf_analyzer (exit code %d):\n%s\n%s" % (theirs.returncode, told(sent), "" if sent else theirs.stdout[-800:]))
                        print("    runner (exit code %d):\n%s\n%s" % (ours.returncode, told(same), "" if same else ours.stdout[-800:]))
        finally:
            capture.stop()
            server.stdin.close()
            server.wait()
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
