"""TensorFlow Serving's gRPC services.

The generated stubs of tensorflow-serving-api import TensorFlow, so this module is imported for gRPC
addresses only.

Source: tensorflow_serving/apis/prediction_service.proto and model_service.proto.
"""

from typing import Any

import grpc
import numpy as np
import urllib3
from tensorflow import make_ndarray
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from captioner.serving.wire import (
    LEAST_ANSWER,
    Output,
    Refused,
    Which,
    check_shapes,
    is_label_unknown,
    late,
    left,
    one_line,
    senseless,
)

# A broken connection is tried again within the pauses between attempts, so that none of these
# fails for nothing.
_FIRST_RECONNECT = 100  # milliseconds
_LAST_RECONNECT = 2000


class Grpc:
    """The model as its gRPC services give it; safe to share between threads.

    Args:
        url: with the scheme grpc or grpcs, a host and a port.
        which: the model.
        max_bytes: int. The largest message, either way.
    """

    def __init__(self, url: urllib3.util.Url, which: Which, max_bytes: int):
        self.which, self.max_bytes = which, max_bytes
        options = [
            ("grpc.max_send_message_length", max_bytes),
            ("grpc.max_receive_message_length", max(max_bytes, LEAST_ANSWER)),
            ("grpc.enable_http_proxy", 0),
            ("grpc.enable_retries", 0),  # the client counts attempts itself
            ("grpc.initial_reconnect_backoff_ms", _FIRST_RECONNECT),
            ("grpc.min_reconnect_backoff_ms", _FIRST_RECONNECT),
            ("grpc.max_reconnect_backoff_ms", _LAST_RECONNECT),
        ]
        if url.scheme == "grpcs":
            channel = grpc.secure_channel(url.netloc, grpc.ssl_channel_credentials(), options)
        else:
            channel = grpc.insecure_channel(url.netloc, options)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(channel)

    def size(self, value: bytes) -> int:
        """Bytes that a value takes in a request, its tag and length included."""
        return len(value) + 8

    def signatures(self, deadline: float) -> dict[str, dict[str, Output]]:
        """The outputs by signature and name."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        answer = self._ask(self._predictions.GetModelMetadata, request, deadline)
        found = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(found)
        return {
            signature: {
                name: Output(output.dtype == types_pb2.DT_STRING, _shape(output))
                for name, output in one.outputs.items()
            }
            for signature, one in found.signature_def.items()
        }

    def states(self, deadline: float) -> list[tuple[int, str, str]]:
        """(version, state, error message) of the model's versions."""
        request = get_model_status_pb2.GetModelStatusRequest()
        answer = self._ask(self._models.GetModelStatus, request, deadline, any_version=True)
        name = get_model_status_pb2.ModelVersionStatus.State.Name
        return [
            (one.version, name(one.state), one.status.error_message)
            for one in answer.model_version_status
        ]

    def predict(
        self,
        signature: str,
        inputs: dict[str, list[bytes]],
        outputs: dict[str, Output],
        deadline: float,
    ) -> dict[str, np.ndarray]:
        """One request."""
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = signature
        for name, values in inputs.items():
            tensor = request.inputs[name]
            tensor.dtype = types_pb2.DT_STRING
            tensor.tensor_shape.dim.add(size=len(values))
            tensor.string_val.extend(values)
        answer = self._ask(self._predictions.Predict, request, deadline)
        if not set(outputs) <= set(answer.outputs):
            raise senseless(self.which)
        tensors = {name: answer.outputs[name] for name in outputs}
        # Before arrays are made: a few bytes can claim any shape.
        shapes = {name: _shape(one) for name, one in tensors.items()}
        check_shapes(self.which, shapes, outputs, len(inputs["image_bytes"]))
        try:
            arrays = {name: make_ndarray(one) for name, one in tensors.items()}
        except (TypeError, ValueError):
            raise senseless(self.which) from None
        if any((one.dtype == object) != outputs[name].text for name, one in arrays.items()):
            raise senseless(self.which)
        return arrays

    def _ask(self, method, request, deadline: float, any_version: bool = False) -> Any:
        """One request, to the model in the version that is meant or in any."""
        which = self.which
        request.model_spec.name = which.name
        if which.label is not None and not any_version:
            request.model_spec.version_label = which.label
        elif which.version is not None and not any_version:
            request.model_spec.version.value = which.version
        try:
            return method(request, timeout=left(deadline, which.url))
        except grpc.RpcError as error:
            code, words = error.code().name, one_line(error.details() or "no reason given")
            if code == "DEADLINE_EXCEEDED":
                raise late(which.url) from error
            # RESOURCE_EXHAUSTED is a message too large, or memory that the same request would
            # exhaust again.
            raise Refused(
                f"{which.url} answered {code}: {words}",
                again=code == "UNAVAILABLE",
                missing=code == "NOT_FOUND" or is_label_unknown(words),
            ) from error


def _shape(tensor) -> tuple[int, ...]:
    """Of a TensorProto, or what a signature says of one."""
    return tuple(dim.size for dim in tensor.tensor_shape.dim)
