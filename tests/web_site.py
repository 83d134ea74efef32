"""The web page's server over real connections, with a model that only pretends: for its tests."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from captioner.captioning import Captioner
from captioner.serving.contract import NOTHING
from captioner.web.app import Limits, Service
from captioner.web.server import bind, run

TOKENS = [b"a", b"snow", b"##man", b"", b""]


class Pretender:
    """Answers every signature at once, or as soon as its gate is open."""

    def __init__(self):
        self.calls: list[tuple[str, dict]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def __call__(self, signature, inputs):
        self.calls.append((signature, inputs))
        assert self.gate.wait(20)
        if self.error:
            raise self.error
        images = inputs["image_bytes"]
        count = len(images)
        bad = [image.startswith(b"bad") for image in images]
        out = {"error": np.array([b"no image" if one else b"" for one in bad], object)}
        if signature != "caption_beams":
            prompts = inputs.get("prompt", [b""] * count)
            texts = [b"" if no else prompt + b" a snowman" for no, prompt in zip(bad, prompts)]
            out["caption"] = np.array([text.strip() for text in texts], object)
            out["log_prob"] = np.where(bad, 0, -2.5).astype(np.float32)
            return out
        captions = [b"a snowman", b"two snowmen", b""]  # the search found no third
        out["captions"] = np.array([captions] * count, object)
        out["log_probs"] = np.array([[-2.5, -3.0, NOTHING]] * count, np.float32)
        out["tokens"] = np.array([[TOKENS, TOKENS, [b""] * 5]] * count, object)
        maps = np.random.default_rng(0).dirichlet(np.ones(6), (count, 3, 5))
        out["attention"] = maps.reshape(count, 3, 5, 2, 3).astype(np.float32)
        return out

    @property
    def last(self) -> tuple[str, dict]:
        return self.calls[-1]


class Site:
    """A server on a thread of its own."""

    def __init__(
        self, limits: Limits, convert, load, more_hosts=(), calibration=None, min_confidence=None,
        make=Service, **options,
    ):  # fmt: skip
        self.model = Pretender()
        if make is Service:
            options |= {"min_confidence": min_confidence}
        self.service = make(limits, convert, **options)
        self.announced = threading.Event()
        self.failure: BaseException | None = None
        self.started = threading.Event()
        bound = bind("127.0.0.1", 0)
        self.port = bound.getsockname()[1]
        settings = {"beams": 3, "max_tokens": 5}
        captioner = Captioner("runs/snow/export/7", self.model, settings, calibration=calibration)

        def start(server):
            self.server = server
            self.started.set()

        def serve():
            try:
                run(
                    self.service, bound, load or (lambda: captioner),
                    lambda url: self.announced.set(), more_hosts=more_hosts, on_start=start,
                )  # fmt: skip
            except BaseException as error:
                self.failure = error

        self.thread = threading.Thread(target=serve)
        self.thread.start()
        assert self.started.wait(20)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def ask(self, method, path, body=None, headers=None) -> tuple[int, dict | str, dict]:
        """Status, body (from JSON where it is) and headers, by lower-case name."""
        connection = self.connect()
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            return read(connection)

    def caption(self, body=b"photo", query="", kind="image/jpeg", **headers):
        headers = {"content-type": kind} | headers
        return self.ask("POST", f"/api/caption{query}", body, headers)

    def form(self, *parts: tuple[str, bytes], **headers):
        body, kind = form(*parts)
        return self.caption(body, kind=kind, **headers)

    def sample(self, name: str, **labels) -> float | None:
        return self.service.metrics.registry.get_sample_value(f"captioner_{name}", labels)


def read(connection: http.client.HTTPConnection):
    answer = connection.getresponse()
    contents = answer.read()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    if headers.get("content-type", "").startswith("application/json"):
        return answer.status, json.loads(contents), headers
    return answer.status, contents.decode(), headers


def form(*parts: tuple[str, bytes]) -> tuple[bytes, str]:
    """multipart/form-data and its content type."""
    body = b""
    for name, value in parts:
        file = '; filename="a.jpg"\r\nContent-Type: image/jpeg' if name == "image" else ""
        body += f'--xyz\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        body += value + b"\r\n"
    return body + b"--xyz--\r\n", "multipart/form-data; boundary=xyz"


@contextlib.contextmanager
def serving(
    limits: Limits = Limits(), convert=None, load=None, ready=False, **options
) -> Iterator[Site]:
    """A site; of a model that `load` gives, only `ready` says that it is waited for."""
    site = Site(limits, convert, load, **options)
    try:
        if load is None or ready:
            # Calling a real model for the first time takes a busy machine its time.
            assert site.announced.wait(300 if ready else 20), site.failure
        yield site
    finally:
        site.model.gate.set()
        site.server.stop()
        site.thread.join(30)
        assert not site.thread.is_alive()


@pytest.fixture(scope="module")
def shared() -> Iterator[Site]:
    """One server for the tests that leave it as it was."""
    with serving(Limits(upload=100_000, images=4)) as site:
        yield site


def until(condition) -> None:
    """Waits for what must come."""
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")
