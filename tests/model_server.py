"""A model server for tests: TensorFlow Serving's two protocols around an exported SavedModel.

    with serve(tiny_run / "export") as server:
        connect(server.http_url), connect(server.grpc_url)

Real sockets on the loopback and the generated stubs; the REST API follows
model_servers/http_rest_api_util.cc and util/json_tensor.cc of TensorFlow Serving 2.15 to 2.19.
What is served, and the switches that make requests fail: `served_models.ModelServer`.
"""

import base64
import contextlib
import json
import re
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import tensorflow as tf
from google.protobuf import json_format
from served_models import Code, ModelServer, Refused, Request
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

_HTTP = {
    Code.INVALID_ARGUMENT: 400, Code.FAILED_PRECONDITION: 400, Code.NOT_FOUND: 404,
    Code.RESOURCE_EXHAUSTED: 429, Code.UNAVAILABLE: 503, Code.DEADLINE_EXCEEDED: 504,
    Code.INTERNAL: 500, Code.UNIMPLEMENTED: 501,
}  # fmt: skip
_PREDICT = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:predict", re.IGNORECASE
)
_ABOUT = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?(/metadata)?", re.IGNORECASE
)


class _Rest(BaseHTTPRequestHandler):
    """TensorFlow Serving's REST API."""

    protocol_version = "HTTP/1.1"  # connections are kept
    disable_nagle_algorithm = True
    models: ModelServer

    def log_message(self, *_):
        pass

    def do_GET(self):  # noqa: N802
        found = _parts(_ABOUT, self.path)
        what = "metadata" if found and found[3] else "status"
        self._answered(Request("http", what), lambda: self._about(found))

    def do_POST(self):  # noqa: N802
        body = self.rfile.read(int(self.headers["Content-Length"]))
        found = _parts(_PREDICT, self.path)
        request, made = Request("http", "predict", size=len(body)), None
        if found:
            try:
                made = self._read(found, body)
                request = Request(
                    "http", "predict", made[1], made[0], len(made[2]["image_bytes"]), len(body)
                )
            except Refused as refused:
                made = refused
        self._answered(request, lambda: self._predict(made))

    def _answered(self, request: Request, answer):
        fault = self.models.note(request)
        try:
            if fault:
                self._misbehave(*fault)
            else:
                self._send(200, json.dumps(answer(), indent=1).encode())
        except Refused as refused:
            code, message = refused.args
            self._send(_HTTP[code], json.dumps({"error": message}).encode())
        except (BrokenPipeError, ConnectionResetError):  # the client has gone
            self.close_connection = True

    def _send(self, status: int, body: bytes, headers: dict | None = None):
        self.send_response(status)
        lines = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, value in (lines | (headers or {})).items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _misbehave(self, kind, how):
        self.close_connection = True
        if kind == "busy":
            code, retry_after = how
            status = code if isinstance(code, int) else _HTTP[code]
            headers = {"Retry-After": retry_after} if retry_after else {}
            self.close_connection = False
            self._send(status, b'{ "error": "The batch scheduling queue is full" }', headers)
        elif kind == "hang" and how:
            self.send_response(200)
            self.end_headers()
            while not self.models.closing.wait(how):
                self.wfile.write(b" ")
        elif kind == "hang":
            self.models.closing.wait()
        elif kind == "drop" and how:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"outputs": {"caption": ["a d')
        elif kind == "answer":
            self._send(how[2], how[0], how[3])

    def _about(self, found):
        if not found:
            raise Refused(Code.INVALID_ARGUMENT, f"Malformed request: GET {self.path}")
        name, version, label, metadata = found
        version = int(version) if version else None
        if not metadata:
            message = self.models.status(name, version)
            return json_format.MessageToDict(
                message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
        answer = self.models.metadata(name, version, label)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        spec, signatures = (
            json_format.MessageToDict(
                one, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
            for one in (answer.model_spec, signatures)
        )
        return {"model_spec": spec, "metadata": {"signature_def": signatures}}

    def _read(self, found, body: bytes):
        """(version, signature, inputs, whether they came as columns) of a request."""
        name, version, label = found
        try:
            request = json.loads(body)
        except ValueError as error:
            raise Refused(Code.INVALID_ARGUMENT, f"JSON Parse error: {error}") from None
        version = self.models.resolve(name, int(version) if version else None, label)
        signature = request.get("signature_name") or "serving_default"
        names = self.models.inputs_of(version, signature)
        columns = "inputs" in request
        if columns == ("instances" in request):
            raise Refused(Code.INVALID_ARGUMENT, "Missing 'inputs' or 'instances' key")
        if columns:
            given = request["inputs"]
            given = given if isinstance(given, dict) else {names[0]: given}
            missing = [one for one in names if one not in given]
            if missing:
                message = f"Missing named input: {missing[0]} in 'inputs' object."
                raise Refused(Code.INVALID_ARGUMENT, message)
            inputs = {one: [_string(value) for value in given[one]] for one in names}
        else:
            rows = request["instances"]
            named = isinstance(rows[0], dict) and set(rows[0]) != {"b64"}
            rows = rows if named else [{names[0]: row} for row in rows]
            if any(set(row) != set(names) for row in rows):
                message = f"JSON object must only have keys: {','.join(names)}"
                raise Refused(Code.INVALID_ARGUMENT, message)
            inputs = {one: [_string(row[one]) for row in rows] for one in names}
        return version, signature, inputs, columns

    def _predict(self, made):
        if made is None:
            raise Refused(Code.INVALID_ARGUMENT, f"Malformed request: POST {self.path}")
        if isinstance(made, Refused):
            raise made
        version, signature, inputs, columns = made
        outputs = self.models.predict(version, signature, inputs)
        outputs = {key: _plain(value.tolist(), key) for key, value in outputs.items()}
        if columns:
            return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}
        rows = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
        return {"predictions": rows}


def _parts(pattern: re.Pattern, path: str) -> list[str] | None:
    found = pattern.fullmatch(path)
    return found and [urllib.parse.unquote(one or "") for one in found.groups()]


def _string(value) -> bytes:
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"], validate=True)
    if not isinstance(value, str):
        message = f"JSON Value: {value!r} is not of expected type: string"
        raise Refused(Code.INVALID_ARGUMENT, message)
    return value.encode()


def _plain(value, name: str):
    if isinstance(value, list):
        return [_plain(one, name) for one in value]
    if isinstance(value, bytes):
        encoded = name.endswith("_bytes")
        return {"b64": base64.b64encode(value).decode()} if encoded else value.decode()
    return value


class _Service(
    prediction_service_pb2_grpc.PredictionServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
):
    """TensorFlow Serving's gRPC services."""

    def __init__(self, models: ModelServer):
        self.models = models

    def Predict(self, request, context):  # noqa: N802
        spec = request.model_spec
        signature = spec.signature_name or "serving_default"
        inputs = {key: list(value.string_val) for key, value in request.inputs.items()}

        def answer():
            version = self.models.resolve(*_asked(spec))
            outputs = self.models.predict(version, signature, inputs)
            made = predict_pb2.PredictResponse(model_spec=spec)
            made.model_spec.version.value = version
            for key, value in outputs.items():
                made.outputs[key].CopyFrom(tf.make_tensor_proto(value))
            return made

        rows = len(inputs.get("image_bytes", ()))
        version = spec.version.value
        asked = Request("grpc", "predict", signature, version, rows, request.ByteSize())
        return self._answered(asked, context, answer)

    def GetModelMetadata(self, request, context):  # noqa: N802
        asked = _asked(request.model_spec)
        return self._answered(
            Request("grpc", "metadata"), context, lambda: self.models.metadata(*asked)
        )

    def GetModelStatus(self, request, context):  # noqa: N802
        name, version, _ = _asked(request.model_spec)
        return self._answered(
            Request("grpc", "status"), context, lambda: self.models.status(name, version)
        )

    def _answered(self, request: Request, context, answer):
        kind, how = self.models.note(request) or ("", None)
        if kind == "busy":
            context.abort(how[0], "The batch scheduling queue is full")
        elif kind == "hang":
            while context.is_active() and not self.models.closing.wait(0.05):
                time.sleep(0)
            context.abort(Code.CANCELLED, "closing")
        elif kind == "drop":
            context.abort(Code.UNAVAILABLE, "Socket closed")
        elif kind == "answer":
            return how[1]
        try:
            return answer()
        except Refused as refused:
            context.abort(*refused.args)


def _asked(spec) -> tuple[str, int | None, str]:
    version = spec.version.value if spec.HasField("version") else None
    return spec.name, version, spec.version_label


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # many clients at once

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._open: set = set()

    def process_request(self, request, address):
        self._open.add(request)
        super().process_request(request, address)

    def shutdown_request(self, request):
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self):
        super().server_close()
        for request in list(self._open):  # connections that clients keep
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, address):
        """Clients that hang up are part of the tests."""


@contextlib.contextmanager
def serve(
    folder: Path,
    *,
    name: str = "captioner",
    labels: dict[str, int] | None = None,
    loading: set[int] = frozenset(),
    tls: tuple[Path, Path] | None = None,
    ports: tuple[int, int] = (0, 0),
) -> Iterator[ModelServer]:
    """Serves the versions in `folder` over HTTP and gRPC until the block ends.

    `tls` names a key's and a certificate's file; the addresses then begin with https and grpcs.
    `ports` are those for HTTP and gRPC, 0 for any that is free.
    """
    models = ModelServer(Path(folder), name, labels or {}, set(loading))
    http = _Http(("127.0.0.1", ports[0]), type("Rest", (_Rest,), {"models": models}))
    endless = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    remote = grpc.server(ThreadPoolExecutor(40), options=endless)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Service(models), remote)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Service(models), remote)
    s = ""
    if tls:
        s, host = "s", "localhost"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certfile=tls[1], keyfile=tls[0])
        http.socket = context.wrap_socket(http.socket, server_side=True)
        credentials = grpc.ssl_server_credentials([tuple(one.read_bytes() for one in tls)])
        port = remote.add_secure_port(f"127.0.0.1:{ports[1]}", credentials)
    else:
        host = "127.0.0.1"
        port = remote.add_insecure_port(f"127.0.0.1:{ports[1]}")
    models.http_url = f"http{s}://{host}:{http.server_address[1]}"
    models.grpc_url = f"grpc{s}://{host}:{port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    remote.start()
    try:
        yield models
    finally:
        models.closing.set()
        http.shutdown()
        http.server_close()
        remote.stop(0).wait()
