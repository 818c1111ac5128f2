"""What the public Python client can ask: the same calls over HTTP and gRPC, each a function of the server."""

import json
import queue
import time

import numpy
import tritonclient.grpc
import tritonclient.http
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

MODELS = ["null", "mixed", "unbatched", "sleepy", "scrfd", "arcface"]
ENGINE_TOLERANCE = 1e-3  # of an output's largest value: ONNX Runtime there, rten here
MODULES = {"http": tritonclient.http, "grpc": tritonclient.grpc}
PATIENCE = 10  # seconds for what a server may do after it answered


class Server:
    """A server under test, and the clients connected to it."""

    def __init__(self, http_address, grpc_address):
        self.http_address, self.grpc_address = http_address, grpc_address
        self.clients = {
            "http": tritonclient.http.InferenceServerClient(http_address, concurrency=4),
            "grpc": tritonclient.grpc.InferenceServerClient(grpc_address),
        }

    def address(self, protocol):
        return {"http": self.http_address, "grpc": self.grpc_address}[protocol]


def plain(answer):
    return answer if isinstance(answer, (dict, list)) else {"answer": answer}


def asked(call):
    """The answer, or the error as one."""
    try:
        return plain(call())
    except InferenceServerException as error:
        return {"status": error.status(), "error": error.message()}


def call(protocol, method, *arguments, **options):
    """A call of the client that answers JSON or a truth value."""
    if protocol == "grpc" and method.startswith("get_"):
        options = {**options, "as_json": True}
    return lambda server: asked(lambda: getattr(server.clients[protocol], method)(*arguments, **options))


# --- tensors ---


def null_inputs(batch=1, sides=(2, 3)):
    return {"input.1": numpy.linspace(0, 1, batch * 3 * sides[0] * sides[1], dtype=numpy.float32).reshape(batch, 3, *sides)}


def mixed_inputs(batch=1):
    return {
        "counts": numpy.arange(3 * batch, dtype=numpy.int64).reshape(batch, 3) * -(2**40),
        "halves": numpy.arange(4 * batch, dtype=numpy.float16).reshape(batch, 2, 2) / 8,
        "words": numpy.array([[b"", "\u00e4\u6c34".encode()]] * batch, dtype=numpy.object_),
        "flags": numpy.array([[True, False, False, True]] * batch),
        "pixels": numpy.arange(5 * batch, dtype=numpy.uint8).reshape(batch, 5),
    }


def unbatched_inputs():
    return {"matrix": numpy.arange(6, dtype=numpy.int32).reshape(2, 3) - 3}


def sleepy_inputs(batch=1):
    return {"value": numpy.linspace(-1e-3, 1e9, 4 * batch, dtype=numpy.float32).reshape(batch, 4)}


def image(*shape):
    return {"input.1": numpy.random.default_rng(1).standard_normal((1, *shape), dtype=numpy.float32)}


def tensors(protocol, arrays, as_json=False):
    inputs = []
    for name, array in arrays.items():
        tensor = MODULES[protocol].InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        options = {"binary_data": not as_json or array.dtype == numpy.float16} if protocol == "http" else {}
        tensor.set_data_from_numpy(array, **options)
        inputs.append(tensor)
    return inputs


def wanted(protocol, names, as_json=False):
    if names is None:
        return None
    options = {"binary_data": not as_json} if protocol == "http" else {}
    return [MODULES[protocol].InferRequestedOutput(name, **options) for name in names]


def read(result):
    """All of an answer to infer: the order of its outputs too."""
    response = result.get_response()
    if not isinstance(response, dict):
        response = {
            "model_name": response.model_name,
            "model_version": response.model_version,
            "id": response.id,
            "parameters": sorted(response.parameters),
            "outputs": [{"name": o.name, "datatype": o.datatype, "shape": list(o.shape), "parameters": sorted(o.parameters)} for o in response.outputs],
        }  # fmt: skip
    answer = {key: value for key, value in response.items() if key != "outputs"}
    answer["order"] = [output["name"] for output in response.get("outputs", [])]
    answer["outputs"] = {}
    for output in response.get("outputs", []):
        described = {key: value for key, value in output.items() if key not in ("name", "data")}
        if output["name"] == "summary":  # as long as what it says
            described.pop("parameters", None)
        answer["outputs"][output["name"]] = {**described, "data": result.as_numpy(output["name"])}
    return answer


def infer(protocol, model, arrays, names=None, as_json=False, **options):
    def ask(server):
        inputs, outputs = tensors(protocol, arrays, as_json), wanted(protocol, names, as_json)
        return read(server.clients[protocol].infer(model, inputs, outputs=outputs, **options))

    return lambda server: asked(lambda: ask(server))


