"""The web page's server: how much it takes, and what it says when something goes wrong."""

import contextlib
import io
import threading

import pytest
from clients import jpeg
from PIL import Image
from web_site import read, serving, until, shared  # noqa: F401 (a fixture)

from captioner.errors import CaptionerError
from captioner.inputs.convert import sendable
from captioner.web.app import Limits

# How much is taken


def test_a_declared_size_beyond_the_limit_is_refused_unread(shared):
    connection = shared.connect()
    with contextlib.closing(connection):
        connection.putrequest("POST", "/api/caption")
        connection.putheader("content-type", "image/jpeg")
        connection.putheader("content-length", "100001")
        connection.endheaders()  # and nothing is sent
        status, answer, _ = read(connection)
    assert status == 413 and answer["error"] == "larger than the limit of 0.0954 MiB"


def test_an_undeclared_size_is_cut_off_at_the_limit(shared):
    before = len(shared.model.calls)

    def chunks():
        for _ in range(30):
            yield b"x" * 10_000

    assert shared.ask(
        "POST", "/api/caption", chunks(), {"content-type": "image/jpeg"}
    )[0] == 413  # fmt: skip
    assert shared.form(("image", b"x" * 100_000))[0] == 413
    assert len(shared.model.calls) == before


def test_the_largest_upload_that_is_allowed_is_taken(shared):
    assert shared.caption(b"x" * 100_000)[0] == 200


def test_too_many_images_or_parts_are_refused(shared):
    status, answer, _ = shared.form(*[("image", b"x")] * 5)
    assert status == 413 and answer["error"] == "more than 4 images in one request"
    status, answer, _ = shared.form(*[("prompt", b"x")] * 100, ("image", b"x"))
    assert status == 413 and answer["error"] == "too many parts in one form"


def test_uploads_share_a_bounded_memory():
    with serving(Limits(uploads=1000)) as site:
        site.model.gate.clear()
        first = threading.Thread(target=site.caption, args=(b"x" * 900,))
        first.start()
        until(lambda: site.model.last[1]["image_bytes"][0][:1] == b"x")
        status, answer, headers = site.caption(b"y" * 900)
        assert status == 503 and "too many uploads" in answer["error"]
        assert int(headers["retry-after"]) > 0
        site.model.gate.set()
        first.join()
        for _ in range(3):  # what was taken, also by the refused, is given back
            assert site.caption(b"z" * 900)[0] == 200


def test_a_full_queue_asks_to_come_back():
    with serving(Limits(queue=2)) as site:
        site.model.gate.clear()
        count = len(site.model.calls)
        threads = [threading.Thread(target=site.caption) for _ in range(3)]
        threads[0].start()
        until(lambda: len(site.model.calls) > count)
        for thread in threads[1:]:
            thread.start()
        until(lambda: site.sample("queue_images") == 2)
        status, answer, headers = site.caption()
        assert status == 503 and "the queue is full" in answer["error"]
        assert 1 <= int(headers["retry-after"]) <= 60
        site.model.gate.set()
        for thread in threads:
            thread.join()
        assert site.caption()[0] == 200
        assert site.sample("requests_total", outcome="busy") == 1


def test_captions_that_take_too_long_are_given_up():
    with serving(Limits(answering=0.1)) as site:
        site.model.gate.clear()
        status, answer, headers = site.caption()
        assert status == 503 and "took too long" in answer["error"] and "retry-after" in headers
        site.model.gate.set()
        until(lambda: site.caption()[0] == 200)


def test_an_upload_that_takes_too_long_is_given_up():
    with serving(Limits(receiving=0.1)) as site:
        connection = site.connect()
        with contextlib.closing(connection):
            connection.putrequest("POST", "/api/caption")
            connection.putheader("content-type", "image/jpeg")
            connection.putheader("content-length", "1000")
            connection.endheaders(b"the beginning")
            status, answer, _ = read(connection)
        assert status == 408 and "took too long" in answer["error"]


def test_a_client_that_has_gone_is_dropped_from_the_queue():
    with serving() as site:
        site.model.gate.clear()
        busy = threading.Thread(target=site.caption, args=(b"busy",))
        busy.start()
        until(lambda: site.model.last[1]["image_bytes"] == [b"busy"])
        connection = site.connect()
        connection.request("POST", "/api/caption", b"gone", {"content-type": "image/jpeg"})
        until(lambda: site.sample("queue_images") == 1)
        connection.close()
        until(lambda: site.sample("queue_images") == 0)
        until(lambda: site.sample("requests_total", outcome="gone") == 1)
        site.model.gate.set()
        busy.join()
        assert site.caption(b"next")[0] == 200
        assert all(b"gone" not in inputs["image_bytes"] for _, inputs in site.model.calls)


def test_many_at_once_are_batched():
    with serving(Limits(batch=8)) as site:
        site.model.gate.clear()
        answers = []
        count = len(site.model.calls)
        threads = [
            threading.Thread(target=lambda: answers.append(site.caption()[0])) for _ in range(17)
        ]
        threads[0].start()
        until(lambda: len(site.model.calls) > count)
        for thread in threads[1:]:
            thread.start()
        until(lambda: site.sample("queue_images") == 16)
        site.model.gate.set()
        for thread in threads:
            thread.join()
        assert answers == [200] * 17
        sizes = [len(inputs["image_bytes"]) for _, inputs in site.model.calls[count:]]
        assert sizes == [1, 8, 8]


# What goes wrong


def test_a_failed_model_is_told_without_its_insides(caplog):
    with serving() as site:
        site.model.error = CaptionerError("nobody answers at http://model:8501")
        status, answer, _ = site.caption()
        assert (status, answer["error"]) == (502, "nobody answers at http://model:8501")
        site.model.error = RuntimeError("/secret/path: out of memory")
        status, answer, headers = site.caption()
        assert status == 500 and "secret" not in answer["error"]
        assert headers["x-content-type-options"] == "nosniff"
        site.model.error = None
        assert site.caption()[0] == 200
        assert site.sample("requests_total", outcome="failed") == 2
    assert "out of memory" in caplog.text  # there the operator finds it


def test_files_of_other_kinds_are_converted():
    def convert(contents):
        if contents == b"broken":
            raise CaptionerError("a damaged WebP image")
        return b"converted"

    with serving(convert=convert) as site:
        status, answer, _ = site.caption(b"RIFF....WEBP")
        assert status == 200 and site.model.last[1]["image_bytes"] == [b"converted"]
        assert site.caption(b"broken")[:2] == (
            422, {"captions": [], "error": "a damaged WebP image"}
        )  # fmt: skip
        photo = jpeg(1)
        site.caption(photo)
        assert site.model.last[1]["image_bytes"] == [photo]  # the graph reads it itself
        _, answer, _ = site.form(("image", b"broken"), ("image", photo))
        assert [one["error"] for one in answer["results"]] == ["a damaged WebP image", None]


@pytest.mark.parametrize("kind", ["WebP", "TIFF"])
def test_what_only_pillow_reads_reaches_the_model_as_png(kind):
    picture = Image.open(io.BytesIO(jpeg(1))).convert("RGB")
    file = io.BytesIO()
    picture.save(file, kind, lossless=True)
    with serving(convert=sendable) as site:
        assert site.caption(file.getvalue(), kind=f"image/{kind.lower()}")[0] == 200
        (sent,) = site.model.last[1]["image_bytes"]
        with Image.open(io.BytesIO(sent)) as image:
            assert image.format == "PNG" and image.tobytes() == picture.tobytes()
