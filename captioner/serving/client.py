"""A captioner behind a model server: TensorFlow Serving, or whatever speaks its protocols.

    model = connect("http://localhost:8501")        # or grpc://localhost:8500
    model.caption("photo.jpg").text

Legend: B images of a call, K captions, T tokens, H, W rows and columns of the image grid.
"""

import functools
import math
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import urllib3

from captioner.captioning import Captioner
from captioner.confidence import Calibration
from captioner.errors import CaptionerError
from captioner.inputs.convert import sendable
from captioner.serving.contract import SIGNATURES
from captioner.serving.rest import Rest
from captioner.serving.wire import MIB, Output, Refused, Way, Which

_BACKOFF = 0.2  # seconds before the second attempt; twice as long before each further one
_LONGEST_BACKOFF = 5.0
_LONGEST_TIMEOUT = 24 * 3600
_ENVELOPE = 1024  # bytes of a request around its images and prompts
# Values that a captioner may give for an image, so that no server's word makes memory run out. A
# grid of 32 x 32 takes 0.4 million with 10 beams and 40 tokens.
_MOST = 2**20


def connect(
    url: str,
    *,
    model: str = "captioner",
    version: int | None = None,
    label: str | None = None,
    timeout: float = 30.0,
    retries: int = 3,
    max_bytes: int = 64 * MIB,
    longest: int | None = None,
    calibration: Calibration | None = None,
) -> Captioner:
    """A captioner that a model server runs; may be used by many threads at once.

    Files are converted before they are sent where that is needed (`sendable`). A batch that
    makes a larger request than `max_bytes` is sent in parts; an image that is too large by itself
    gets an `error`. Certificates are checked against the system's authorities, or those in the
    files that SSL_CERT_FILE (https) and GRPC_DEFAULT_SSL_ROOTS_FILE_PATH (grpcs) name. Proxies
    that the environment names are not used.

    Args:
        url: str. `http://HOST:8501`, `https://HOST`, `grpc://HOST:8500` or `grpcs://HOST:PORT`;
            for REST, a path that a gateway wants may follow.
        model: str. Its name on the server. Defaults to "captioner".
        version: int or None. Defaults to the newest that the server has.
        label: str or None. A version's label, such as "stable", instead of its number.
        timeout: float. Seconds for a call as a whole, attempts and parts included.
        retries: int. Further attempts when the server can't be reached, is busy or hangs up.
            What it refuses isn't asked again. Defaults to 3.
        max_bytes: int. The largest request, and the largest answer, for which 1 MiB is allowed in
            any case. Defaults to 64 MiB.
        longest: int or None. Pixels; larger pictures are scaled down before they are sent.
            Defaults to sending them as they are.
        calibration: of the version that the server runs, for `confidence`: what
            `captioner.confidence.read` finds in its `assets.extra/captioner.json`. Nobody can tell
            from here whether it is that version's, beyond beams and tokens; so name a version.
            Defaults to none.

    Raises:
        CaptionerError: a wrong address, nobody there, no such model, version or label, one that
            isn't loaded yet, or that is no captioner. Calls raise it when they get no answer in
            time, or none that makes sense.
    """
    if version is not None and label is not None:
        raise CaptionerError("a model has a version or a label, not both: leave one out")
    if not 0 < timeout < _LONGEST_TIMEOUT or retries < 0 or max_bytes <= _ENVELOPE:
        raise CaptionerError(
            f"timeout must be above 0 and below {_LONGEST_TIMEOUT} seconds, retries at least 0, "
            f"max_bytes above {_ENVELOPE}"
        )
    way = _way(url, Which(url, model, version, label), max_bytes)
    remote = _Remote(way, timeout, retries)
    _, beams, tokens = remote.outputs["caption_beams"]["tokens"].shape
    known = calibration.decode if calibration else {}
    settings = {**known, "beams": beams, "max_tokens": tokens}
    prepare = functools.partial(sendable, longest=longest)
    return Captioner(url, remote.call, settings, calibration=calibration, prepare=prepare)


