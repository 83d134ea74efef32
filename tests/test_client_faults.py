"""The client for model servers where something goes wrong: attempts, deadlines, sizes, rubbish."""
# ruff: noqa: F811  (fixtures that are imported)

import json

import numpy as np
import pytest
from clients import UNREADABLE, jpeg
from model_server import Code, serve
from serving_fixtures import (  # noqa: F401
    connect,
    local,
    pauses,
    server,
    serving,
    url,
    way,
)
from tensorflow_serving.apis import predict_pb2

from captioner.errors import CaptionerError

# Attempts.


def test_a_busy_server_is_asked_again(url, server, local, pauses):
    model = connect(url)
    server.busy(3)
    assert model.caption(jpeg(1)).text == local.caption(jpeg(1)).text
    assert len(server.predictions()) == 4
    assert [0.1 <= pauses[0] <= 0.2, 0.2 <= pauses[1] <= 0.4, 0.4 <= pauses[2] <= 0.8] == [True] * 3


def test_attempts_end(url, server, pauses):
    model = connect(url, retries=2)
    server.busy(3)
    with pytest.raises(CaptionerError, match=r"queue is full \(3 attempts\)"):
        model.caption(jpeg(1))
    assert len(server.predictions()) == 3 and len(pauses) == 2
    server.busy(1)
    with pytest.raises(CaptionerError, match="queue is full$"):
        connect(url, retries=0)
    assert len(pauses) == 2


def test_connecting_takes_several_attempts_too(url, server, pauses):
    server.busy(2)
    assert connect(url).beams == 3 and len(server.requests) == 3


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED, Code.INTERNAL])
def test_what_a_server_refuses_is_not_asked_again(url, server, pauses, code):
    model = connect(url)
    server.busy(1, code)
    with pytest.raises(CaptionerError, match="queue is full$") as caught:
        model.caption(jpeg(1))
    assert "\n" not in str(caught.value) and url in str(caught.value)
    assert len(server.predictions()) == 1 and not pauses


def test_which_http_statuses_are_asked_again(server, pauses):
    model = connect(server.http_url, retries=1)
    for status, after, attempts in (
        (502, "", 2), (503, "", 2), (504, "", 2), (429, "1", 2), (429, "", 1), (429, "soon", 1),
        (400, "", 1), (401, "", 1), (413, "", 1), (500, "", 1), (501, "", 1), (301, "", 1),
    ):  # fmt: skip
        server.reset()
        server.busy(1, status, after)
        if attempts == 2:
            model.caption(jpeg(1))
        else:
            with pytest.raises(CaptionerError, match=f"answered {status}: "):
                model.caption(jpeg(1))
        assert len(server.predictions()) == attempts, (status, after)


def test_retry_after_is_heeded_as_long_as_there_is_time(server, pauses):
    model = connect(server.http_url, timeout=20)
    server.busy(1, 503, "7")
    model.caption(jpeg(1))
    assert pauses == [7.0]
    server.reset()
    server.busy(1, 503, "60")
    with pytest.raises(CaptionerError, match="answered 503"):
        model.caption(jpeg(1))
    assert pauses == [7.0] and len(server.predictions()) == 1


@pytest.mark.parametrize("midway", [False, True])
def test_a_dropped_connection_is_made_again(url, server, local, pauses, midway):
    model = connect(url)
    server.drop(2, midway)
    assert model.caption(jpeg(1)).text == local.caption(jpeg(1)).text
    assert len(server.predictions()) == 3
    server.drop(4, midway)
    with pytest.raises(CaptionerError, match=r"\(4 attempts\)"):
        model.caption(jpeg(1))


def test_a_server_that_comes_back_is_found_again(tiny_run, way):
    """Connections to one that has gone are worth nothing, and new ones are made."""
    with serve(tiny_run / "export") as server:
        url = server.http_url if way == "http" else server.grpc_url
        ports = tuple(int(one.rpartition(":")[2]) for one in (server.http_url, server.grpc_url))
        model, patient = connect(url, retries=0), connect(url)
        assert model.caption(jpeg(1)).text == patient.caption(jpeg(1)).text
    with pytest.raises(CaptionerError, match=r"nobody answers|broke off|UNAVAILABLE"):
        model.caption(jpeg(1))
    with serve(tiny_run / "export", ports=ports):
        assert patient.caption(jpeg(1)).text


def test_a_deadline_covers_everything(url, server):
    model = connect(url, timeout=2)
    server.hang()
    with pytest.raises(CaptionerError, match=f"no answer from {url} in time"):
        model.caption(jpeg(1))
    assert len(server.predictions()) == 1
    server.busy(99)
    with pytest.raises(CaptionerError, match="queue is full"):
        connect(url, timeout=2, retries=99)
    assert len(server.requests) < 20


def test_a_server_that_dribbles_meets_the_deadline(server):
    model = connect(server.http_url, timeout=2)
    server.hang(dribble=0.05)
    with pytest.raises(CaptionerError, match="in time"):
        model.caption(jpeg(1))
    assert model.caption(jpeg(1)).text, "the connection isn't used again"


# Sizes.


