"""The client for model servers, against a server that speaks both protocols on the loopback."""
# ruff: noqa: F811  (fixtures that are imported)

import base64
import http.client
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from clients import UNREADABLE, jpeg, loaded, png_bomb
from model_server import serve
from PIL import Image
from serving_fixtures import (  # noqa: F401
    PROMPTS,
    connect,
    local,
    pauses,
    same,
    server,
    serving,
    url,
    way,
)

from captioner.confidence import Calibration
from captioner.errors import CaptionerError
from captioner.serving import client, rest, wire
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


BYTES = [b"\xff\xfe\xe9", b"a\0b", b'"},{', "😀".encode(), b"\xed\xb2\x80"]


@pytest.mark.parametrize("prompt", BYTES)
def test_prompts_are_sent_byte_for_byte(url, local, prompt):
    inputs = {"image_bytes": [jpeg(1)], "prompt": [prompt + "…".encode()]}
    same(connect(url).call("caption_beams", inputs), local.call("caption_beams", inputs))


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
        heif.from_pillow(upright).save(path, quality=-1)
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
        assert (found.text, found.log_prob) == (plain.text, plain.log_prob)
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


# Addresses and models.


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
    import tensorflow as tf

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


# The command.


def run(code: str, **environment) -> subprocess.CompletedProcess:
    root = Path(__file__).resolve().parent.parent
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(root)} | environment,
    )  # fmt: skip


def predict(*words) -> str:
    """A program that runs the command, then names what of TensorFlow it has imported."""
    return (
        "import sys\nfrom captioner import commandline, predict\n"
        f"arguments = predict.parser().parse_intermixed_args({[str(one) for one in words]!r})\n"
        "try:\n    commandline.run(predict.main, arguments)\n"
        "finally:\n"
        "    print([one for one in ('tensorflow', 'keras', 'grpc') if one in sys.modules])"
    )


def test_predict_by_a_server_needs_no_tensorflow(server, tiny_run, tmp_path):
    """The same lines as with the export, pictures of attention too, in a process of its own."""
    exif = Image.Exif()
    exif[0x112] = 3
    Image.open(io.BytesIO(jpeg(1))).save(tmp_path / "a.webp", lossless=True)
    (tmp_path / "b.jpg").write_bytes(jpeg(2))
    (tmp_path / "c.jpg").write_bytes(b"no picture")
    options = ["--beams", "2", "--prompt", "un été…", "--json", tmp_path]
    done = run(predict("--server", server.http_url, *options, "--attention", tmp_path / "maps"))
    assert done.returncode == 1 and done.stderr == "", done.stderr
    *lines, imported = done.stdout.splitlines()
    assert imported == "[]"
    webp, *rows = map(json.loads, lines)
    assert webp["image"].endswith("a.webp") and len(webp["captions"]) == 2
    model = loaded(tiny_run / "export")
    for row, name in zip(rows, ("b.jpg", "c.jpg"), strict=True):
        true = model.caption(tmp_path / name, "un été…", captions=2)
        assert row["image"] == str(tmp_path / name) and row["error"] == true.error
        # Other batches round otherwise.
        near = [(one.text, pytest.approx(one.log_prob, abs=1e-3)) for one in true.captions]
        assert [(one["text"], one["log_prob"]) for one in row["captions"]] == near
    assert len(list((tmp_path / "maps").iterdir())) == 2


def test_attention_is_drawn_on_a_heic_photo(local, tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="the extra heic isn't installed")
    from captioner.predicting import draw

    heif.from_pillow(Image.open(io.BytesIO(jpeg(1)))).save(tmp_path / "a.heic")
    draw(str(tmp_path / "a.heic"), local.caption(jpeg(1), attention=True), tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").format == "PNG"


def test_predict_by_a_server_that_is_not_there():
    done = run(predict("--server", "http://127.0.0.1:9", "x.jpg"))
    assert done.returncode == 2 and done.stdout == "[]\n"
    assert done.stderr.startswith("error: nobody answers at http://127.0.0.1:9: Connection refused")


@pytest.mark.slow
def test_secure_connections(tiny_run, tmp_path):
    """With a certificate of one's own, which both protocols take from the environment."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key,
         "-out", certificate, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    names = ("SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")
    with serve(tiny_run / "export", tls=(key, certificate)) as server:
        for url in (server.http_url, server.grpc_url):
            assert "s://localhost" in url
            command = predict("--server", url, tmp_path / "a.jpg")
            done = run(command, **dict.fromkeys(names, str(certificate)))
            assert done.returncode == 0 and "a.jpg\t" in done.stdout, done.stderr
            done = run(command)
            assert done.returncode == 2 and "error: " in done.stderr and "\t" not in done.stdout