class _Remote:
    """Calls of the model's signatures, in as many requests as they take.

    Attributes:
        outputs: by signature and name, `Output`s.
    """

    def __init__(self, way: Way, timeout: float, retries: int):
        self._way, self._timeout, self._retries = way, timeout, retries
        self.outputs = self._ask(way.signatures, time.monotonic() + timeout)
        if not _is_captioner(self.outputs):
            raise CaptionerError(
                f"{way.which} is no captioner: its signatures are "
                f"{', '.join(sorted(self.outputs)) or 'none'}, those of a captioner "
                f"{', '.join(SIGNATURES)}"
            )

    def call(self, signature: str, inputs: dict[str, list[bytes]]) -> dict[str, np.ndarray]:
        """What the signature gives: arrays [B, ...] of float32 and of bytes (dtype object)."""
        deadline = time.monotonic() + self._timeout
        outputs = self.outputs[signature]
        rows = list(zip(*inputs.values(), strict=True))
        merged = {
            name: np.full((len(rows), *one.shape[1:]), *((b"", object) if one.text else (0, "f4")))
            for name, one in outputs.items()
        }
        for part in self._parts(rows, merged["error"]):
            asked = {name: [values[row] for row in part] for name, values in inputs.items()}
            ask = functools.partial(self._way.predict, signature, asked, outputs)
            for name, values in self._ask(ask, deadline).items():
                merged[name][part] = values
        return merged

    def _parts(self, rows: list[tuple[bytes, ...]], errors: np.ndarray) -> list[list[int]]:
        """Rows by request; of those that fit into none, `errors` says so."""
        most = self._way.max_bytes - _ENVELOPE
        parts: list[list[int]] = [[]]
        used = 0
        for row, values in enumerate(rows):
            size = sum(map(self._way.size, values))
            if size > most:
                errors[row] = (
                    f"too large to be sent: {size / MIB:.1f} MiB, "
                    f"the limit of a request is {self._way.max_bytes / MIB:.1f} MiB"
                ).encode()
                continue
            if used + size > most:
                parts.append([])
                used = 0
            parts[-1].append(row)
            used += size
        return [part for part in parts if part]

    def _ask(self, ask: Callable[[float], Any], deadline: float) -> Any:
        """The answer to `ask(deadline)`, which may take several attempts."""
        attempt = 0
        while True:
            try:
                return ask(deadline)
            except Refused as refused:
                attempt += 1
                # Clients that failed together shouldn't come back together.
                pause = min(_BACKOFF * 2 ** (attempt - 1), _LONGEST_BACKOFF)
                pause = max(pause * random.uniform(0.5, 1), refused.after)
                late = time.monotonic() + pause >= deadline
                if refused.again and attempt <= self._retries and not late:
                    time.sleep(pause)
                    continue
                message = str(refused)
                if refused.missing:
                    message = self._what_is_there(message, deadline)
                elif refused.again and attempt > 1:
                    message += f" ({attempt} attempts)"
                raise CaptionerError(message) from refused

    def _what_is_there(self, message: str, deadline: float) -> str:
        """Why the model isn't there, as far as the server can say."""
        which = self._way.which
        try:
            states = self._way.states(deadline)
        except Refused as refused:
            return f"no model {which.name}: {refused}" if refused.missing else message
        ready = [str(version) for version, state, _ in states if state == "AVAILABLE"]
        if not ready:
            each = [f"version {number} is {state} {why}".strip() for number, state, why in states]
            return f"{which} isn't ready: {', '.join(each)}; try again when it is loaded"
        if which.label is None and which.version is None:
            return message
        wanted = f"label {which.label}" if which.label is not None else f"version {which.version}"
        return f"{which} has no {wanted}; versions there: {', '.join(ready)}"


def _is_captioner(outputs: dict[str, dict[str, Output]]) -> bool:
    """Whether signatures are a captioner's, of known and sensible sizes."""
    if not all("error" in outputs.get(name, ()) for name in SIGNATURES):
        return False
    shapes = [one.shape[1:] for name in SIGNATURES for one in outputs[name].values()]
    if any(min(shape, default=1) < 1 or math.prod(shape) > _MOST for shape in shapes):
        return False
    tokens = outputs["caption_beams"].get("tokens")
    return tokens is not None and len(tokens.shape) == 3


def _way(url: str, which: Which, max_bytes: int) -> Way:
    """The protocol of an address."""
    try:
        parts = urllib3.util.parse_url(url)
    except urllib3.exceptions.LocationParseError:
        parts = urllib3.util.Url()
    advice = "give http://HOST:8501, https://HOST, grpc://HOST:8500 or grpcs://HOST:PORT"
    if parts.scheme not in ("http", "https", "grpc", "grpcs") or not parts.host:
        raise CaptionerError(f"{url!r} is no address of a model server: {advice}")
    if parts.auth or parts.query or parts.fragment or "/v1/models" in (parts.path or ""):
        raise CaptionerError(  # the address itself may hold a password
            f"the address of {parts.host} says more than where the model server is: {advice}"
        )
    if parts.scheme in ("http", "https"):
        return Rest(parts, which, max_bytes)
    if parts.port is None or (parts.path or "/") != "/":
        raise CaptionerError(f"{url} must be a host and a port: {advice}")
    from captioner.serving.rpc import Grpc  # brings TensorFlow

    return Grpc(parts, which, max_bytes)
