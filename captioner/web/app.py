"""The web page's server: captions for browsers and programs, health, metrics.

    POST /api/caption   images in, captions out
    GET  /api/model     what is served and within which limits
    GET  /healthz       200 while the process answers
    GET  /readyz        200 while it captions, 503 while it loads or ends
    GET  /metrics       Prometheus' text format
    GET  /              the page
"""

import asyncio
import logging
import mimetypes
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from captioner.captioning import Captioner, Result, answered
from captioner.errors import CaptionerError
from captioner.web.answers import Wish, answer_of, sample_image
from captioner.web.batching import Batcher, QueueFull
from captioner.web.metrics import CONTENT_TYPE, Metrics
from captioner.web.uploads import Memory, Refused, Upload, read_upload

# Not what the machine believes: with `nosniff`, a module of another type isn't run.
mimetypes.add_type("text/javascript", ".js")
_log = logging.getLogger("captioner.web")

# These the graph reads itself. (JPEG, PNG, GIF, BMP)
_READ_BY_THE_GRAPH = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM")


@dataclass(frozen=True)
class Limits:
    """What a server takes on."""

    upload: int = 32 * 2**20
    """Bytes of one request."""
    images: int = 32
    """Images of one request."""
    uploads: int = 512 * 2**20
    """Bytes of all requests that are held at once."""
    batch: int = 32
    """Images in one call of the model."""
    queue: int = 256
    """Images that wait for their batch."""
    patience: float = 0.01
    """Seconds that a batch waits while other requests are being received."""
    receiving: float = 60.0
    """Seconds for a request to arrive."""
    answering: float = 60.0
    """Seconds from then until its captions."""


