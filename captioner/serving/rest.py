"""TensorFlow Serving's REST API.

It goes through urllib3, which pools connections, is safe to share between threads, and comes with
TensorFlow (by way of requests) without needing it: a client that speaks REST starts at once.

Source: https://www.tensorflow.org/tfx/serving/api_rest, and tensorflow_serving/util/json_tensor.cc.
"""

import base64
import dataclasses
import json
import math
import urllib.parse
from http.client import BadStatusLine, RemoteDisconnected
from typing import Any

import numpy as np
import urllib3

from captioner.serving.wire import (
    LEAST_ANSWER,
    MIB,
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

_POOL = 64  # idle connections kept: as many as threads usually ask at once


class Rest:
    """The model as the REST API gives it; safe to share between threads.

    Args:
        url: with the scheme http or https, and the path, if any, before `/v1/models`.
        which: the model.
        max_bytes: int. The largest answer above `wire.LEAST_ANSWER`.
    """

    def __init__(self, url: urllib3.util.Url, which: Which, max_bytes: int):
        self.which, self.max_bytes = which, max_bytes
        self._pool = urllib3.connection_from_url(url._replace(path=None).url, maxsize=_POOL)
        self._base = (url.path or "").rstrip("/")

    def size(self, value: bytes) -> int:
        """Bytes that a value takes in a request."""
        return 4 * math.ceil(len(value) / 3) + len('{"b64":""},')

    def signatures(self, deadline: float) -> dict[str, dict[str, Output]]:
        """The outputs by signature and name."""
        answer = self._ask("GET", f"{_path(self.which)}/metadata", deadline)
        try:
            found = answer["metadata"]["signature_def"]["signature_def"]
            return {
                signature: {
                    name: Output(
                        output["dtype"] == "DT_STRING",
                        tuple(int(one["size"]) for one in output["tensor_shape"].get("dim", ())),
                    )
                    for name, output in one.get("outputs", {}).items()
                }
                for signature, one in found.items()
            }
        except (KeyError, TypeError, AttributeError, ValueError):
            raise Refused(f"{self.which} describes itself in no known way") from None

    def states(self, deadline: float) -> list[tuple[int, str, str]]:
        """(version, state, error message) of the model's versions."""
        every = dataclasses.replace(self.which, version=None, label=None)
        answer = self._ask("GET", _path(every), deadline)
        try:
            return [
                (int(one["version"]), one["state"], one["status"]["error_message"])
                for one in answer["model_version_status"]
            ]
        except (KeyError, TypeError, ValueError):
            raise Refused(f"{self.which} says its state in no known way") from None

    def predict(
        self,
        signature: str,
        inputs: dict[str, list[bytes]],
        outputs: dict[str, Output],
        deadline: float,
    ) -> dict[str, np.ndarray]:
        """One request; inputs go as columns, each value in base64 as any of them may be binary."""
        columns = [
            b'"%s":[%s]' % (
                name.encode(),
                b",".join(b'{"b64":"%s"}' % base64.b64encode(value) for value in values),
            )
            for name, values in inputs.items()
        ]  # fmt: skip
        body = b'{"signature_name":"%s","inputs":{%s}}' % (signature.encode(), b",".join(columns))
        answer = self._ask("POST", f"{_path(self.which)}:predict", deadline, body)
        count = len(inputs["image_bytes"])
        try:
            found = {name: answer["outputs"][name] for name in outputs}
            arrays = {name: _array(one, outputs[name].text) for name, one in found.items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise senseless(self.which) from None
        check_shapes(self.which, {key: one.shape for key, one in arrays.items()}, outputs, count)
        return arrays

    def _ask(self, method: str, path: str, deadline: float, body: bytes | None = None) -> Any:
        """One request; the JSON of its answer."""
        where = self.which.url
        errors = urllib3.exceptions
        try:
            response = self._pool.urlopen(
                method, self._base + path, body, {"Content-Type": "application/json"},
                retries=False, redirect=False, preload_content=False,
                timeout=left(deadline, where),
            )  # fmt: skip
            try:
                contents = self._read(response, deadline)
            except BaseException:
                response.close()  # and its connection, in which the rest of the answer is
                raise
        except errors.NameResolutionError as error:  # which urllib3 counts among timeouts
            raise Refused(f"no host of the name in {where}") from error
        except errors.NewConnectionError as error:
            reason = one_line(str(error).rpartition("] ")[2])
            raise Refused(f"nobody answers at {where}: {reason}", again=True) from error
        except (errors.ConnectTimeoutError, errors.ReadTimeoutError) as error:
            raise late(where) from error
        except errors.SSLError as error:
            raise Refused(f"no secure connection to {where}: {one_line(str(error))}") from error
        except errors.ProtocolError as error:
            cause = error.args[-1]
            if isinstance(cause, BadStatusLine) and not isinstance(cause, RemoteDisconnected):
                raise Refused(f"{where} speaks no HTTP; is it a gRPC port?") from error
            reason = f"the connection to {where} broke off: {one_line(str(cause))}"
            raise Refused(reason, again=True) from error
        except errors.HTTPError as error:
            raise Refused(f"{where} can't be asked: {one_line(str(error))}") from error
        if response.status != 200:
            raise self._refusal(response, contents)
        try:
            return json.loads(contents)
        except (ValueError, RecursionError):
            raise Refused(f"{where} answered with something that isn't JSON") from None

    def _read(self, response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
        """The body, as far as size and time allow."""
        chunks: list[bytes] = []
        size, most = 0, max(self.max_bytes, LEAST_ANSWER)
        while True:
            if size + (response.length_remaining or 0) > most:
                raise Refused(
                    f"the answer from {self.which.url} is larger than {most / MIB:.1f} MiB; "
                    "ask for fewer images at once"
                )
            # The socket's own timeout begins anew with every byte.
            remaining = left(deadline, self.which.url)
            socket = getattr(response.connection, "sock", None)
            if socket is not None:
                socket.settimeout(remaining)
            chunk = response.read1(2**16, decode_content=False)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            size += len(chunk)

    def _refusal(self, response: urllib3.BaseHTTPResponse, contents: bytes) -> Refused:
        status = response.status
        try:
            words = json.loads(contents)["error"]
        except (ValueError, KeyError, TypeError, RecursionError):
            # Also the server's own words, as its way of quoting isn't always JSON's.
            words = contents.decode(errors="replace") or response.reason or "no reason given"
        words = one_line(str(words))
        try:
            header = response.headers.get("Retry-After", "")
            after = urllib3.Retry().parse_retry_after(header)
        except urllib3.exceptions.InvalidHeader:
            after = None
        # 429 is also what TensorFlow Serving says of a request for which memory didn't suffice;
        # only a server that names a time expects to be asked again.
        again = status in (502, 503, 504) or (status == 429 and after is not None)
        return Refused(
            f"{self.which.url} answered {status}: {words}",
            again=again,
            after=after or 0.0,
            missing=status == 404 or is_label_unknown(words),
        )


def _path(which: Which) -> str:
    """The model's, with its version or label."""
    path = f"/v1/models/{urllib.parse.quote(which.name, safe='')}"
    if which.label is not None:
        return f"{path}/labels/{urllib.parse.quote(which.label, safe='')}"
    return path if which.version is None else f"{path}/versions/{which.version}"


def _array(value: Any, text: bool) -> np.ndarray:
    """Nested lists of JSON as an array; raises ValueError, TypeError or AttributeError."""
    if not text:
        return np.asarray(value, np.float32)
    strings = np.asarray(value, object)
    made = np.empty(strings.shape, object)
    made.flat = [one.encode("utf-8", "surrogatepass") for one in strings.flat]
    return made
