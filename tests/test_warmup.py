"""The warm-up requests of an export: all that a server will call, and that all of it runs."""

import base64
import errno
import json
import resource
import subprocess
import sys

import pytest
import tensorflow as tf
from clients import answers, loaded, start_client
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from captioner import config
from captioner.serving import batching, exporting, warmup
from captioner.serving import signatures as serving_signatures
from captioner.serving.contract import SIGNATURES


@pytest.fixture(scope="module")
def version(tiny_run):
    return tiny_run / "export" / "1"


@pytest.fixture(scope="module")
def requests(version) -> list[tuple[str, dict[str, list[bytes]]]]:
    """Signature and inputs of every record."""
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    found = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        log = PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        inputs = {key: tf.make_ndarray(one).tolist() for key, one in request.inputs.items()}
        found.append((request.model_spec.signature_name, inputs))
    return found


def test_every_signature_is_called_with_every_batch_size(requests):
    called = [(name, len(inputs["image_bytes"])) for name, inputs in requests]
    assert sorted(called) == sorted((name, n) for name in SIGNATURES for n in batching.SIZES)


def test_requests_hold_what_their_signature_takes(requests, version):
    signatures = loaded(version)._keep.signatures
    for name, inputs in requests:
        specs = signatures[name].structured_input_signature[1]
        assert set(inputs) == set(specs)
        assert len({len(rows) for rows in inputs.values()}) == 1


def test_pictures_and_prompts_of_every_kind(requests):
    for name in SIGNATURES:
        mine = [inputs for which, inputs in requests if which == name]
        images = {row for inputs in mine for row in inputs["image_bytes"]}
        assert b"" in images and len(images) == 4
    prompts = {row.decode() for _, inputs in requests for row in inputs.get("prompt", [])}
    assert "" in prompts
    assert {prompt[-1:] for prompt in prompts} >= {"…", "?", "l"}


def test_the_file_is_small(version, requests):
    size = (version / "assets.extra" / warmup.FILE).stat().st_size
    assert size < 300_000 and len(requests) <= 1000


@pytest.mark.slow
def test_every_record_runs_in_a_session(requests, version):
    """As in the server: another process, the graph alone, one record after the other."""
    coded = [
        (name, {key: [base64.b64encode(row).decode() for row in rows] for key, rows in one.items()})
        for name, one in requests
    ]
    found = answers(start_client("session", version), json.dumps(coded))
    assert not found["imported"] and len(found["results"]) == len(requests)
    picture = requests[0][1]["image_bytes"][0]
    for (name, inputs), outputs in zip(requests, found["results"], strict=True):
        rows = inputs["image_bytes"]
        assert {len(one) for one in outputs.values()} == {len(rows)}
        assert [error == "" for error in outputs["error"]] == [row == picture for row in rows]
        best = outputs["caption"] if "caption" in outputs else [c[0] for c in outputs["captions"]]
        assert len({text for text, row in zip(best, rows, strict=True) if row != picture}) <= 1


def test_the_same_bytes_each_time(version, tmp_path):
    inputs = {name: ["image_bytes", "prompt"] for name in reversed(SIGNATURES)}
    warmup.write(tmp_path, inputs | {"serving_default": ["image_bytes"]})
    before = (version / "assets.extra" / warmup.FILE).read_bytes()
    assert (tmp_path / warmup.FILE).read_bytes() == before


def test_only_exporting_needs_the_server_s_package():
    code = "import captioner.serving.exporting, captioner.loading, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "tensorflow" in done.stdout.split()
    assert "tensorflow_serving" not in done.stdout.split()


def test_a_disk_that_fills_up_under_the_records(version, tmp_path, monkeypatch):
    """Files can't grow beyond 20 kB here; the records need more."""

    class Served:
        def __init__(self, *_):
            pass

        def signatures(self):
            return loaded(version)._keep.signatures

    def save(served, path, signatures):
        tf.io.gfile.makedirs(path)

    monkeypatch.setattr(serving_signatures, "ServedCaptioner", Served)
    monkeypatch.setattr(tf.saved_model, "save", save)
    loaded(version)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError) as caught:
            exporting.export(None, config.settings(), tmp_path, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno in (errno.EIO, errno.ENOSPC, errno.EFBIG)
    assert not list(tmp_path.iterdir())
    exporting.export(None, config.settings(), tmp_path, {})
    assert (tmp_path / "1" / "assets.extra" / warmup.FILE).stat().st_size > 20_000
