"""The client for model servers, against a server that speaks both protocols on the loopback."""
# ruff: noqa: F811  (fixtures that are imported)

import base64
import http.client
import io
import json
import threading
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from clients import UNREADABLE, jpeg, png_bomb
from PIL import Image
from serving_fixtures import (  # noqa: F401
    PROMPTS,
    connect,
    local,
    same,
    server,
    serving,
    url,
    way,
)

from captioner.confidence import Calibration
from captioner.errors import CaptionerError
from captioner.serving import rest
from captioner.serving.contract import SIGNATURES

# Answers.


@pytest.mark.parametrize("signature", SIGNATURES)
def test_a_server_answers_as_the_export_does(url, local, signature):
    inputs = {"image_bytes": [jpeg(1), UNREADABLE["text"], jpeg(2), b""]}
    if signature != "serving_default":
        inputs["prompt"] = [prompt.encode() for prompt in PROMPTS]
    model = connect(url)
    same(model.call(signature, inputs), local.call(signature, inputs))
    assert (model.beams, model.settings, model.source) == (3, {"beams": 3, "max_tokens": 10}, url)


def test_captions_with_attention_are_those_of_the_export(url, local, tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(4))
    images = [tmp_path / "a.jpg", jpeg(5), UNREADABLE["truncated"], tmp_path / "none.jpg"]
    images += [png_bomb(), np.zeros((20, 30, 3), np.uint8)]
    prompts = ["", "x", "y", "z", "", "Two Red…"]
    for options in ({}, {"captions": 3}, {"attention": True, "batch_size": 2}):
        found, expected = (one.caption(images, prompts, **options) for one in (connect(url), local))
        for mine, true in zip(found, expected, strict=True):
            assert mine.error == true.error and len(mine.captions) == len(true.captions)
            for one, other in zip(mine.captions, true.captions, strict=True):
                assert (one.text, one.log_prob, one.tokens) == (
                    other.text, other.log_prob, other.tokens
                )  # fmt: skip
                np.testing.assert_array_equal(one.attention, other.attention)
    with pytest.raises(CaptionerError, match="4 captions an image: .* searches 3"):
        connect(url).caption(images[0], captions=4)


def test_captions_have_their_confidence_where_a_calibration_is_given(url, local):
    decode = local.settings
    calibration = Calibration(3.0, 2.0, 50, 0.5, decode, weights="abc")
    result = connect(url, calibration=calibration).caption(jpeg(1), min_confidence=0)
    (caption,) = result.captions
    assert caption.confidence == calibration.confidence(caption.text, caption.log_prob)
    assert connect(url).caption(jpeg(1)).captions[0].confidence is None
    other = Calibration(3.0, 2.0, 50, 0.5, decode | {"max_tokens": 9})
    assert "max_tokens: 9 there, 10 asked" in connect(url, calibration=other).unsure


def test_images_and_prompts_are_sent_byte_for_byte(url, server):
    prompts = [b"\xff\xfe\xe9", b"a\0b", b'"},{', "😀".encode(), b"\xed\xb2\x80"]
    inputs = {"image_bytes": [jpeg(1)] * len(prompts), "prompt": prompts}
    connect(url).call("caption_beams", inputs)
    assert server.inputs == inputs


def test_no_images_need_no_server(url, local, server):
    model = connect(url)
    inputs = {"image_bytes": [], "prompt": []}
    same(model.call("caption_beams", inputs), local.call("caption_beams", inputs))
    assert not server.predictions() and model.caption([]) == []


def test_not_a_number_and_infinity_come_through(server):
    model = connect(server.http_url)
    server.answer(b'{"outputs":{"caption":["a","b"],"log_prob":[NaN,-Infinity],"error":["",""]}}')
    found = model.call("serving_default", {"image_bytes": [b"", b""]})
    np.testing.assert_array_equal(found["log_prob"], np.array([np.nan, -np.inf], np.float32))


def test_an_answer_may_come_in_chunks(server):
    """As gateways send it."""
    model = connect(server.http_url)
    chunks = b'{"outputs":{"caption":["a b"],', b'"log_prob":[-1.5],"error":[""]}}', b""
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    server.answer(body, headers={"Transfer-Encoding": "chunked", "Content-Length": None})
    assert model.caption(jpeg(1)).text == "a b"
    server.answer(body[:-9], headers={"Transfer-Encoding": "chunked", "Content-Length": None})
    assert model.caption(jpeg(1)).text != "a b", "broken off, so asked again"


