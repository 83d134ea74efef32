"""The export in other people's programs: TensorFlow alone, a Session as in a server, and both under
TensorFlow 2.15.1, the oldest in use, which is installed in an environment of its own (all but the
first: slow)."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clients import UNREADABLE, answers, jpeg, loaded, start_client

from captioner.serving.contract import SIGNATURES

PROMPTS = ["", "a red car", "Two Dogs near …", "is it red?", "\udcff...", "x", "y", "", ""]

ANOTHER = pytest.mark.slow  # of the same kind as the first
PROCESSES = [
    ("session", "float32"),
    pytest.param("session", "float16", marks=ANOTHER),
    pytest.param("python", "float32", marks=ANOTHER),
]


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


@pytest.mark.parametrize(("how", "storage"), PROCESSES)
def test_other_processes_find_the_same(how, storage, exports, images):
    found = answers(start_client(how, exports[storage]), requests(images, PROMPTS))
    prompts = [p.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for p in PROMPTS]
    check(found, loaded(exports[storage]), images, prompts)
    errors = found["results"][0]["error"]
    assert [bool(error) for error in errors] == [False] * 4 + [True] * len(UNREADABLE)


@pytest.fixture(scope="module")
def old_python(tmp_path_factory) -> str:
    """An interpreter with TensorFlow 2.15.1 and nothing of ours: one that CAPTIONER_OLD_PYTHON
    names, or a new environment."""
    if python := os.environ.get("CAPTIONER_OLD_PYTHON"):
        return python
    folder = tmp_path_factory.mktemp("old") / "environment"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    package = "tensorflow-cpu==2.15.1"
    command = [python, "-m", "pip", "install", "-q", "--no-warn-script-location", package]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{package} can't be installed here: {done.stderr.strip()[-300:]}")
    return python


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["float32", "float16"])
@pytest.mark.parametrize("how", ["python", "session"])
def test_an_old_tensorflow_finds_the_same(how, storage, exports, old_python, images):
    # A trained export of one's own says more than the tiny one.
    folder = os.environ.get("CAPTIONER_EXPORT") or exports[storage]
    model = loaded(Path(folder))
    prompts = [p.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for p in PROMPTS]
    found = answers(start_client(how, model.source, old_python), requests(images, PROMPTS))
    assert found["version"] == "2.15.1"
    check(found, model, images, prompts, tolerance=1e-3)
