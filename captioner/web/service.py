"""What the page's servers share, whatever their model is for: limits, health, refusals, routes."""

import abc
import logging
import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from captioner.web.metrics import CONTENT_TYPE, Metrics
from captioner.web.uploads import Memory, Refused

# Not what the machine believes: with `nosniff`, a module of another type isn't run.
mimetypes.add_type("text/javascript", ".js")
log = logging.getLogger("captioner.web")

_LOADING = "the model is not ready, try again later"
_LOADS = 5  # seconds after which to ask for it again


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
    """Images that wait for their batch; of a search, searches and thumbnails that wait."""
    patience: float = 0.01
    """Seconds that a batch waits while other requests are being received."""
    receiving: float = 60.0
    """Seconds for a request to arrive."""
    answering: float = 60.0
    """Seconds from then until its answer."""


class Service(abc.ABC):
    """Something behind the web, ready once it has been given its model.

    Args:
        limits: what it takes on.
        task: str. What its model is for, as `captioner.tasks` names it; the page goes by it.

    Attributes:
        answers: str. The field of an answer that is empty where there is an error.
        limits, task: as given.
        metrics: `Metrics`.
        ready: bool. Whether it answers.
        model: what it was given, None before.
    """

    answers: str

    def __init__(self, limits: Limits, task: str):
        self.limits = limits
        self.task = task
        self.metrics = Metrics()
        self.ready = False
        self.model: Any = None
        self._memory = Memory(limits.uploads)

    @abc.abstractmethod
    async def start(self, model: Any) -> None:
        """Takes what was loaded, tries it, and is ready."""

    @abc.abstractmethod
    async def stop(self) -> None:
        """Answers what was taken."""

    @abc.abstractmethod
    def routes(self) -> Sequence[BaseRoute]:
        """Those below /api, but for /api/model."""

    @abc.abstractmethod
    def says(self) -> dict[str, Any]:
        """What /api/model says beside the name, the task and the limits."""

    @property
    def name(self) -> str:
        """The model's name for people: the end of the path, or the server's address."""
        return "/".join(str(self.model.source).rstrip("/").split("/")[-2:])

    def check_ready(self) -> None:
        """Raises `Refused` while the model is being loaded."""
        if not self.ready:
            raise Refused(503, _LOADING, "busy", retry=_LOADS)

    async def about(self, request: Request) -> Response:
        """GET /api/model; the task is known before the model is loaded."""
        if self.model is None:
            self.metrics.requests.labels("busy").inc()
            body = {self.answers: [], "error": _LOADING, "task": self.task}
            return JSONResponse(body, 503, {"retry-after": str(_LOADS)})
        limits = {"upload_bytes": self.limits.upload, "images": self.limits.images}
        about = {"name": self.name, "task": self.task, "limits": limits}
        return JSONResponse(about | self.says())

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
        return self.error(error.status, error.message, headers)

    def error(self, status: int, message: str, headers=None) -> Response:
        """An answer without any."""
        body = {self.answers: [], "error": message}
        return JSONResponse(body, status_code=status, headers=headers)


def application(service: Service) -> Starlette:
    """The routes of a service."""

    async def gone(request: Request, error: ClientDisconnect) -> Response:
        service.metrics.requests.labels("gone").inc()
        return Response(status_code=499)  # nobody reads it

    async def unknown(request: Request, error: HTTPException) -> Response:
        message = f"{request.url.path}: {error.detail}"
        return service.error(error.status_code, message, error.headers)

    async def broken(request: Request, error: Exception) -> Response:
        service.metrics.requests.labels("failed").inc()
        return service.error(500, "the server failed; its log says more")

    return Starlette(
        routes=[
            Mount("/api", routes=[*service.routes(), Route("/model", service.about)]),
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
