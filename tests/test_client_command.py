"""`python -m captioner.predict --server URL`, in processes that know nothing of TensorFlow."""
# ruff: noqa: F811  (fixtures that are imported)

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from clients import jpeg, loaded
from model_server import serve
from PIL import Image
from serving_fixtures import local, server, serving  # noqa: F401

from captioner.predicting import draw


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
