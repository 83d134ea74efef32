"""Reads uploaded images from a request, in memory alone and never more than is allowed.

Starlette's own `request.form()` writes larger files to disk; photos have no business there.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

_FIELDS = ("prompt", "captions", "attention")
_FIELD_BYTES = 8192  # of a prompt, 2,000 characters of any alphabet
_JSON_BYTES = 2**16  # of 2,000 characters, each of them escaped, with much room
_HOW = (
    "send multipart/form-data with the file in the field image, or the file itself with its "
    "content type, such as image/jpeg"
)


class Refused(Exception):
    """A request that is answered with an error.

    Attributes:
        status: int. The HTTP status.
        message: str. One line for the client: what was wrong and what to do.
        outcome: str. Its name in the metrics.
        retry: int or None. Seconds after which to try again.
    """

    def __init__(self, status: int, message: str, outcome: str = "bad_request", retry=None):
        super().__init__(message)
        self.status = status
        self.message = message
        self.outcome = outcome
        self.retry = retry


@dataclass
class Upload:
    """What a request asks: the images' contents, and the fields that came with them."""

    images: list[bytes]
    fields: dict[str, str]


class Memory:
    """Bounds the bytes of all uploads that are held at once.

    Args:
        limit: int. Bytes.
    """

    def __init__(self, limit: int):
        self._left = limit

    @contextlib.contextmanager
    def share(self) -> Iterator["Share"]:
        """What one request holds; given back at the end."""
        mine = Share(self)
        try:
            yield mine
        finally:
            self._left += mine.taken

    def take(self, size: int) -> None:
        """Raises `Refused` when there is none left."""
        if size > self._left:
            raise Refused(503, "too many uploads at once, try again later", "busy", retry=2)
        self._left -= size


@dataclass
class Share:
    """The part of the memory that one request holds."""

    memory: Memory
    taken: int = 0

    def take(self, size: int) -> None:
        """Takes `size` bytes more."""
        self.memory.take(size)
        self.taken += size


async def read_upload(
    request: Request,
    share: Share,
    most_bytes: int,
    most_images: int,
    known: Sequence[str] = _FIELDS,
) -> Upload:
    """Reads a request's images and fields; fields may also stand in the query.

    Args:
        request: multipart/form-data with files in `image`, or an image as the body.
        share: pays for every byte before it is kept.
        most_bytes, most_images: int. Of one request.
        known: fields that there are. Defaults to those of a caption.

    Raises:
        Refused: 400 for a broken form or unknown fields, 413 for too much, 415 for other content
            types, 503 when the memory is used up.
        ClientDisconnect: the client has gone.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    fields = query(request, known)
    if kind == b"multipart/form-data":
        parts = _Parts(options.get(b"boundary", b""), most_images, known)
        async for chunk in _body(request, share, most_bytes):
            parts.write(chunk)
        images, more = parts.finished()
        fields |= more
    elif kind.startswith(b"image/") or kind == b"application/octet-stream":
        chunks = [chunk async for chunk in _body(request, share, most_bytes)]
        images = [b"".join(chunks)]
    else:
        raise Refused(415, _HOW)
    if not images:
        raise Refused(400, f"no image in the request; {_HOW}")
    return Upload(images, fields)


async def _body(request: Request, share: Share, most: int):
    """The body's chunks, as long as there are no more bytes than allowed."""
    too_large = Refused(413, f"larger than the limit of {most / 2**20:.3g} MiB", "too_large")
    # Where the size is declared, nothing of what is too large needs to be sent.
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise too_large
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise too_large
        share.take(len(chunk))
        yield chunk


def query(request: Request, known: Sequence[str]) -> dict[str, str]:
    """The fields that stand in the address.

    Raises:
        Refused: 400, one is unknown or too long.
    """
    return {
        name: _known(name, value, known) for name, value in request.query_params.multi_items()
    }


async def read_json(request: Request, share: Share, known: Sequence[str]) -> dict[str, Any]:
    """Reads a small JSON object, whose values may be of any kind.

    Args:
        request: application/json.
        share: pays for every byte before it is kept.
        known: names that there are.

    Raises:
        Refused: 400 for what is no JSON object, or for unknown names; 413 for too much.
        ClientDisconnect: the client has gone.
    """
    body = b"".join([chunk async for chunk in _body(request, share, _JSON_BYTES)])
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise Refused(400, f"broken JSON: {reason}") from None
    if not isinstance(found, dict):
        raise Refused(400, f"the JSON is no object; send one with {' and '.join(known)}")
    for name in found:
        _known(name, "", known)
    return found


def _known(name: str, value: str, known: Sequence[str]) -> str:
    if name not in known:
        there = ", ".join(dict.fromkeys(("image", *known)))
        raise Refused(400, f"unknown field {name[:40]!r}; there are {there}")
    if len(value) > _FIELD_BYTES:
        raise Refused(400, f"the field {name} is too long")
    return value


class _Parts:
    """Collects the parts of a form as the parser finds them."""

    def __init__(self, boundary: bytes, most_images: int, known: Sequence[str]):
        self._most_images = most_images
        self._known = known
        self._parts = 0
        self._images: list[bytearray] = []
        self._fields: dict[str, bytearray] = {}
        self._whole = False
        names = "part_begin header_begin header_field header_value headers_finished part_data end"
        callbacks = {f"on_{name}": getattr(self, f"_{name}") for name in names.split()}
        if not boundary:
            raise Refused(400, "multipart/form-data without a boundary")
        with self._broken():
            self._parser = MultipartParser(boundary, callbacks)

    def write(self, chunk: bytes) -> None:
        with self._broken():
            self._parser.write(chunk)

    def finished(self) -> tuple[list[bytes], dict[str, str]]:
        """The images and fields of a form that has come to its end."""
        if not self._whole:
            raise Refused(400, "the form breaks off before its end")
        fields = {name: value.decode(errors="replace") for name, value in self._fields.items()}
        return [bytes(image) for image in self._images], fields

    @contextlib.contextmanager
    def _broken(self) -> Iterator[None]:
        try:
            yield
        except FormParserError as error:
            raise Refused(400, f"a broken form: {error}") from error

    def _part_begin(self) -> None:
        # Each part costs time, also an empty one.
        self._parts += 1
        if self._parts > self._most_images + 4 * len(self._known):
            raise Refused(413, "too many parts in one form", "too_large")
        self._headers: dict[bytes, bytearray] = {}

    def _header_begin(self) -> None:
        self._header_name = bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._headers.setdefault(bytes(self._header_name).lower(), bytearray()).extend(
            data[start:end]
        )

    def _headers_finished(self) -> None:
        header = bytes(self._headers.get(b"content-disposition", b""))
        name = parse_options_header(header)[1].get(b"name", b"").decode(errors="replace")
        self._part = bytearray()
        self._is_image = name == "image"
        if not self._is_image:
            _known(name, "", self._known)
            self._fields[name] = self._part
        elif len(self._images) < self._most_images:
            self._images.append(self._part)
        else:
            message = f"more than {self._most_images} images in one request"
            raise Refused(413, message, "too_large")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_image and len(self._part) + end - start > _FIELD_BYTES:
            raise Refused(400, "a field other than image is too long")
        self._part += data[start:end]

    def _end(self) -> None:
        self._whole = True
