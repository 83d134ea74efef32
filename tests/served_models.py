"""What the loopback model server of the tests serves, whatever the protocol: versions of an
exported SavedModel, in the words and codes of TensorFlow Serving 2.15 to 2.19
(model_servers/get_model_status_impl.cc, model_servers/server_core.cc, core/basic_manager.cc).

`ModelServer.requests` remembers what was asked for, and `inputs` the last of what a model was
given; `busy`, `hang`, `drop` and `answer` make the next requests fail.
"""

import functools
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from clients import loaded
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from captioner.captioning import Captioner

Code = grpc.StatusCode


class Refused(Exception):
    """An answer that is an error: (code, message)."""


@dataclass(frozen=True)
class Request:
    """What a client asked for, whether it got it or not."""

    way: str
    """`http` or `grpc`."""
    what: str
    """`predict`, `metadata` or `status`."""
    signature: str = ""
    version: int = 0
    rows: int = 0
    size: int = 0
    """Bytes of the request's body."""


def _model(folder: Path) -> Captioner:
    """A version, by the name under which the tests have loaded it already."""
    folder = folder.resolve()
    alone = sum(one.name.isdigit() for one in folder.parent.iterdir()) == 1
    return loaded(folder.parent if alone else folder)


@functools.cache
def _signature_def(folder: Path):
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    return saved.meta_graphs[0].signature_def


class ModelServer:
    """The models and the switches; `serve` gives it its two addresses.

    Args:
        folder: holds numbered versions, all of which are served.
        name: the model's.
        labels: the version that each label stands for.
        loading: versions that are there and not yet available.
    """

    http_url: str
    grpc_url: str

    def __init__(self, folder: Path, name: str, labels: dict[str, int], loading: set[int]):
        self.name, self.labels, self.loading = name, labels, loading
        self.versions = {int(one.name): one for one in folder.iterdir() if one.name.isdigit()}
        self.requests: list[Request] = []
        self.inputs: dict[str, list[bytes]] = {}
        self.closing = threading.Event()
        self._faults: deque = deque()

    # The switches.

    def busy(self, times: int = 1, code: Code | int = Code.UNAVAILABLE, retry_after: str = ""):
        """The next requests are refused with a gRPC code, or an HTTP status."""
        self._faults += [("busy", (code, retry_after))] * times

    def hang(self, times: int = 1, dribble: float = 0.0):
        """The next requests get no answer; with `dribble`, a byte of it in so many seconds."""
        self._faults += [("hang", dribble)] * times

    def drop(self, times: int = 1, midway: bool = False):
        """The next requests' connections are closed, before or within the answer."""
        self._faults += [("drop", midway)] * times

    def answer(self, http: bytes = b"", grpc=None, status: int = 200, headers=()):
        """The next request gets this: HTTP a status and body, gRPC a message."""
        self._faults.append(("answer", (http, grpc, status, dict(headers))))

    def reset(self):
        """Forgets requests, and faults that nobody met."""
        self.requests.clear()
        self._faults.clear()

    def predictions(self) -> list[Request]:
        """The requests for captions among all of them."""
        return [one for one in self.requests if one.what == "predict"]

    # What both protocols do.

    def note(self, request: Request):
        """Remembers a request; gives the fault that is in store for it, or None."""
        self.requests.append(request)
        try:
            return self._faults.popleft()
        except IndexError:
            return None

    def resolve(self, name: str, version: int | None, label: str) -> int:
        """The version that is meant."""
        if label:
            if name != self.name or label not in self.labels:
                message = f"Unrecognized servable version label: {label}"
                raise Refused(Code.INVALID_ARGUMENT, message)
            version = self.labels[label]
        there = sorted(set(self.versions) - self.loading) if name == self.name else []
        if version is None and there:
            return there[-1]
        if version not in there:
            asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise Refused(Code.NOT_FOUND, f"Servable not found for request: {asked}")
        return version

    def status(self, name: str, version: int | None):
        """GetModelStatus's answer."""
        if name != self.name:
            message = f"Could not find any versions of model {name}"
            raise Refused(Code.NOT_FOUND, message)
        if version is not None and version not in self.versions:
            message = f"Could not find version {version} of model {name}"
            raise Refused(Code.NOT_FOUND, message)
        answer = get_model_status_pb2.GetModelStatusResponse()
        for one in sorted(self.versions, reverse=True) if version is None else [version]:
            state = "LOADING" if one in self.loading else "AVAILABLE"
            answer.model_version_status.add(version=one, state=state).status.error_message = ""
        return answer

    def metadata(self, name: str, version: int | None, label: str):
        """GetModelMetadata's answer."""
        version = self.resolve(name, version, label)
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.model_spec.name = name
        answer.model_spec.version.value = version
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for key, one in _signature_def(self.versions[version]).items():
            signatures.signature_def[key].CopyFrom(one)
        answer.metadata["signature_def"].Pack(signatures)
        return answer

    def inputs_of(self, version: int, signature: str) -> list[str]:
        """A signature's input names."""
        found = _signature_def(self.versions[version])
        if signature not in found:
            message = f'Serving signature key "{signature}" not found.'
            raise Refused(Code.FAILED_PRECONDITION, message)
        return sorted(found[signature].inputs)

    def predict(self, version: int, signature: str, inputs: dict) -> dict[str, np.ndarray]:
        """What the model says."""
        self.inputs = inputs
        wanted = self.inputs_of(version, signature)
        if sorted(inputs) != wanted:
            message = (
                f"input tensor alias not found in signature: {', '.join(inputs)}. "
                f"Inputs expected to be in the set {{{','.join(wanted)}}}."
            )
            raise Refused(Code.INVALID_ARGUMENT, message)
        try:
            return _model(self.versions[version]).call(signature, inputs)
        except tf.errors.InvalidArgumentError as error:
            raise Refused(Code.INVALID_ARGUMENT, error.message) from None
