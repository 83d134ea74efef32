"""The exported folder: its numbers, what a failure leaves, and what loading says of a damaged one
(test_graph.py has the graph itself)."""

import errno
import json
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from clients import UNREADABLE, jpeg, loaded

from captioner import commandline, config
from captioner import export as export_command
from captioner.errors import CaptionerError
from captioner.inputs.text import load_vocabulary
from captioner.loading import load, newest_version
from captioner.models.build import build
from captioner.serving import exporting, signatures
from captioner.serving.contract import SIGNATURES
from captioner.serving.signatures import ServedCaptioner

K, T = 3, 10  # of tiny_run


def test_export_gives_what_the_run_gives(tiny_run, drawn):
    run, export = loaded(tiny_run), loaded(tiny_run / "export")
    images = [path.read_bytes() for path in sorted(drawn.parent.rglob("*.jpg"))[:6]]
    images += UNREADABLE.values()
    prompts = ["", "a red car", "A Dog…", "is it red?", "two", "...", *UNREADABLE]
    inputs = {"image_bytes": images, "prompt": prompts}
    for name in SIGNATURES:
        if name == "serving_default":
            inputs.pop("prompt")
        here, there = (one.call(name, inputs) for one in (run, export))
        inputs["prompt"] = prompts
        assert set(here) == set(there)
        for key, value in here.items():
            assert value.shape == there[key].shape
            if value.dtype == object:
                np.testing.assert_array_equal(value, there[key], key)
            else:
                np.testing.assert_allclose(value, there[key], atol=1e-4, err_msg=key)


def test_an_export_says_what_it_is(tiny_run):
    version = tiny_run / "export" / "1"
    settings = config.load(tiny_run / "config.json")
    about = json.loads((version / "assets.extra" / "captioner.json").read_text(encoding="utf-8"))
    assert about["decode"] == settings.decode.model_dump(mode="json")
    assert about["tensorflow"] == tf.__version__ and about["settings"]["model"]["units"] == 16
    assert about["scores"]["images"] == 3


# A real model's export takes seconds; what follows needs only files.


class Served:
    def __init__(self, *_):
        pass

    def signatures(self):
        return {}


def save(_, folder, signatures):
    path = tf.io.gfile.join(folder, "variables")
    tf.io.gfile.makedirs(path)
    for name in ("variables/variables.index", "saved_model.pb"):
        with open(f"{folder}/{name}", "w") as file:
            file.write("x")


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """`export` with saving replaced; gives its last arguments."""
    monkeypatch.setattr(signatures, "ServedCaptioner", Served)
    monkeypatch.setattr(tf.saved_model, "save", save)
    return None, config.settings(), tmp_path / "models", {}


@pytest.mark.parametrize(
    ("there", "number"),
    [
        ([], 1),
        (["1", "2"], 3),
        (["1", "7"], 8),  # gaps stay
        (["9", "10"], 11),  # numbers, not text
        (["007"], 8),
        (["2", "latest", "3.tmp", ".writing-12", "-5", "v9", "²", "٣"], 3),
    ],
)
def test_the_next_number(quick, there, number):
    folder = quick[2]
    for name in there:
        (folder / name).mkdir(parents=True)
    assert exporting.export(*quick) == folder / str(number)
    assert (folder / str(number) / "saved_model.pb").is_file()
    assert {path.name for path in folder.iterdir()} == {*there, str(number)}


def test_a_number_that_another_export_takes_meanwhile(quick, monkeypatch):
    folder = quick[2]
    truth = exporting.next_version
    taken = []

    def late(folder):
        number = truth(folder)
        if len(taken) < 3:
            (folder / str(number) / "variables").mkdir(parents=True)
            taken.append(number)
        return number

    monkeypatch.setattr(exporting, "next_version", late)
    assert exporting.export(*quick) == folder / "4" and taken == [1, 2, 3]
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2", "3", "4"]
    assert not (folder / "1" / "saved_model.pb").exists()


@pytest.mark.parametrize(
    ("raised", "expected", "number"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OSError, errno.ENOSPC),
        (tf.errors.ResourceExhaustedError(None, None, "No space left"), OSError, errno.ENOSPC),
        (
            tf.errors.PermissionDeniedError(None, None, "{{x}} /y; Permission denied [Op:SaveV2]"),
            OSError,
            errno.EIO,
        ),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
        (ValueError("a bug"), ValueError, None),
    ],
)
def test_a_failure_in_the_middle_leaves_nothing(quick, monkeypatch, raised, expected, number):
    folder = quick[2]
    first = exporting.export(*quick)
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}

    def fails(served, path, signatures):
        save(served, path, signatures)
        raise raised

    monkeypatch.setattr(tf.saved_model, "save", fails)
    with pytest.raises(expected) as caught:
        exporting.export(*quick)
    if number:
        assert caught.value.errno == number
        line = commandline.describe(caught.value)
        assert "\n" not in line and "{{" not in line and "Op:" not in line
        assert ("disk is full" in line) == (number == errno.ENOSPC)
    assert [path.name for path in folder.iterdir()] == ["1"]
    assert before == {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}