def async_infer(protocol, count=4):
    """Requests under way at once; the answers by id."""

    def ask(server):
        client, inputs = server.clients[protocol], tensors(protocol, null_inputs())
        if protocol == "http":
            pending = [client.async_infer("null", inputs, request_id=str(number)) for number in range(count)]
            return [read(request.get_result()) for request in pending]
        answers = queue.Queue()
        for number in range(count):
            client.async_infer("null", inputs, lambda result, error: answers.put((result, error)), request_id=str(number))
        got = [answers.get(timeout=PATIENCE) for _ in range(count)]
        return sorted((read(result) if error is None else {"error": str(error)} for result, error in got), key=lambda answer: answer.get("id"))

    return lambda server: asked(lambda: ask(server))


def stream(server):
    """Requests of one stream, one of them wrong: the answers in the order they come."""
    client, answers = server.clients["grpc"], queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    requests = [("null", null_inputs()), ("sleepy", sleepy_inputs()), ("missing", null_inputs()), ("null", null_inputs(2))]
    got = []
    for number, (model, arrays) in enumerate(requests):
        client.async_stream_infer(model, tensors("grpc", arrays), request_id="s%d" % number)
        result, error = answers.get(timeout=PATIENCE)
        got.append(read(result) if error is None else {"status": error.status(), "error": error.message()})
    client.stop_stream()
    return got


