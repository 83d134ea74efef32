"""What a client of model servers is told to connect to: addresses, models, versions, labels."""
# ruff: noqa: F811  (fixtures that are imported)

import pytest
import tensorflow as tf
from clients import jpeg
from model_server import serve
from serving_fixtures import (  # noqa: F401
    connect,
    pauses,
    server,
    serving,
    way,
)

from captioner.errors import CaptionerError
from captioner.serving import client, wire
from captioner.serving.contract import SIGNATURES


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "no address of a model server"),
        ("localhost:8501", "no address of a model server"),
        ("ftp://localhost", "no address of a model server"),
        ("http://", "no address of a model server"),
        ("http://[::1", "no address of a model server"),
        ("grpc://localhost", "a host and a port"),
        ("grpc://localhost:1/path", "a host and a port"),
        ("http://me:secret@localhost:1", "says more"),
        ("http://localhost:1?a=b", "says more"),
        ("http://localhost:1/v1/models/captioner:predict", "says more"),
    ],
)
def test_wrong_addresses(url, words):
    with pytest.raises(CaptionerError, match=words) as caught:
        connect(url)
    assert "secret" not in str(caught.value) and "http://HOST:8501" in str(caught.value)


def test_wrong_options(server):
    for options in (
        {"version": 1, "label": "stable"}, {"timeout": 0}, {"timeout": float("nan")},
        {"retries": -1}, {"max_bytes": 0},
    ):  # fmt: skip
        with pytest.raises(CaptionerError, match="not both|must be"):
            connect(server.http_url, **options)


def test_nobody_there(way, pauses):
    with pytest.raises(CaptionerError, match=r"(?s)127.0.0.1:9.*refused.*\(2 attempts\)"):
        connect(f"{way}://127.0.0.1:9", retries=1)
    assert len(pauses) == 1


def test_an_address_of_the_other_protocol(server, pauses):
    with pytest.raises(CaptionerError, match="gRPC port"):
        connect(server.grpc_url.replace("grpc", "http"))
    with pytest.raises(CaptionerError, match="UNAVAILABLE"):
        connect(server.http_url.replace("http", "grpc"), retries=0)
    with pytest.raises(CaptionerError, match="no secure connection"):
        connect(server.http_url.replace("http", "https"))
    assert not pauses


def test_models_versions_and_labels(tiny_run, way, tmp_path, pauses):
    for version in ("3", "12", "13"):
        (tmp_path / version).symlink_to(tiny_run / "export" / "1")
    labels = {"stable": 3, "a b/ü": 12}
    with serve(tmp_path, name="other model/é", labels=labels, loading={13}) as server:
        url = server.http_url if way == "http" else server.grpc_url
        named = {"model": "other model/é"}
        for options in ({"version": 3}, {"version": 12}, {"label": "stable"}, {"label": "a b/ü"}):
            model = connect(url, **named, **options)
            assert model.caption(jpeg(1)).text
            if way == "http":  # the gRPC server notes the number that the request has
                number = options.get("version") or labels[options["label"]]
                assert server.predictions()[-1].version == number
        for options, words in (
            ({}, "no model captioner: .*Could not find any versions of model captioner"),
            (named | {"version": 4}, "has no version 4; versions there: 12, 3"),
            (named | {"version": 13}, "has no version 13; versions there: 12, 3"),
            (named | {"label": "new"}, "has no label new; versions there: 12, 3"),
        ):
            with pytest.raises(CaptionerError, match=words):
                connect(url, **options)
        server.loading |= {3, 12}
        with pytest.raises(CaptionerError, match="isn't ready: version 13 is LOADING"):
            connect(url, **named)
        with pytest.raises(CaptionerError, match="isn't ready"):
            model.caption(jpeg(1))
    assert not pauses


def test_a_path_before_the_api_is_kept(server):
    """As behind a gateway; here nobody knows the path."""
    with pytest.raises(CaptionerError, match="Malformed request: GET /models/here/v1/models"):
        connect(f"{server.http_url}/models/here/")


def test_another_kind_of_model(tmp_path, way):
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.string, name="image_bytes")
    module.f = tf.function(lambda image_bytes: {"label": image_bytes}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=module.f)
    with serve(tmp_path) as server:
        url = server.http_url if way == "http" else server.grpc_url
        with pytest.raises(CaptionerError, match="is no captioner: .*serving_default, those of"):
            connect(url)


def test_unlikely_sizes_are_no_captioner():
    def outputs(*shape):
        both = {name: {"error": wire.Output(True, (-1,))} for name in SIGNATURES}
        both["caption_beams"]["tokens"] = wire.Output(True, shape)
        return both

    assert client._is_captioner(outputs(-1, 5, 24))
    for shape in ((-1, -1, 24), (-1, 5, 0), (-1, 5), (), (-1, 10**6, 10**6)):
        assert not client._is_captioner(outputs(*shape))
    assert not client._is_captioner({})