def test_a_version_is_complete_when_it_appears(quick, monkeypatch):
    """A server that looks at any moment sees numbers of finished versions only."""
    folder = quick[2]

    def watched(served, path, signatures):
        save(served, path, signatures)
        assert not [one for one in folder.iterdir() if exporting.is_version(one.name)]

    monkeypatch.setattr(tf.saved_model, "save", watched)
    version = exporting.export(*quick)
    assert (version / "assets.extra" / "captioner.json").is_file()


def test_a_disk_that_fills_up_under_tensorflow(tiny_run, tmp_path, monkeypatch):
    """Files can't grow beyond 1 MB here; the variables are larger."""
    # Traced already, which saves time.
    monkeypatch.setattr(signatures, "ServedCaptioner", lambda *_: loaded(tiny_run)._keep)
    settings = config.load(tiny_run / "config.json")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            exporting.export(None, settings, tmp_path, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def command(*words) -> int:
    return export_command.main(export_command.parser().parse_args([str(w) for w in words]))


def test_command_prints_the_next_version(tiny_run, tmp_path, capsys, quick):
    for number in (1, 2):
        assert command("--run", tiny_run, "--out", tmp_path, "--set", "decode.beams=2") == 0
        assert capsys.readouterr().out == f"{tmp_path / str(number)}\n"
    text = (tmp_path / "2" / "assets.extra" / "captioner.json").read_text(encoding="utf-8")
    about = json.loads(text)
    assert about["decode"]["beams"] == 2 and about["run"] == "tiny" and "CIDEr" in about["scores"]


def test_command_refuses(tiny_run, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(CaptionerError, match="no run folder"):
        command("--run", tmp_path / "nowhere", "--out", out)
    with pytest.raises(CaptionerError, match="no run folder"):
        command("--run", tiny_run / "export", "--out", out)
    with pytest.raises(CaptionerError, match="part of the trained run"):
        command("--run", tiny_run, "--out", out, "--set", "model.units=8")
    with pytest.raises(CaptionerError, match="decode.beams"):
        command("--run", tiny_run, "--out", out, "--set", "decode.beans=8")
    assert not out.exists()


# Loading it again, and folders that are no model.


def test_the_newest_version(tmp_path):
    for name in ("2", "10", "9", "latest", "11", ".writing-77", "²"):
        (tmp_path / name).mkdir()
        if name != "11":  # without a graph: not finished, or no version
            (tmp_path / name / "saved_model.pb").touch()
    assert newest_version(tmp_path) == tmp_path / "10"
    assert newest_version(tmp_path / "9") == tmp_path / "9"
    assert newest_version(tmp_path / "11") is None


def refused(folder) -> str:
    with pytest.raises(CaptionerError) as caught:
        load(folder)
    text = str(caught.value)
    assert str(folder) in text and "\n" not in text and len(text) < 600
    return text


def test_folders_that_hold_no_model(tmp_path, drawn):
    assert "no folder" in refused(tmp_path / "nowhere")
    assert "no folder" in refused(drawn)
    assert "no captioner" in refused(tmp_path)
    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    assert "no signature" in refused(tmp_path / "other")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{ not json")
    assert "damaged" in refused(tmp_path / "run")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scramble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("variables/variables.data-00000-of-00001", cut),
        ("variables/variables.data-00000-of-00001", scramble),
        ("variables/variables.index", cut),
        ("variables/variables.index", Path.unlink),
        ("saved_model.pb", cut),
        ("saved_model.pb", lambda path: path.write_bytes(b"")),
        ("saved_model.pb", lambda path: path.write_bytes(b"<html>" * 100)),
    ],
)
def test_a_damaged_export_is_one_clear_error(tiny_run, tmp_path, name, damage):
    copy = tmp_path / "1"
    shutil.copytree(tiny_run / "export" / "1", copy)
    damage(copy / name)
    assert "damaged" in refused(copy)


@pytest.mark.parametrize("text", [None, "{", "[]", "{}"])
def test_an_export_works_without_its_description(tiny_run, tmp_path, monkeypatch, text):
    (tmp_path / "saved_model.pb").touch()
    if text is not None:
        (tmp_path / "assets.extra").mkdir()
        (tmp_path / "assets.extra" / "captioner.json").write_text(text)
    saved = loaded(tiny_run / "export")._keep
    monkeypatch.setattr(tf.saved_model, "load", lambda _: saved)
    assert load(tmp_path).settings == {"beams": K, "max_tokens": T}


@pytest.mark.slow
def test_bfloat16_is_served_in_float32(tiny_run, tmp_path):
    old = config.load(tiny_run / "config.json")
    settings = config.changed(old, ["train.precision=bfloat16"], sections=("train",))
    built = build(settings, load_vocabulary(tiny_run / "vocabulary.txt"), load=False)
    version = exporting.export(built, settings, tmp_path, {})
    export = loaded(version)
    reader = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    assert tf.bfloat16 not in reader.get_variable_to_dtype_map().values()
    inputs = {"image_bytes": [jpeg(1), b""], "prompt": ["red", ""]}
    functions = ServedCaptioner(built, settings.decode, 64).functions
    eager = functions["caption_beams"](*(tf.constant(rows) for rows in inputs.values()))
    out = export.call("caption_beams", inputs)
    assert {one.dtype for one in out.values()} == {np.dtype(object), np.dtype("float32")}
    np.testing.assert_array_equal(out["captions"], eager["captions"])
    np.testing.assert_allclose(out["log_probs"], eager["log_probs"], atol=1e-4)
