"""The web page's server for an index of photographs: found by a sentence or by a photograph.

    POST /api/search           a sentence (JSON: text, count) or an image in, the nearest photos out
    GET  /api/photos/{number}  a photo of the index, as a small JPEG
    GET  /api/model            what is served

and what `captioner.web.service` answers for all. Photographs have numbers here, and only those of
the index: no request names a path. A file that is gone, or isn't the one that was indexed any more,
is said to be so and not shown.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from captioner.embedding import Embedder
from captioner.errors import CaptionerError
from captioner.inputs.named import printable
from captioner.photo_index import GONE, Hit, PhotoIndex, state_of
from captioner.reporting import pictures
from captioner.searching import TASK
from captioner.web.answers import READ_BY_THE_GRAPH, sample_image
from captioner.web.service import Limits, Service
from captioner.web.uploads import Refused, Share, query, read_json, read_upload

_TEXT = 2000  # characters
# Photographs found where nothing is said, and the most.
_COUNT, _MOST = 12, 100
_DIGITS = 12  # of a photograph's number


class Finder(Service):
    """An index behind the web, ready once it has been given it and its model.

    Args:
        limits: what it takes on.
        convert: as `captioner.web.app.Service` takes it, for photographs to search by.

    Attributes:
        index: `PhotoIndex`.
    """

    answers = "photos"

    def __init__(self, limits: Limits, convert: Callable[[bytes], bytes] | None = None):
        super().__init__(limits, TASK)
        self._convert = convert
        self._waiting = 0
        # One at a time each bounds their memory, and no search waits for thumbnails.
        self._searching = ThreadPoolExecutor(1, "search")
        self._showing = ThreadPoolExecutor(1, "thumbnails")
        self.metrics.waiting.set_function(lambda: self._waiting)

    async def start(self, model: tuple[PhotoIndex, Embedder]) -> None:
        """Takes what `captioner.searching.open_index` gives, searches it once by each of both, and
        is ready.

        Raises:
            CaptionerError: the model doesn't embed.
        """
        self.index, towers = model
        self.model = towers
        for example in ("a", sample_image()):
            await self._run(self._searching, self._found, example, 1)
        self.metrics.describe(name=self.name, photos=len(self.index))
        self.ready = True

    async def stop(self) -> None:
        """Takes no more."""
        self.ready = False
        self._searching.shutdown(wait=False)
        self._showing.shutdown(wait=False)

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/search", self.search, methods=["POST"]),
            Route("/photos/{number}", self.photo),
        ]

    def says(self) -> dict[str, Any]:
        return {"photos": len(self.index), "most": _MOST}

    async def search(self, request: Request) -> Response:
        """POST /api/search: `photos`, the nearest first, with `number`, `name`, `similarity` (a
        cosine, -1 to 1) and `problem`, None or why it can't be shown; and `error`."""
        begun = time.monotonic()
        self.check_ready()
        with self._memory.share() as share:
            try:
                async with asyncio.timeout(self.limits.receiving):
                    example, count = await self._wish(request, share)
            except TimeoutError:
                raise Refused(408, "the upload took too long", "too_slow") from None
            try:
                photos = await self._run(self._searching, self._found, example, count)
            except CaptionerError as error:
                raise Refused(422, str(error), "unreadable") from None
        self.metrics.requested.observe(time.monotonic() - begun)
        self.metrics.requests.labels("ok").inc()
        return JSONResponse({"photos": photos, "error": None})

    async def photo(self, request: Request) -> Response:
        """GET /api/photos/{number}."""
        self.check_ready()
        number = request.path_params["number"]
        known = None
        if number.isascii() and number.isdigit() and len(number) <= _DIGITS:
            known = self.index.photo(int(number))
        if known is None:
            return self.error(404, f"no photo {printable(number[:40])} in this index")
        shown = await self._run(self._showing, _thumbnail, *known)
        if isinstance(shown, str):
            return self.error(410, shown)
        return Response(shown, media_type="image/jpeg")

    async def _wish(self, request: Request, share: Share) -> tuple[str | bytes, int]:
        """What to search by, a sentence or an image file's contents, and how many."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            fields = query(request, ("count",))
            fields |= await read_json(request, share, ("text", "count"))
            return _sentence(fields.get("text")), _count(fields)
        upload = await read_upload(request, share, self.limits.upload, 1, ("count",))
        return upload.images[0], _count(upload.fields)

    async def _run(self, pool: ThreadPoolExecutor, function: Callable, *arguments) -> Any:
        """What a function gives on a pool's thread."""
        if self._waiting >= self.limits.queue:
            raise Refused(503, "too many searches at once, try again later", "busy", retry=2)
        self._waiting += 1
        try:
            async with asyncio.timeout(self.limits.answering):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(pool, function, *arguments)
        except TimeoutError:
            raise Refused(
                503, "the search took too long, try again later", "too_slow", retry=5
            ) from None
        finally:
            self._waiting -= 1

    def _found(self, example: str | bytes, count: int) -> list[dict[str, Any]]:
        """The photographs nearest to a sentence or an image file's contents, ready for JSON.

        Raises:
            CaptionerError: the image can't be read.
        """
        return [self._row(hit) for hit in self.index.search(self._vector(example), count)]

    def _vector(self, example: str | bytes) -> np.ndarray:
        if isinstance(example, str):
            return self.model.texts([example])[0]
        if self._convert is not None and not example.startswith(READ_BY_THE_GRAPH):
            example = self._convert(example)
        (vector,), (error,) = self.model.images([example])
        if error:
            raise CaptionerError(error)
        return vector

    def _row(self, hit: Hit) -> dict[str, Any]:
        _, state = self.index.photo(hit.key)
        return {
            "number": hit.key,
            "name": printable(os.path.basename(hit.image)),
            "similarity": hit.similarity,
            "problem": _problem(hit.image, state),
        }


def _sentence(text: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        raise Refused(400, "no text: send a sentence that says what the photos show")
    if len(text) > _TEXT:
        raise Refused(400, f"the text is longer than {_TEXT} characters")
    return text.strip().encode("utf-8", "replace").decode()  # half a surrogate is no text


def _count(fields: dict[str, Any]) -> int:
    count = fields.get("count", _COUNT)
    if isinstance(count, str) and count.isascii() and count.isdigit():
        count = int(count[:9])
    if type(count) is not int or not 1 <= count <= _MOST:
        raise Refused(400, f"count: {str(count)[:20]!r}; this server finds 1 to {_MOST} photos")
    return count


def _problem(path: str, state: str) -> str | None:
    """Why a photograph can't be shown; None where it is as it was indexed."""
    now = state_of(path)
    if now == state:
        return None
    if now == GONE:
        return "this photo is gone from where it was indexed"
    return "this photo has changed since it was indexed; build the index again"


def _thumbnail(path: str, state: str) -> bytes | str:
    """A photograph as a small JPEG without metadata, or why it can't be shown."""
    if problem := _problem(path, state):
        return problem
    image = pictures.photo(path)
    if image is None:
        return "this photo can't be shown: it can't be read, or is too large"
    image.info = {}
    return pictures.jpeg(image)
