"""The batches that the web page's server makes of many requests."""

import asyncio
import threading
from collections.abc import Callable

import numpy as np
import pytest

from captioner.web.batching import Batcher, QueueFull
from captioner.web.metrics import Metrics


class Model:
    """Remembers its calls, and answers while its gate is open."""

    def __init__(self):
        self.calls: list[tuple[str, dict]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, signature, inputs):
        self.calls.append((signature, inputs))
        assert self.gate.wait(20)
        if b"explode" in inputs["image_bytes"]:
            raise RuntimeError("out of memory")
        return {"caption": np.array([b"saw " + image for image in inputs["image_bytes"]], object)}

    @property
    def sizes(self) -> list[int]:
        return [len(inputs["image_bytes"]) for _, inputs in self.calls]


def run(scenario: Callable, **options):
    """Runs `scenario(batcher, model)` on an event loop; the model and the metrics at the end."""

    async def main():
        model, metrics = Model(), Metrics()
        model.registry = metrics.registry
        batcher = Batcher(model, metrics, **options)
        try:
            async with asyncio.timeout(20):
                await scenario(batcher, model)
        finally:
            model.gate.set()
            await batcher.close()
        return model, metrics

    return asyncio.run(main())


def rows(*images: bytes) -> list[tuple[bytes, bytes]]:
    return [(image, b"") for image in images]


def numbered(count: int) -> list[tuple[bytes, bytes]]:
    return rows(*(b"%d" % number for number in range(count)))


async def occupy(batcher: Batcher, model: Model) -> asyncio.Future:
    """Keeps the model busy until its gate opens, so that a queue forms."""
    model.gate.clear()
    (busy,) = batcher.submit("serving_default", rows(b"first"))
    while not model.calls:
        await asyncio.sleep(0.001)
    return busy


def test_each_image_gets_its_own_row():
    async def scenario(batcher, model):
        answers = await asyncio.gather(*batcher.submit("serving_default", numbered(20)))
        assert [one["caption"] for one in answers] == [b"saw %d" % n for n in range(20)]

    run(scenario)


def test_what_waits_becomes_one_batch_up_to_the_largest():
    async def scenario(batcher, model):
        busy = await occupy(batcher, model)
        answers = [f for one in numbered(19) for f in batcher.submit("serving_default", [one])]
        model.gate.set()
        await asyncio.gather(busy, *answers)

    model, metrics = run(scenario, largest=8)
    assert model.sizes == [1, 8, 8, 3]
    assert metrics.registry.get_sample_value("captioner_batch_images_sum") == 20
    assert metrics.registry.get_sample_value("captioner_queue_seconds_count") == 20
    served = {"signature": "serving_default"}
    assert metrics.registry.get_sample_value("captioner_model_seconds_count", served) == 4


def test_a_batch_has_one_signature_and_the_oldest_comes_first():
    async def scenario(batcher, model):
        busy = await occupy(batcher, model)
        answers = []
        for number in range(6):
            signature = ("caption_beams", "serving_default")[number % 2]
            answers += batcher.submit(signature, [(b"%d" % number, b"p%d" % number)])
        model.gate.set()
        await asyncio.gather(busy, *answers)

    model, _ = run(scenario)
    assert model.calls[1:] == [
        ("caption_beams", {"image_bytes": [b"0", b"2", b"4"], "prompt": [b"p0", b"p2", b"p4"]}),
        ("serving_default", {"image_bytes": [b"1", b"3", b"5"]}),
    ]


def test_large_files_make_small_batches():
    async def scenario(batcher, model):
        busy = await occupy(batcher, model)
        answers = batcher.submit("serving_default", rows(b"x" * 60, b"y" * 60, b"z" * 300, b"0"))
        model.gate.set()
        await asyncio.gather(busy, *answers)

    model, _ = run(scenario, largest_bytes=150)
    assert model.sizes == [1, 3, 1]  # two of 60 bytes and one of 1, then the large one alone


def test_a_full_queue_refuses_all_of_a_request_and_says_when_to_come_back():
    async def scenario(batcher, model):
        busy = await occupy(batcher, model)
        kept = batcher.submit("serving_default", numbered(3))
        with pytest.raises(QueueFull) as full:
            batcher.submit("serving_default", numbered(3))
        assert 1 <= full.value.seconds <= 60
        kept += batcher.submit("serving_default", numbered(2))  # for these there is room
        model.gate.set()
        assert len(await asyncio.gather(busy, *kept)) == 6

    model, _ = run(scenario, room=5)
    assert model.sizes == [1, 5]


def test_who_has_gone_leaves_the_queue():
    async def scenario(batcher, model):
        busy = await occupy(batcher, model)
        gone = batcher.submit("serving_default", rows(b"a", b"b"))
        stays = batcher.submit("serving_default", rows(b"c"))
        for answer in gone:
            answer.cancel()
        await asyncio.sleep(0)  # callbacks run
        more = batcher.submit("serving_default", rows(b"d", b"e"))  # into the room that they left
        model.gate.set()
        await asyncio.gather(busy, *stays, *more)

    model, _ = run(scenario, room=3)
    assert model.calls[1][1]["image_bytes"] == [b"c", b"d", b"e"]


def test_who_goes_during_the_call_harms_nobody():
    async def scenario(batcher, model):
        model.gate.clear()
        gone, stays = batcher.submit("serving_default", rows(b"gone", b"stays"))
        while not model.calls:
            await asyncio.sleep(0.001)
        gone.cancel()
        model.gate.set()
        (answer,) = batcher.submit("serving_default", rows(b"next"))
        assert (await stays)["caption"] == b"saw stays"
        assert (await answer)["caption"] == b"saw next"

    run(scenario)


def test_a_failed_call_is_told_to_its_images_and_the_next_goes_on():
    async def scenario(batcher, model):
        failed = batcher.submit("serving_default", rows(b"explode", b"x"))
        found = await asyncio.gather(*failed, return_exceptions=True)
        assert [str(one) for one in found] == ["out of memory"] * 2
        (answer,) = batcher.submit("serving_default", rows(b"y"))
        assert (await answer)["caption"] == b"saw y"

    run(scenario)


def test_a_batch_waits_for_a_request_that_is_being_received():
    async def scenario(batcher, model):
        with batcher.coming():
            answers = batcher.submit("serving_default", rows(b"a"))
            await asyncio.sleep(0.05)
            assert not model.calls
            answers += batcher.submit("serving_default", rows(b"b"))
        await asyncio.gather(*answers)

    model, _ = run(scenario, patience=15)
    assert model.sizes == [2]


def test_a_batch_does_not_wait_for_ever():
    async def scenario(batcher, model):
        with batcher.coming():
            await asyncio.gather(*batcher.submit("serving_default", rows(b"a")))

    model, _ = run(scenario, patience=0.01)
    assert model.sizes == [1]


def test_closing_answers_what_was_taken_and_takes_no_more():
    async def scenario(batcher, model):
        busy = await occupy(batcher, model)
        answers = batcher.submit("serving_default", numbered(3))
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            batcher.submit("serving_default", rows(b"late"))
        model.gate.set()
        await closing
        assert busy.done() and all(answer.done() for answer in answers)

    run(scenario)


def test_the_queue_can_be_watched():
    async def scenario(batcher, model):
        await occupy(batcher, model)
        batcher.submit("serving_default", numbered(7))
        assert model.registry.get_sample_value("captioner_queue_images") == 7

    run(scenario)
