"""Requests that are wrong, each in one way: what a server answers is compared, never whether it likes them."""

import copy
import gzip
import http.client
import json

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

NULL = "/v2/models/null/infer"
UNBATCHED = "/v2/models/unbatched/infer"
MIXED = "/v2/models/mixed/infer"
LENGTH = "Inference-Header-Content-Length"


def http_request(address, method, path, body=b"", headers=None):
    """Status and body, over its own connection; the path goes out as it stands."""
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    try:
        answer = connection.getresponse()
        status, content = answer.status, answer.read()
        if status == 200 and content:  # errors are JSON too, which Triton often calls text/plain
            status = "200 %s" % answer.getheader("Content-Type")
    except (OSError, http.client.HTTPException) as error:
        status, content = type(error).__name__, b""
    connection.close()
    try:
        words = json.loads(content).get("error", "")
    except (ValueError, AttributeError):
        words = content.decode("latin-1")[:200]
    return {"status": status, "error": words}


def null_request(**changes):
    """A valid request to `null`, with members of its only input changed; one that is None is left out."""
    tensor = {"name": "input.1", "datatype": "FP32", "shape": [1, 3, 1, 1], "data": [0.5, 1.5, 2.5], **changes}
    return {"inputs": [{key: value for key, value in tensor.items() if value is not None}]}


def binary(shape, size, *, told=None, length=0, extra=b"", **changes):
    """Body and headers of a request with raw data: `size` bytes are named, `told` and `length` falsify what is told."""
    request = null_request(shape=shape, data=None, parameters={"binary_data_size": size}, **changes)
    head = json.dumps(request).encode()
    return head + b"\x3f" * (size if told is None else told) + extra, {LENGTH: str(len(head) + length)}