def typed(server):
    """Typed contents, for which the client has no method, over its own stub."""
    answers = {}
    with tritonclient.grpc.grpc.insecure_channel(server.grpc_address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for model, name, datatype, field, shape, values in [
            ("sleepy", "value", "FP32", "fp32_contents", [1, 3], [0.5, -1.25, 1e9]),
            ("unbatched", "matrix", "INT32", "int_contents", [2, 2], [1, -2, 3, 4]),
        ]:
            request = service_pb2.ModelInferRequest(model_name=model, id="typed")
            tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
            getattr(tensor.contents, field)[:] = values
            response = stub.ModelInfer(request, timeout=PATIENCE)
            contents = [bytes(raw) for raw in response.raw_output_contents] if model == "sleepy" else []
            outputs = [[output.name, output.datatype, list(output.shape), output.HasField("contents")] for output in response.outputs]
            answers[model] = {"id": response.id, "outputs": outputs, "raw": contents}
    return answers


# --- statistics ---


def statistics(protocol, model):
    """The counts, and whether the times are as they must be."""

    def ask(server):
        answer = settled(call(protocol, "get_inference_statistics", model), server)
        if "model_stats" not in answer:
            return answer
        for row in answer["model_stats"]:
            sums = row["inference_stats"]
            times = {part: int(sums[part].get("ns", 0)) for part in ("success", "queue", "compute_input", "compute_infer", "compute_output")}
            row["last_inference"] = int(row.get("last_inference", 0)) > 1.5e12  # milliseconds since 1970
            row["times are positive"] = all(value > 0 for value in times.values())
            row["times add up"] = sum(times.values()) - times["success"] <= times["success"]
            counts_only(row)
            row["batch_stats"] = {str(batch.pop("batch_size")): batch for batch in row.get("batch_stats", [])}
        return answer

    return lambda server: asked(lambda: ask(server))


def settled(call, server):
    """Statistics that no longer change: Triton counts a request after it has answered it, sometimes too late for us."""
    before, deadline = call(server), time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        time.sleep(0.25)
        answer = call(server)
        if answer == before:
            return answer
        before = answer
    return before


def counts_only(value):
    if isinstance(value, dict):
        value.pop("ns", None)
        for inner in value.values():
            counts_only(inner)
    elif isinstance(value, list):
        for inner in value:
            counts_only(inner)


# --- loading and unloading ---


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


def index_of_sleepy(server):
    return [row for row in server.clients["http"].get_model_repository_index() if row["name"] == "sleepy"]


def unloaded(protocol):
    """The model `sleepy` goes, which takes Triton a while, and comes back."""

    def ask(server):
        client, answer = server.clients[protocol], {}
        client.unload_model("sleepy")
        until(lambda: index_of_sleepy(server)[0].get("state") == "UNAVAILABLE")
        answer["ready when unloaded"] = client.is_model_ready("sleepy")
        answer["infer when unloaded"] = infer(protocol, "sleepy", sleepy_inputs())(server)
        answer["index when unloaded"] = index_of_sleepy(server)
        answer["metadata when unloaded"] = call(protocol, "get_model_metadata", "sleepy")(server)
        client.load_model("sleepy")
        answer["ready when loaded"] = client.is_model_ready("sleepy")
        answer["infer when loaded"] = infer(protocol, "sleepy", sleepy_inputs())(server)
        answer["statistics begin anew"] = statistics(protocol, "sleepy")(server)
        return answer

    return lambda server: asked(lambda: ask(server))


def loaded_with_config(protocol):
    """The server's own configuration with one change, handed back to it with the request to load."""

    def ask(server):
        client, answer = server.clients[protocol], {}
        config = plain_config(server)
        config["max_batch_size"] = 2
        client.load_model("sleepy", config=json.dumps(config))
        answer["max_batch_size"] = plain_config(server)["max_batch_size"]
        answer["batch 2"] = infer(protocol, "sleepy", sleepy_inputs(2))(server)
        answer["batch 3"] = infer(protocol, "sleepy", sleepy_inputs(3))(server)
        client.load_model("sleepy")
        answer["loaded without"] = plain_config(server)["max_batch_size"]
        return answer

    return lambda server: asked(lambda: ask(server))


def plain_config(server):
    return server.clients["http"].get_model_config("sleepy")


# --- all of it ---


def questions():
    """(question, function of the server, tolerance): before anything wrong was asked."""
    for protocol in ["http", "grpc"]:
        yield protocol + " server live", call(protocol, "is_server_live"), 0
        yield protocol + " server ready", call(protocol, "is_server_ready"), 0
        yield protocol + " server metadata", call(protocol, "get_server_metadata"), 0
        for model, version in [(model, "") for model in MODELS] + [("null", "1"), ("null", "7"), ("missing", ""), ("missing", "1")]:
            named = model + (" version " + version if version else "")
            yield "%s ready: %s" % (protocol, named), call(protocol, "is_model_ready", model, version), 0
            yield "%s metadata of %s" % (protocol, named), call(protocol, "get_model_metadata", model, version), 0
            yield "%s config of %s" % (protocol, named), call(protocol, "get_model_config", model, version), 0
        yield protocol + " repository index", call(protocol, "get_model_repository_index"), 0

        for as_json in [False, True] if protocol == "http" else [False]:
            kind = ", JSON" if as_json else ", binary" if protocol == "http" else ""
            yield "%s infer null%s" % (protocol, kind), infer(protocol, "null", null_inputs(), as_json=as_json), 0
            yield "%s infer null, batch 8%s" % (protocol, kind), infer(protocol, "null", null_inputs(8), as_json=as_json), 0
            yield "%s infer sleepy, batch 3%s" % (protocol, kind), infer(protocol, "sleepy", sleepy_inputs(3), ["echo"], as_json), 0
            yield "%s infer unbatched%s" % (protocol, kind), infer(protocol, "unbatched", unbatched_inputs(), ["sum"], as_json), 0
            echoes = ["pixels_out", "flags_out", "words_out", "counts_out"]
            yield "%s infer mixed, chosen outputs%s" % (protocol, kind), infer(protocol, "mixed", mixed_inputs(2), echoes, as_json), 0
        yield protocol + " infer mixed, all outputs", infer(protocol, "mixed", mixed_inputs(), ["counts_out", "halves_out", "words_out", "flags_out", "pixels_out", "summary"]), 0
        backwards = dict(reversed(list(mixed_inputs().items())))
        yield protocol + " infer mixed, inputs backwards", infer(protocol, "mixed", backwards, ["words_out", "halves_out"]), 0
        yield protocol + " infer null, request id", infer(protocol, "null", null_inputs(), request_id="mine"), 0
        yield protocol + " infer null, version 1", infer(protocol, "null", null_inputs(), model_version="1"), 0
        yield protocol + " infer null, version 7", infer(protocol, "null", null_inputs(), model_version="7"), 0
        yield protocol + " infer null, parameters", infer(protocol, "null", null_inputs(), priority=1, timeout=10**7, parameters={"mine": "x", "more": 2}), 0
        yield protocol + " infer missing", infer(protocol, "missing", null_inputs()), 0
        yield protocol + " async_infer", async_infer(protocol), 0
        if protocol == "grpc":
            yield "grpc stream", lambda server: asked(lambda: stream(server)), 0
            yield "grpc infer unbatched and sleepy, typed contents", typed, 0
        scrfd = ["score_8", "bbox_16", "kps_32"]
        yield protocol + " infer scrfd, chosen outputs", infer(protocol, "scrfd", image(3, 640, 640), scrfd), ENGINE_TOLERANCE
        yield protocol + " infer arcface", infer(protocol, "arcface", image(3, 112, 112), ["683"]), ENGINE_TOLERANCE
    yield "http infer scrfd, all outputs", infer("http", "scrfd", image(3, 640, 640)), ENGINE_TOLERANCE
    yield "grpc infer scrfd, all outputs", infer("grpc", "scrfd", image(3, 640, 640)), ENGINE_TOLERANCE
    for protocol in ["http", "grpc"]:
        for model in MODELS:
            yield "%s statistics of %s" % (protocol, model), statistics(protocol, model), 0
        yield protocol + " statistics of all", lambda server, protocol=protocol: plain([row["name"] for row in call(protocol, "get_inference_statistics")(server)["model_stats"]]), 0


def afterwards():
    """After the wrong requests: what they left, and what changes the servers."""
    yield "http statistics of null, after wrong requests", statistics("http", "null"), 0
    for protocol in ["http", "grpc"]:
        yield protocol + " server live, after wrong requests", call(protocol, "is_server_live"), 0
        yield protocol + " unload and load", unloaded(protocol), 0
        yield protocol + " load with a configuration", loaded_with_config(protocol), 0
    yield "http repository index, afterwards", call("http", "get_model_repository_index"), 0
