"""The export in other people's programs: TensorFlow alone, a Session as in a server, an old
TensorFlow (slow; `CAPTIONER_OLD_PYTHON=/path/to/python pytest -m slow tests/test_session.py`, an
interpreter with, say, tensorflow-cpu 2.15.1 and nothing else)."""

import base64
import json
import os

import numpy as np
import pytest
from clients import UNREADABLE, answers, jpeg, loaded, start_client

from captioner.serving.contract import SIGNATURES

PROMPTS = ["", "a red car", "Two Dogs near …", "is it red?", "\udcff...", "x", "y", "", ""]


def requests(images: list[bytes], prompts: list[str]) -> str:
    """Each signature once, and once with no image at all; bytes travel in base64."""

    def coded(values):
        return [base64.b64encode(value).decode() for value in values]

    asked = []
    for name in SIGNATURES:
        inputs = {"image_bytes": coded(images)}
        if name != "serving_default":
            inputs["prompt"] = coded(p.encode("utf-8", "surrogateescape") for p in prompts)
        asked += [(name, inputs), (name, dict.fromkeys(inputs, []))]
    return json.dumps(asked)


@pytest.fixture(scope="module")
def images(drawn) -> list[bytes]:
    files = sorted(drawn.parent.rglob("*.jpg"))
    return [files[0].read_bytes(), files[1].read_bytes(), jpeg(1), jpeg(2), *UNREADABLE.values()]


@pytest.fixture(scope="module")
def results(tiny_run, images) -> dict:
    """What each kind of process found; they run at once."""
    clients = {how: start_client(how, tiny_run / "export" / "1") for how in ("python", "session")}
    asked = requests(images, PROMPTS)
    for client in clients.values():  # before one is waited for
        client.stdin.write(asked)
        client.stdin.flush()
    return {how: answers(client, "") for how, client in clients.items()}


def check(found: dict, model, images: list[bytes], prompts: list[str], tolerance=1e-4) -> None:
    """Compares a client's answers with `captioner.load` in this process."""
    assert found["imported"] == []
    default, none, prompted, none_prompted, beams, none_beams = found["results"]
    for out, expected in (
        (default, model.caption(images)),
        (prompted, model.caption(images, prompts)),
    ):
        assert set(out) == {"caption", "log_prob", "error"}
        assert out["caption"] == [one.text for one in expected]
        assert out["error"] == [one.error or "" for one in expected]
        np.testing.assert_allclose(
            out["log_prob"], [one.log_prob for one in expected], atol=tolerance
        )
    expected = model.caption(images, prompts, captions=model.beams, attention=True)
    assert set(beams) == {"captions", "log_probs", "tokens", "attention", "error"}
    for row, one in enumerate(expected):
        texts = [caption.text for caption in one.captions] or [""] * model.beams
        assert beams["captions"][row] == texts
        for beam, caption in enumerate(one.captions):
            words = [token for token in beams["tokens"][row][beam] if token]
            assert words == list(caption.tokens)
            assert beams["log_probs"][row][beam] == pytest.approx(caption.log_prob, abs=tolerance)
            maps = np.array(beams["attention"][row][beam])
            np.testing.assert_allclose(maps[: len(words)], caption.attention, atol=1e-4)
    assert all(value == [] for out in (none, none_prompted, none_beams) for value in out.values())


@pytest.mark.parametrize("how", ["python", "session"])
def test_other_processes_find_the_same(how, results, tiny_run, images):
    prompts = [p.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for p in PROMPTS]
    check(results[how], loaded(tiny_run / "export"), images, prompts)
    errors = results[how]["results"][0]["error"]
    assert [bool(error) for error in errors] == [False] * 4 + [True] * len(UNREADABLE)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["python", "session"])
def test_an_old_tensorflow_finds_the_same(how, tiny_run, flickr8k):
    python = os.environ.get("CAPTIONER_OLD_PYTHON")
    if not python:
        pytest.skip("CAPTIONER_OLD_PYTHON names no interpreter with an old TensorFlow")
    # An export of one's own choice, such as a trained one, says more than the tiny one.
    folder = os.environ.get("CAPTIONER_EXPORT") or tiny_run / "export"
    model = loaded(folder)
    photos = [path.read_bytes() for path in sorted((flickr8k / "Images").glob("*.jpg"))[:6]]
    photos += UNREADABLE.values()
    prompts = ["", "a dog", "Two Men…", "", "who is it?", "snow", *UNREADABLE]
    found = answers(start_client(how, model.source, python), requests(photos, prompts))
    assert found["version"] != results_version()
    check(found, model, photos, prompts, tolerance=1e-3)


def results_version() -> str:
    import tensorflow as tf

    return tf.__version__
