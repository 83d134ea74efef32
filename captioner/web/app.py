"""The web page's server: captions, or answers to questions, for browsers and programs.

    POST /api/caption   images in, captions out; of a model of the task vqa, answers to a question
    GET  /api/model     what is served, for which task, and within which limits
    GET  /healthz       200 while the process answers
    GET  /readyz        200 while it captions, 503 while it loads or ends
    GET  /metrics       Prometheus' text format
    GET  /              the page

Photographs are searched by `captioner.web.finding`.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from captioner.captioning import Captioner, Result, answered
from captioner.errors import CaptionerError
from captioner.web import service
from captioner.web.answers import READ_BY_THE_GRAPH, Wish, answer_of, sample_image
from captioner.web.batching import Batcher, QueueFull
from captioner.web.service import Limits
from captioner.web.uploads import Refused, Upload, read_upload

# The task whose prompts are questions, without which there is nothing to answer.
_QUESTIONS = "vqa"


class Service(service.Service):
    """A captioner behind the web, ready once it has been given its model.

    Args:
        limits: what it takes on.
        convert: makes the contents of a JPEG or PNG file of another kind's (WebP, HEIC, TIFF);
            raises `CaptionerError` where it can't. Defaults to leaving all refusals to the graph.
        min_confidence: float or None. Captions of a lower one are left out, 0 to 1, and prompts
            refused. Defaults to giving all.
        task: str. What the model is for; of vqa, every request needs a question as its prompt.
    """

    answers = "captions"

    def __init__(
        self,
        limits: Limits,
        convert: Callable[[bytes], bytes] | None = None,
        min_confidence: float | None = None,
        task: str = "caption",
    ):
        super().__init__(limits, task)
        self._questions = task == _QUESTIONS
        self._min_confidence = min_confidence
        self._convert = convert
        self._converting = ThreadPoolExecutor(1, "convert")  # one at a time bounds its memory
        self._batcher: Batcher | None = None

    async def start(self, model: Captioner) -> None:
        """Takes a `Captioner`, calls each of its signatures once, and is ready.

        Raises:
            CaptionerError: the model doesn't answer, or can't tell how sure it is and has to.
        """
        if self._min_confidence is not None:
            if self._questions:
                raise CaptionerError(
                    "confidence is known of captions without a prompt, and not of answers: leave "
                    "the least confidence out"
                )
            model.check_confidence(self._min_confidence)
        limits = self.limits
        self._batcher = Batcher(
            model.call,
            self.metrics,
            largest=limits.batch,
            room=limits.queue,
            patience=limits.patience,
        )
        wishes = [Wish(prompt="a"), Wish(prompt="a", attention=True)]
        if not self._questions:
            wishes.insert(0, Wish())
        for wish in wishes:
            rows = self._batcher.submit(wish.signature, [(sample_image(), wish.prompt.encode())])
            await asyncio.gather(*rows)
        self.model = model
        self.metrics.describe(name=self.name, **model.settings)
        self.ready = True

    async def stop(self) -> None:
        """Answers what was taken."""
        self.ready = False
        if self._batcher:
            await self._batcher.close()
        self._converting.shutdown(wait=False)

    async def caption(self, request: Request) -> Response:
        """POST /api/caption."""
        begun = time.monotonic()
        self.check_ready()
        with self._memory.share() as share:
            with self._batcher.coming():
                try:
                    async with asyncio.timeout(self.limits.receiving):
                        upload = await read_upload(
                            request, share, self.limits.upload, self.limits.images
                        )
                except TimeoutError:
                    raise Refused(408, "the upload took too long", "too_slow") from None
            wish = Wish.of(
                upload.fields, self.model.beams, self._min_confidence is None, self._questions
            )
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
            service.log.error("%s", error)
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
        if self._convert is None or contents.startswith(READ_BY_THE_GRAPH):
            return contents
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._converting, self._convert, contents)
        except CaptionerError as error:
            return error

    def routes(self) -> Sequence[BaseRoute]:
        return [Route("/caption", self.caption, methods=["POST"])]

    def says(self) -> dict[str, Any]:
        says: dict[str, Any] = {"beams": self.model.beams}
        if self._min_confidence is not None:
            says["min_confidence"] = self._min_confidence
        return says


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