def http_catalogue():
    """(what is wrong, method, path, body, headers)"""

    def posted(what, body, path=NULL, headers=None):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        return what, "POST", path, body, headers

    def raw(what, *arguments, **changes):
        body, headers = binary(*arguments, **changes)
        return what, "POST", NULL, body, headers

    def with_length(what, value):
        body, headers = binary([1, 3, 1, 1], 12)
        return what, "POST", NULL, body, {LENGTH: value}

    output = {"outputs": [{"name": "nothing"}]}
    words = {"name": "words", "datatype": "BYTES", "shape": [1, 2], "data": ["a", "b"]}
    yield posted("nothing wrong", null_request())
    yield posted("malformed JSON", b'{"inputs": [')
    yield posted("empty body", b"")
    yield posted("not an object", b"[]")
    yield posted("a number", b"1")
    yield posted("trailing comma", b'{"inputs": [],}')
    yield posted("no inputs member", {})
    yield posted("empty inputs", {"inputs": []})
    yield posted("inputs is an object", {"inputs": {}})
    yield posted("inputs is null", {"inputs": None})
    yield posted("input is a number", {"inputs": [1]})
    for member in ["name", "datatype", "shape", "data"]:
        yield posted("no %s" % member, null_request(**{member: None}))
    yield posted("name is a number", null_request(name=7))
    yield posted("datatype is a number", null_request(datatype=7))
    yield posted("shape is a string", null_request(shape="1,3,1,1"))
    yield posted("shape of strings", null_request(shape=["1", "3", "1", "1"]))
    yield posted("shape of fractions", null_request(shape=[1.5, 3, 1, 1]))
    yield posted("data is a number", null_request(data=1))
    yield posted("data of strings", null_request(data=["a", "b", "c"]))
    yield posted("data of whole numbers", null_request(data=[1, 2, 3]))
    yield posted("data of booleans", null_request(data=[True, False, True]))
    yield posted("data nested", null_request(data=[[[[1.0]], [[2.0]], [[3.0]]]]))
    yield posted("data nested otherwise", null_request(data=[[1.0, 2.0], [3.0]]))
    yield posted("data too short", null_request(data=[1.0, 2.0]))
    yield posted("data too long", null_request(data=[1.0, 2.0, 3.0, 4.0]))
    yield posted("unknown datatype", null_request(datatype="FP99"))
    yield posted("datatype in small letters", null_request(datatype="fp32"))
    yield posted("another datatype", null_request(datatype="INT32", data=[1, 2, 3]))
    yield posted("FP16 as JSON", null_request(datatype="FP16"))
    yield posted("unknown input", null_request(name="input.2"))
    yield posted("wrong number of dimensions", null_request(shape=[1, 3]))
    yield posted("wrong size", null_request(shape=[1, 1, 3, 1]))
    yield posted("negative size", null_request(shape=[1, 3, 1, -1]))
    yield posted("batch 0", null_request(shape=[0, 3, 1, 1], data=[]))
    yield posted("batch too large", null_request(shape=[9, 3, 1, 1], data=[0.0] * 27))
    yield posted("inner size 0", null_request(shape=[1, 3, 0, 1], data=[]))
    yield posted("duplicate input", {"inputs": null_request()["inputs"] * 2})
    yield posted("additional input", {"inputs": null_request()["inputs"] + [words]})
    yield posted("unknown output", {**null_request(), "outputs": [{"name": "something"}]})
    yield posted("duplicate output", {**null_request(), "outputs": output["outputs"] * 2})
    yield posted("empty outputs", {**null_request(), "outputs": []})
    yield posted("output without name", {**null_request(), "outputs": [{}]})
    yield posted("outputs is an object", {**null_request(), "outputs": {}})
    yield posted("id is a number", {**null_request(), "id": 7})
    yield posted("parameters is a list", {**null_request(), "parameters": []})
    yield posted("binary_data is a string", {**null_request(), "outputs": [{"name": "nothing", "parameters": {"binary_data": "yes"}}]})
    yield posted("unknown request parameter", {**null_request(), "parameters": {"mine": "x"}})
    yield posted("unknown input parameter", null_request(parameters={"mine": "x"}))
    yield posted("priority is a string", {**null_request(), "parameters": {"priority": "x"}})
    yield posted("unknown member", {**null_request(), "something": {"else": 1}})
    yield posted("some inputs missing", {"inputs": [words]}, MIXED)
    yield posted("shape without batch wrong", {"inputs": [{"name": "matrix", "datatype": "INT32", "shape": [1, 2, 2], "data": [1, 2, 3, 4]}]}, UNBATCHED)
    yield posted("number beyond INT32", {"inputs": [{"name": "matrix", "datatype": "INT32", "shape": [2, 1], "data": [1, 2**40]}]}, UNBATCHED)
    yield posted("fraction as INT32", {"inputs": [{"name": "matrix", "datatype": "INT32", "shape": [2, 1], "data": [1, 2.5]}]}, UNBATCHED)
    yield posted("unknown model", null_request(), "/v2/models/missing/infer")
    yield posted("unknown version", null_request(), "/v2/models/null/versions/7/infer")
    yield posted("version is a word", null_request(), "/v2/models/null/versions/one/infer")
    yield posted("version is negative", null_request(), "/v2/models/null/versions/-1/infer")
    yield posted("version beyond 64 bits", null_request(), "/v2/models/null/versions/99999999999999999999/infer")

    yield raw("raw, nothing wrong", [1, 3, 1, 1], 12)
    yield raw("raw, too few bytes for the shape", [1, 3, 1, 1], 8)
    yield raw("raw, too many bytes for the shape", [1, 3, 1, 1], 16)
    yield raw("raw, fewer bytes sent than named", [1, 3, 1, 1], 12, told=8)
    yield raw("raw, more bytes sent than named", [1, 3, 1, 1], 12, extra=bytes(4))
    yield raw("raw, negative batch", [-1, 3, 1, 1], 12)
    yield raw("raw, another datatype of that size", [1, 3, 1, 1], 12, datatype="INT32")
    yield raw("raw, header length one short", [1, 3, 1, 1], 12, length=-1)
    yield raw("raw, header length one long", [1, 3, 1, 1], 12, length=1)
    yield raw("raw, batch 0", [0, 3, 1, 1], 0)
    yield with_length("header length 0", "0")
    yield with_length("header length negative", "-5")
    yield with_length("header length beyond the body", "100000")
    yield with_length("header length a word", "many")
    yield with_length("header length empty", "")
    request = null_request(parameters={"binary_data_size": 12})
    yield posted("data and binary_data_size", request)
    yield posted("binary_data_size is a string", null_request(data=None, parameters={"binary_data_size": "12"}))
    yield posted("binary_data_size is negative", null_request(data=None, parameters={"binary_data_size": -12}))
    yield posted("raw without the header", binary([1, 3, 1, 1], 12)[0])
    yield posted("unknown Content-Encoding", null_request(), headers={"Content-Encoding": "br"})

    # Triton's raw binary request: no JSON, the only input
    yield posted("no JSON, nothing wrong", bytes(8), "/v2/models/sleepy/infer", {LENGTH: "0"})
    yield posted("no JSON, without batch, nothing wrong", bytes(24), UNBATCHED, {LENGTH: "0"})
    yield posted("no JSON, too few bytes", bytes(4), "/v2/models/arcface/infer", {LENGTH: "0"})
    yield posted("no JSON, several inputs", bytes(4), MIXED, {LENGTH: "0"})
    yield raw("batch 0, of one item's bytes", [0, 3, 1, 1], 12)

    yield posted("not offered, gzip", gzip.compress(json.dumps(null_request()).encode()), headers={"Content-Encoding": "gzip"})
    yield posted("not offered, sequence", {**null_request(), "parameters": {"sequence_id": 5}})
    yield posted("not offered, classification", {**null_request(), "outputs": [{"name": "nothing", "parameters": {"classification": 1}}]})
    yield posted("not offered, shared memory", null_request(data=None, parameters={"shared_memory_region": "x", "shared_memory_byte_size": 12}))
    yield posted("not offered, generate", {}, "/v2/models/null/generate")
    for path in ["systemsharedmemory/status", "cudasharedmemory/status", "trace/setting", "models/null/trace/setting", "logging"]:
        yield "not offered, GET /v2/" + path, "GET", "/v2/" + path, b"", None

    for parameter in ["sequence_id", "timeout", "mine"]:
        for value in [[], {"x": 1}, None, 1.5, -1, True]:
            if (parameter, value) not in [("sequence_id", -1), ("mine", -1)]:
                yield posted("parameter %s is %s" % (parameter, json.dumps(value)), {**null_request(), "parameters": {parameter: value}})

    for method, path in [
        ("GET", "/v2/models/%ff"), ("GET", "/"), ("GET", "/v2/"), ("GET", "/v3"), ("GET", "/v2/nothing"), ("GET", "/v2/models"), ("GET", "/v2/models/"),
        ("POST", "/v2"), ("POST", "/v2/health/live"), ("GET", NULL), ("PUT", NULL), ("DELETE", "/v2/models/null"),
        ("POST", "/v2/models/null"), ("POST", "/v2/models/null/config"), ("POST", "/v2/models/null/stats"),
        ("GET", "/v2/repository/index"), ("GET", "/v2/repository/models/null/load"), ("HEAD", "/v2/health/live"),
        ("GET", "/v2/models/missing"), ("GET", "/v2/models/missing/config"), ("GET", "/v2/models/missing/stats"),
        ("GET", "/v2/models/missing/ready"), ("GET", "/v2/models/null/versions/7"), ("GET", "/v2/models/null/versions/7/config"),
        ("GET", "/v2/models/null/versions/7/stats"), ("GET", "/v2/models/null/versions/7/ready"),
        ("GET", "/v2/models/null/versions/one"), ("GET", "/v2/models/null/versions/01"), ("GET", "/v2/models/null/versions/"),
        ("GET", "/v2/models/null/nothing"), ("GET", "/v2/models/null/"), ("GET", "/v2/models/null/config/"),
        ("GET", "/v2/models/../null"), ("GET", "/v2/models/..%2f..%2fetc"), ("GET", "/v2/models/%6eull"),
        ("GET", "/v2/models/null%00"), ("GET", "/v2/models/nu%ll"), ("GET", "/v2//models/null"), ("GET", "/V2/models/null"),
        ("GET", "/v2/models/null?x=1"), ("GET", "/v2/health/ready?x=1"), ("GET", "/v2/models/null/ready/"),
        ("POST", "/v2/repository/models/missing/load"), ("POST", "/v2/repository/models/..%2fnull/load"),
        ("POST", "/v2/repository/models/missing/unload"), ("POST", "/v2/repository/nothing"),
    ]:  # fmt: skip
        yield "%s %s" % (method, path), method, path, b"", None
    yield "index, malformed JSON", "POST", "/v2/repository/index", b"{", None
    yield "index, ready is a string", "POST", "/v2/repository/index", b'{"ready": "yes"}', None
    yield "load, malformed JSON", "POST", "/v2/repository/models/null/load", b"{", None
    yield "load, unknown parameter", "POST", "/v2/repository/models/null/load", b'{"parameters": {"mine": "x"}}', None
    yield "load, config is no JSON", "POST", "/v2/repository/models/null/load", b'{"parameters": {"config": "x"}}', None
    yield "load, config is a number", "POST", "/v2/repository/models/null/load", b'{"parameters": {"config": 7}}', None