class Service:
    """A captioner behind the web, ready once it has been given its model.

    Args:
        limits: what it takes on.
        convert: makes the contents of a JPEG or PNG file of another kind's (WebP, HEIC, TIFF);
            raises `CaptionerError` where it can't. Defaults to leaving all refusals to the graph.
        min_confidence: float or None. Captions of a lower one are left out, 0 to 1, and prompts
            refused. Defaults to giving all.
    """

    def __init__(
        self,
        limits: Limits,
        convert: Callable[[bytes], bytes] | None = None,
        min_confidence: float | None = None,
    ):
        self.limits = limits
        self.metrics = Metrics()
        self.ready = False
        self.model: Captioner | None = None
        self._min_confidence = min_confidence
        self._convert = convert
        self._converting = ThreadPoolExecutor(1, "convert")  # one at a time bounds its memory
        self._memory = Memory(limits.uploads)
        self._batcher: Batcher | None = None

    async def start(self, model: Captioner) -> None:
        """Takes a `Captioner`, calls each of its signatures once, and is ready.

        Raises:
            CaptionerError: the model doesn't answer, or can't tell how sure it is and has to.
        """
        if self._min_confidence is not None:
            model.check_confidence(self._min_confidence)
        limits = self.limits
        self._batcher = Batcher(
            model.call,
            self.metrics,
            largest=limits.batch,
            room=limits.queue,
            patience=limits.patience,
        )
        for wish in (Wish(), Wish(prompt="a"), Wish(captions=1, attention=True)):
            rows = self._batcher.submit(wish.signature, [(sample_image(), wish.prompt.encode())])
            await asyncio.gather(*rows)
        self.model = model
        self.metrics.describe(name=self.name, **model.settings)
        self.ready = True

    @property
    def name(self) -> str:
        """The model's name for people: the end of the path, or the server's address."""
        return "/".join(str(self.model.source).rstrip("/").split("/")[-2:])

    async def stop(self) -> None:
        """Answers what was taken."""
        self.ready = False
        if self._batcher:
            await self._batcher.close()
        self._converting.shutdown(wait=False)

    async def caption(self, request: Request) -> Response:
        """POST /api/caption."""
        begun = time.monotonic()
        if not self.ready:
            raise Refused(503, "the model is not ready, try again later", "busy", retry=5)
        with self._memory.share() as share:
            with self._batcher.coming():
                try:
                    async with asyncio.timeout(self.limits.receiving):
                        upload = await read_upload(
                            request, share, self.limits.upload, self.limits.images
                        )
                except TimeoutError:
                    raise Refused(408, "the upload took too long", "too_slow") from None
            wish = Wish.of(upload.fields, self.model.beams, self._min_confidence is None)
            answers = await self._answers(request, upload, wish)
        self.metrics.requested.observe(time.monotonic() - begun)
        readable = any(answer["error"] is None or "left_out" in answer for answer in answers)
        self.metrics.requests.labels("ok" if readable else "unreadable").inc()
        if len(answers) > 1:
            return JSONResponse({"results": answers, "error": None})
        return JSONResponse(answers[0], status_code=200 if readable else 422)

    async def _answers(self, request: Request, upload: Upload, wish: Wish) -> list[dict]:
        """An answer per image; its work is given up when the client has gone."""
        work = asyncio.create_task(self._work(upload, wish))
        gone = asyncio.create_task(_gone(request))
        try:
            await asyncio.wait(
                {work, gone}, timeout=self.limits.answering, return_when=asyncio.FIRST_COMPLETED
            )
            if work.done():
                return work.result()
            if gone.done():
                raise ClientDisconnect
            raise Refused(503, "the captions took too long, try again later", "too_slow", retry=5)
        except QueueFull as full:
            raise Refused(503, str(full), "busy", retry=full.seconds) from None
        except CaptionerError as error:  # from a model server
            _log.error("%s", error)
            raise Refused(502, str(error), "failed") from error
        finally:
            work.cancel()
            gone.cancel()

    async def _work(self, upload: Upload, wish: Wish) -> list[dict]:
        contents = [await self._readable(image) for image in upload.images]
        prompt = wish.prompt.encode("utf-8", "replace")
        rows = [(one, prompt) for one in contents if isinstance(one, bytes)]
        answers = iter(await asyncio.gather(*self._batcher.submit(wish.signature, rows)))
        made = []
        for one in contents:
            result = Result((), str(one))
            if isinstance(one, bytes):
                result = answered(next(answers), wish.captions, wish.attention)
                result = self.model.judged(result, wish.prompt, self._min_confidence)
            made.append(answer_of(result, wish))
            unable = "silent" if result.silent else "unreadable"
            self.metrics.images.labels(unable if result.error else "captioned").inc()
        return made

    async def _readable(self, contents: bytes) -> bytes | CaptionerError:
        """An image as the graph reads it, or why there is none."""
        if self._convert is None or contents.startswith(_READ_BY_THE_GRAPH):
            return contents
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._converting, self._convert, contents)
        except CaptionerError as error:
            return error

    async def about(self, request: Request) -> Response:
        """GET /api/model."""
        if self.model is None:
            raise Refused(503, "the model is not ready, try again later", "busy", retry=5)
        limits = {"upload_bytes": self.limits.upload, "images": self.limits.images}
        about = {"name": self.name, "beams": self.model.beams, "limits": limits}
        if self._min_confidence is not None:
            about["min_confidence"] = self._min_confidence
        return JSONResponse(about)

    async def health(self, request: Request) -> Response:
        """GET /healthz."""
        return PlainTextResponse("alive\n")

    async def readiness(self, request: Request) -> Response:
        """GET /readyz."""
        if self.ready:
            return PlainTextResponse("ready\n")
        return PlainTextResponse("not ready\n", status_code=503)

    async def figures(self, request: Request) -> Response:
        """GET /metrics."""
        return Response(self.metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def refuse(self, request: Request, error: Refused) -> Response:
        """The answer to a refused request."""
        self.metrics.requests.labels(error.outcome).inc()
        headers = {"retry-after": str(error.retry)} if error.retry else None
        return _error(error.status, error.message, headers)


def application(service: Service) -> Starlette:
    """The routes of a service."""

    async def gone(request: Request, error: ClientDisconnect) -> Response:
        service.metrics.requests.labels("gone").inc()
        return Response(status_code=499)  # nobody reads it

    async def unknown(request: Request, error: HTTPException) -> Response:
        return _error(error.status_code, f"{request.url.path}: {error.detail}", error.headers)

    async def broken(request: Request, error: Exception) -> Response:
        service.metrics.requests.labels("failed").inc()
        return _error(500, "the server failed; its log says more")

    return Starlette(
        routes=[
            Mount("/api", routes=[
                Route("/caption", service.caption, methods=["POST"]),
                Route("/model", service.about),
            ]),
            Route("/healthz", service.health),
            Route("/readyz", service.readiness),
            Route("/metrics", service.figures),
            Mount("/", StaticFiles(packages=[("captioner.web", "page")], html=True)),
        ],
        exception_handlers={
            Refused: service.refuse,
            ClientDisconnect: gone,
            HTTPException: unknown,
            Exception: broken,
        },
    )


def _error(status: int, message: str, headers=None) -> Response:
    return JSONResponse({"captions": [], "error": message}, status_code=status, headers=headers)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