def test_large_batches_are_sent_in_parts(url, server, local):
    images = [jpeg(seed) for seed in range(7)]
    images.insert(3, UNREADABLE["text"])
    prompts = [f"{number}…" for number in range(8)]
    limit = 1024 + 2 * 4 * max(map(len, images)) // 3
    model = connect(url, max_bytes=limit)
    inputs = {"image_bytes": images, "prompt": [one.encode() for one in prompts]}
    same_captions = model.call("caption_with_prompt", inputs)["caption"]
    np.testing.assert_array_equal(
        same_captions, local.call("caption_with_prompt", inputs)["caption"]
    )
    parts = server.predictions()
    assert 2 < len(parts) < 8 and sum(one.rows for one in parts) == 8
    assert all(one.size <= limit for one in parts)


def test_as_much_is_sent_at_once_as_fits(url, way, server):
    image = jpeg(1)
    each = 4 * -(-len(image) // 3) + 11 if way == "http" else len(image) + 8
    for count in (1, 50):
        server.reset()
        limit = 1024 + count * each
        connect(url, max_bytes=limit).caption([image] * count, batch_size=64)
        (request,) = server.predictions()
        assert request.rows == count and limit - 1024 - 8 * count < request.size <= limit
    server.reset()
    connect(url, max_bytes=limit - 1).caption([image] * 50, batch_size=64)
    assert [one.rows for one in server.predictions()] == [49, 1]


def test_an_image_too_large_to_send_harms_no_neighbour(url, server):
    large = jpeg(1, width=400, height=300, comment=b"x" * 40_000)
    model = connect(url, max_bytes=40_000)
    images = [jpeg(1), large, jpeg(2)]
    for options in ({}, {"captions": 2, "attention": True}):
        first, refused, last = model.caption(images, **options)
        assert refused.error.startswith("too large to be sent") and not refused.captions
        assert first.text and last.text
    server.reset()
    assert model.caption(large, captions=2).error and not server.predictions()


def test_an_answer_too_large_is_refused(url, server):
    model = connect(url, max_bytes=2**21)
    outputs = predict_pb2.PredictResponse()
    outputs.outputs["caption"].string_val.append(bytes(2**21))
    for headers in ((), {"Content-Length": None}):
        server.answer(bytes(2**21 + 1), outputs, headers=headers)
        with pytest.raises(CaptionerError, match=r"larger than (2.0 MiB|max)"):
            model.caption(jpeg(1))
    assert model.caption(jpeg(1)).text


# Answers that are none.


RUBBISH = [
    b"", b"<html>hello</html>", b"[]", b"null", b'{"outputs": 3}', b'{"outputs": {"caption": []}}',
    b'{"outputs":{"caption":["a"],"log_prob":["x"],"error":[""]}}',
    b'{"outputs":{"caption":["a", "b"],"log_prob":[1, 2],"error":["", ""]}}',
    b'{"outputs":{"caption":[3],"log_prob":[1],"error":[""]}}',
    b'{"outputs":{"caption":[["a"]],"log_prob":[1],"error":[""]}}',
    b"[" * 100_000, b'{"outputs":{"caption":["\xff"]}}', b"9" * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("body", RUBBISH)
def test_rubbish_is_an_error_of_one_line(server, body):
    model = connect(server.http_url)
    server.reset()
    server.answer(body)
    with pytest.raises(CaptionerError) as caught:
        model.caption(jpeg(1))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert len(server.predictions()) == 1


def test_rubbish_by_grpc_is_an_error_too(server):
    model = connect(server.grpc_url)

    def answered(**tensors):
        made = predict_pb2.PredictResponse()
        for name, (dtype, shape, values) in tensors.items():
            tensor = made.outputs[name]
            tensor.dtype = dtype
            for size in shape:
                tensor.tensor_shape.dim.add(size=size)
            (tensor.string_val if dtype == 7 else tensor.float_val).extend(values)
        server.answer(grpc=made)
        with pytest.raises(CaptionerError) as caught:
            model.caption(jpeg(1))
        return str(caught.value)

    text, number = (7, [1], [b"a"]), (1, [1], [0.5])
    assert "holds no captions" in answered()
    assert "holds no captions" in answered(caption=text, log_prob=number)
    assert "holds no captions" in answered(caption=number, log_prob=number, error=text)
    assert "holds no captions" in answered(caption=text, log_prob=(1, [1], [1, 2, 3]), error=text)
    huge = (7, [10**9], [b"a"])
    assert "shape [1000000000] instead of [1]" in answered(
        caption=huge, log_prob=number, error=text
    )


def test_a_refusal_that_is_not_json_is_shown_in_one_line(server):
    model = connect(server.http_url)
    for body, words in (
        (b'{ "error": "can\\\'t\\303\\251 do" }', "can"),  # as older servers quote
        (b"<html>\n<h1>Bad\x07 Gateway</h1>\n" + b"x" * 9999, "<h1>Bad Gateway</h1> xxx"),
        (b"", "answered 400: Bad Request"),
        (b'{"error": ["a", 1]}', "a"),
    ):
        server.answer(body, status=400)
        with pytest.raises(CaptionerError) as caught:
            model.caption(jpeg(1))
        message = str(caught.value)
        assert words in message and message.isprintable() and len(message) < 400


def test_another_model_under_the_same_name_is_noticed(server):
    model = connect(server.http_url)
    outputs = {"captions": [["a"]], "log_probs": [[-1.0]], "tokens": [[["a"]]], "error": [""]}
    outputs["attention"] = [[[[[1.0]]]]]
    server.answer(json.dumps({"outputs": outputs}).encode())
    with pytest.raises(CaptionerError, match="connect again"):
        model.caption(jpeg(1), captions=2)