def grpc_request(address, method, request):
    with grpc.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            getattr(stub, method)(request, timeout=20)
            return {"status": "OK", "error": ""}
        except grpc.RpcError as error:
            return {"status": error.code().name, "error": error.details()}


def grpc_null():
    request = service_pb2.ModelInferRequest(model_name="null")
    request.inputs.add(name="input.1", datatype="FP32", shape=[1, 3, 1, 1])
    request.raw_input_contents.append(bytes(12))
    return request


def grpc_catalogue():
    """(what is wrong, rpc, message)"""
    valid = grpc_null()
    typed = copy.deepcopy(valid)
    typed.ClearField("raw_input_contents")
    typed.inputs[0].contents.fp32_contents[:] = [0.5, 1.5, 2.5]

    def changed(what, change, start=valid):
        request = copy.deepcopy(start)
        change(request)
        return what, "ModelInfer", request

    def tensor(what, start=valid, **members):
        def change(request):
            for name, value in members.items():
                if name == "shape":
                    request.inputs[0].shape[:] = value
                elif name == "raw":
                    request.raw_input_contents[:] = value
                else:
                    setattr(request.inputs[0], name, value)

        return changed(what, change, start)

    def contents(what, datatype, field, values):
        def change(request):
            request.inputs[0].datatype = datatype
            request.inputs[0].ClearField("contents")
            getattr(request.inputs[0].contents, field)[:] = values

        return changed(what, change, typed)

    yield "nothing wrong", "ModelInfer", valid
    yield "typed, nothing wrong", "ModelInfer", typed
    yield "empty request", "ModelInfer", service_pb2.ModelInferRequest()
    yield "no inputs", "ModelInfer", service_pb2.ModelInferRequest(model_name="null")
    yield changed("unknown model", lambda request: setattr(request, "model_name", "missing"))
    yield changed("empty model name", lambda request: setattr(request, "model_name", ""))
    for version in ["7", "one", "-1", "-2", "01", "1.5", " 1", "99999999999999999999"]:
        yield changed("version '%s'" % version, lambda request: setattr(request, "model_version", version))
    yield tensor("no name", name="")
    yield tensor("unknown input", name="input.2")
    yield tensor("no datatype", datatype="")
    yield tensor("unknown datatype", datatype="FP99")
    yield tensor("datatype in small letters", datatype="fp32")
    yield tensor("another datatype", datatype="INT32")
    yield tensor("a shorter datatype", datatype="FP16")
    yield tensor("no shape", shape=[])
    yield tensor("wrong number of dimensions", shape=[1, 3])
    yield tensor("wrong size", shape=[1, 1, 3, 1])
    yield tensor("negative size", shape=[1, 3, 1, -1])
    yield tensor("negative batch", shape=[-1, 3, 1, 1])
    yield tensor("batch 0", shape=[0, 3, 1, 1], raw=[b""])
    yield tensor("batch too large", shape=[9, 3, 1, 1], raw=[bytes(9 * 12)])
    yield tensor("inner size 0", shape=[1, 3, 0, 1], raw=[b""])
    yield tensor("too few bytes", raw=[bytes(8)])
    yield tensor("too many bytes", raw=[bytes(16)])
    yield tensor("too few raw contents", raw=[])
    yield tensor("too many raw contents", raw=[bytes(12)] * 2)
    yield tensor("no contents at all, typed", typed, shape=[1, 3, 2, 1])
    yield changed("raw and typed", lambda request: request.raw_input_contents.append(bytes(12)), typed)
    yield changed("duplicate input", lambda request: (request.inputs.append(valid.inputs[0]), request.raw_input_contents.append(bytes(12))))
    yield changed("additional input", lambda request: (request.inputs.add(name="words", datatype="BYTES", shape=[1, 1]), request.raw_input_contents.append(bytes(4))))
    yield changed("unknown output", lambda request: request.outputs.add(name="something"))
    yield changed("output without name", lambda request: request.outputs.add())
    yield changed("duplicate output", lambda request: (request.outputs.add(name="nothing"), request.outputs.add(name="nothing")))
    yield changed("unknown parameter", lambda request: setattr(request.parameters["mine"], "string_param", "x"))
    yield contents("typed, wrong field", "FP32", "fp64_contents", [0.5, 1.5, 2.5])
    yield contents("typed, too few", "FP32", "fp32_contents", [0.5])
    yield contents("typed, another datatype", "INT64", "int64_contents", [1, 2, 3])
    yield contents("typed, FP16", "FP16", "fp32_contents", [0.5, 1.5, 2.5])
    yield contents("typed, beyond INT8", "INT8", "int_contents", [1, 2, 300])

    words = service_pb2.ModelInferRequest(model_name="mixed")
    words.inputs.add(name="words", datatype="BYTES", shape=[1, 2])
    words.raw_input_contents.append(b"\1\0\0\0a\1\0\0\0b")
    yield "some inputs missing", "ModelInfer", words
    matrix = service_pb2.ModelInferRequest(model_name="unbatched")
    matrix.inputs.add(name="matrix", datatype="INT32", shape=[1, 2, 2])
    matrix.raw_input_contents.append(bytes(16))
    yield "shape without batch wrong", "ModelInfer", matrix

    for name, version in [("missing", ""), ("", ""), ("null", "7"), ("null", "one"), ("missing", "1")]:
        for rpc in ["ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"]:
            message = getattr(service_pb2, rpc + "Request")(name=name, version=version)
            yield "model '%s' version '%s'" % (name, version), rpc, message
    yield "missing", "RepositoryModelLoad", service_pb2.RepositoryModelLoadRequest(model_name="missing")
    yield "path trick", "RepositoryModelLoad", service_pb2.RepositoryModelLoadRequest(model_name="../null")
    yield "missing", "RepositoryModelUnload", service_pb2.RepositoryModelUnloadRequest(model_name="missing")
    yield "other repository", "RepositoryIndex", service_pb2.RepositoryIndexRequest(repository_name="missing")
    load = service_pb2.RepositoryModelLoadRequest(model_name="null")
    load.parameters["config"].string_param = "x"
    yield "config is no JSON", "RepositoryModelLoad", load
    load = service_pb2.RepositoryModelLoadRequest(model_name="null")
    load.parameters["mine"].string_param = "x"
    yield "unknown parameter", "RepositoryModelLoad", load
    yield "not offered", "TraceSetting", service_pb2.TraceSettingRequest()
    yield "not offered", "LogSettings", service_pb2.LogSettingsRequest()
    yield "not offered", "SystemSharedMemoryStatus", service_pb2.SystemSharedMemoryStatusRequest()
    yield "not offered", "CudaSharedMemoryStatus", service_pb2.CudaSharedMemoryStatusRequest()
