"""Makes batches of what many requests ask at once.

One thread calls the model, as one call keeps all processors busy. While it works, images gather in
a queue; when it is done it takes the oldest and all others that want the same signature. So nobody
waits for a batch to fill, and batches grow with the load.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from captioner.web.metrics import Metrics

Row = dict[str, np.ndarray]
Call = Callable[[str, dict[str, list[bytes]]], dict[str, np.ndarray]]


class QueueFull(Exception):
    """There is no room for these images now; `seconds` says when there may be."""

    def __init__(self, seconds: int):
        super().__init__(f"the queue is full, try again in {seconds} s")
        self.seconds = seconds


@dataclass(slots=True, eq=False)
class _Waiting:
    """An image in the queue."""

    signature: str
    image: bytes
    prompt: bytes
    answer: asyncio.Future
    since: float


class Batcher:
    """Calls a model in batches; everything but the call happens on the event loop's thread.

    Args:
        call: gives a signature's outputs, arrays [B, ...] by name, for its inputs, lists of bytes
            [B] by name. Called on one thread, which this object starts.
        metrics: is told of every batch.
        largest: int. Images in a batch at most.
        largest_bytes: int. Bytes of images in a batch at most, but for a single image.
        room: int. Images in the queue at most.
        patience: float. Seconds that a batch waits while other requests are being received. A lone
            request waits for nobody.
    """

    def __init__(
        self,
        call: Call,
        metrics: Metrics,
        *,
        largest: int = 32,
        largest_bytes: int = 64 * 2**20,
        room: int = 256,
        patience: float = 0.01,
    ):
        self._call = call
        self._metrics = metrics
        self._largest = largest
        self._largest_bytes = largest_bytes
        self._room = room
        self._patience = patience
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._coming = 0
        self._closing = False
        self._pace = 0.1  # seconds an image, a guess until the first batch
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        metrics.waiting.set_function(lambda: len(self._queue))
        # A daemon: a model that never answers must not keep the process from ending.
        threading.Thread(target=self._work, name="batches", daemon=True).start()

    @contextlib.contextmanager
    def coming(self) -> Iterator[None]:
        """Announces a request while it is being received: the next batch may wait a moment."""
        self._count_coming(1)
        try:
            yield
        finally:
            self._count_coming(-1)

    def submit(self, signature: str, rows: list[tuple[bytes, bytes]]) -> list[asyncio.Future]:
        """Queues images, all or none.

        Args:
            signature: str. What to call.
            rows: images with their prompts, which `serving_default` does not read.

        Returns:
            A future per image: the model's outputs for it by name, without the batch dimension,
            or what the call raised. A cancelled one leaves the queue.

        Raises:
            QueueFull: there is no room for them.
        """
        now = time.monotonic()
        made = []
        with self._changed:
            if self._closing or len(self._queue) + len(rows) > self._room:
                raise QueueFull(max(1, min(60, round(len(self._queue) * self._pace))))
            for image, prompt in rows:
                answer = self._loop.create_future()
                self._queue.append(_Waiting(signature, image, prompt, answer, now))
                made.append(answer)
            self._changed.notify()
        for answer in made:
            answer.add_done_callback(self._forget)
        return made

    async def close(self) -> None:
        """Takes no more, answers what is queued, and ends the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        await self._ended

    def _count_coming(self, change: int) -> None:
        with self._changed:
            self._coming += change
            self._changed.notify()

    def _forget(self, answer: asyncio.Future) -> None:
        if answer.cancelled():
            with self._changed:
                self._queue = deque(one for one in self._queue if one.answer is not answer)

    def _work(self) -> None:
        while batch := self._next():
            started = time.monotonic()
            inputs = {"image_bytes": [one.image for one in batch]}
            if batch[0].signature != "serving_default":
                inputs["prompt"] = [one.prompt for one in batch]
            try:
                out = self._call(batch[0].signature, inputs)
            except Exception as error:  # of any kind: the thread must live, the requests be told
                out = error
            self._tell(self._deliver, batch, out, started, time.monotonic())
        self._tell(self._ended.set_result, None)

    def _tell(self, *what) -> None:
        # After a forced end nobody listens any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(*what)

    def _next(self) -> list[_Waiting]:
        """The next batch, as soon as there is one; empty when the work is over."""
        with self._changed:
            while True:
                while not self._queue:
                    if self._closing:
                        return []
                    self._changed.wait()
                until = time.monotonic() + self._patience
                while self._coming and 0 < len(self._queue) < self._largest:
                    if not self._changed.wait(until - time.monotonic()):
                        break
                if self._queue:  # or its clients have gone meanwhile
                    return self._take()

    def _take(self) -> list[_Waiting]:
        batch, rest, size = [], deque(), 0
        for one in self._queue:
            fits = not batch or (
                one.signature == batch[0].signature
                and len(batch) < self._largest
                and size + len(one.image) <= self._largest_bytes
            )
            if fits:
                batch.append(one)
                size += len(one.image)
            else:
                rest.append(one)
        self._queue = rest
        return batch

    def _deliver(self, batch: list[_Waiting], out, started: float, ended: float) -> None:
        self._metrics.batch.observe(len(batch))
        self._metrics.model.labels(batch[0].signature).observe(ended - started)
        self._pace += 0.3 * ((ended - started) / len(batch) - self._pace)
        for row, one in enumerate(batch):
            self._metrics.queued.observe(started - one.since)
            if one.answer.done():  # its client has gone
                continue
            if isinstance(out, Exception):
                one.answer.set_exception(out)
            else:
                one.answer.set_result({name: value[row] for name, value in out.items()})