def test_the_test_server_takes_rows_too(server):
    """The format of most examples, so that the loopback server can stand for the real one."""
    place = urllib.parse.urlsplit(server.http_url).netloc
    connection = http.client.HTTPConnection(place)
    row = {"image_bytes": {"b64": base64.b64encode(jpeg(1)).decode()}, "prompt": "a…"}
    body = json.dumps({"signature_name": "caption_with_prompt", "instances": [row, row]})
    connection.request("POST", "/v1/models/captioner/labels/stable:predict", body)
    rows = json.loads(connection.getresponse().read())["predictions"]
    assert len(rows) == 2 and set(rows[0]) == {"caption", "log_prob", "error"}
    connection.request("POST", "/v1/models/captioner:predict", '{"instances": [1]}')
    assert connection.getresponse().status == 400
    connection.close()


# Files that have to be converted.


@pytest.mark.parametrize("kind", ["webp", "tiff", "heic", "turned"])
def test_files_that_the_graph_does_not_read_are_converted(url, kind, tmp_path):
    upright = Image.open(io.BytesIO(jpeg(6))).convert("RGB")
    path = tmp_path / f"photo.{kind}"
    if kind == "webp":
        upright.save(path, lossless=True)
    elif kind == "tiff":
        upright.save(path)
    elif kind == "heic":
        heif = pytest.importorskip("pillow_heif", reason="the extra heic isn't installed")
        heif.from_pillow(upright).save(path, quality=-1, chroma=444)
    else:
        exif = Image.Exif()
        exif[0x112] = 6
        turned = upright.transpose(Image.Transpose.ROTATE_90)
        path = tmp_path / "photo.jpg"
        turned.save(path, quality=100, subsampling=0, exif=exif)
    model = connect(url)
    found, plain = model.caption([path, jpeg(6)])
    assert found.error is None
    if kind in ("webp", "tiff"):
        # Not to the last bit: some processors round a batch's rows by where they stand.
        assert found.text == plain.text
        assert found.log_prob == pytest.approx(plain.log_prob, rel=1e-6)
    else:
        assert found.log_prob == pytest.approx(plain.log_prob, abs=0.1)


def test_a_file_that_cannot_be_converted_harms_no_neighbour(url, server):
    model = connect(url)
    good, bad, other = model.caption([jpeg(1), UNREADABLE["webp"], jpeg(2)])
    assert bad.error.startswith("damaged WebP") and not bad.captions
    assert [good.text, other.text] == [one.text for one in model.caption([jpeg(1), jpeg(2)])]


def test_pictures_are_made_smaller_where_asked_for(url, server):
    large = jpeg(1, width=1200, height=900)
    for options in ({}, {"longest": 100}):
        connect(url, **options).caption(large)
    in_full, smaller = (one.size for one in server.predictions())
    assert in_full >= len(large) > 2 * smaller


# Many at once.


def test_many_threads_share_a_client(url, server, local):
    model = connect(url)
    server.busy(5)
    jobs = [(seed % 5, seed % 3) for seed in range(64)]
    prompts = ["", "dog", "a man…"]
    kinds = [(seed, prompt) for seed in range(5) for prompt in range(3)]
    expected = {
        one: local.caption(jpeg(one[0]), prompts[one[1]], attention=True).captions[0].text
        for one in kinds
    }
    together = threading.Barrier(16)

    def work(number: int) -> list[bool]:
        together.wait()
        return [
            model.caption(jpeg(seed), prompts[prompt], attention=True).captions[0].text
            == expected[seed, prompt]
            for seed, prompt in jobs[number::16]
        ]

    with ThreadPoolExecutor(16) as pool:
        assert all(all(one) for one in pool.map(work, range(16)))
    assert len(server.predictions()) == 64 + 5


def test_connections_are_kept(server, monkeypatch):
    made = []
    truth = rest.urllib3.HTTPConnectionPool._new_conn
    monkeypatch.setattr(
        rest.urllib3.HTTPConnectionPool, "_new_conn", lambda pool: made.append(1) or truth(pool)
    )
    model = connect(server.http_url)
    for seed in range(4):
        assert model.caption(jpeg(seed)).text
    assert len(made) == 1
