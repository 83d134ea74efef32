"""Whole runs: folders, data that is partly bad, options of every kind, and the command."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tiny_training as tiny

from captioner import config
from captioner.errors import CaptionerError
from captioner.learning import run as runs
from captioner.learning.optimisation import Optimisation
from captioner.models import build
from captioner.models.encoders import ImageEncoder

TESTS = Path(__file__).resolve().parent
QUICK = ["model.image_side=32", "train.epochs=1"]


@pytest.fixture
def quick(monkeypatch):
    """A tiny image encoder instead of ResNet50."""
    monkeypatch.setattr(build, "image_encoder", tiny.quick_encoder)


@pytest.fixture
def unscored(monkeypatch):
    """Training alone, without the evaluation and export after it."""
    done = {"scores": {}, "export": None, "examples": [], "finished_before": False}
    monkeypatch.setattr(runs, "finish", lambda *_: done)


@pytest.fixture(scope="module")
def plain(tiny_overrides, tmp_path_factory):
    """Overrides of a model without text encoder, with a cache of its own."""
    cache = tmp_path_factory.mktemp("cache")
    without = ("model.text_encoder=none", "model.sentence_head=false", "model.neighbours=0",
               "model.copying=false")  # fmt: skip
    return [*tiny_overrides, *QUICK, *without, f"data.folder={cache}"]


def train(run: Path, data: Path | str, overrides: list[str], *more: str) -> dict:
    spec = data if isinstance(data, str) else f"csv:{data}"
    settings = config.settings("demo", data=spec, overrides=[*overrides, *more])
    return runs.train(settings, run, run / "export")


def stored(run: Path, which: str) -> dict[str, np.ndarray]:
    """A checkpoint's variables by name."""
    reader = tf.train.load_checkpoint(str(run / "checkpoints" / which / "variables"))
    keys = [key for key in reader.get_variable_to_shape_map() if key.startswith("values/")]
    names = {key: key[7:].partition("/.ATTRIBUTES")[0].replace(".S", "/") for key in keys}
    return {name: reader.get_tensor(key) for key, name in names.items()}


def last(run: Path) -> str:
    return max(path.name for path in (run / "checkpoints").glob("0*"))


def rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def copied(drawn: Path, folder: Path) -> list[Path]:
    """The drawn data set in a folder of its own; its pictures."""
    shutil.copytree(drawn.parent, folder)
    lines = (folder / drawn.name).read_text().splitlines()
    return [folder / name for name in dict.fromkeys(line.split(",")[0] for line in lines[1:])]


# The run folder.


def test_what_a_run_holds(tiny_run):
    names = {path.name.partition(".")[0] for path in tiny_run.iterdir()}
    assert names == {
        "config", "vocabulary", "checkpoints", "metrics", "events", "curves", "scores", "export",
        "neighbours",
    }  # fmt: skip
    settings = json.loads((tiny_run / "config.json").read_text())
    assert settings["train"]["clip_norm"] == 1.0  # a default that nobody set
    # One line a step, and the vocabulary as the contract has it.
    assert [row["step"] for row in rows(tiny_run)] == list(range(1, len(rows(tiny_run)) + 1))
    assert (tiny_run / "vocabulary.txt").read_text().startswith("[PAD]\n[UNK]\n[START]\n[END]\n")


def test_a_finished_run_is_reported_and_not_touched(tiny_run, drawn, tiny_overrides):
    before = {p: p.stat().st_mtime_ns for p in tiny_run.rglob("*")}
    outcome = train(tiny_run, drawn, tiny_overrides)
    assert outcome["finished_before"] and outcome["export"] == tiny_run / "export" / "1"
    assert outcome["scores"] == json.loads((tiny_run / "scores.json").read_text())
    assert {p: p.stat().st_mtime_ns for p in tiny_run.rglob("*")} == before


def test_other_settings_are_listed(tiny_run, drawn, tiny_overrides):
    with pytest.raises(CaptionerError) as raised:
        train(tiny_run, drawn, tiny_overrides, "train.seed=7", "model.units=32")
    message = str(raised.value)
    assert "train.seed: 0 there, 7 asked" in message
    assert "model.units: 16 there, 32 asked" in message
    assert str(tiny_run) in message and "decode" not in message


def test_a_folder_that_is_no_run(tmp_path, drawn, plain):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CaptionerError, match="is no run folder"):
        train(tmp_path, drawn, plain)
    with pytest.raises(CaptionerError, match="is no run folder"):
        train(tmp_path / "notes.txt", drawn, plain)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("file", "contents", "message"),
    [
        ("vocabulary.txt", b"", "is no vocabulary"),
        ("vocabulary.txt", b"a\nb\n", "is no vocabulary"),
        ("vocabulary.txt", b"[PAD]\n[UNK]\n[START]\n[END]\n\xff\xfe\n", "vocabulary"),
        ("config.json", b'{"train": {', "damaged"),
        ("config.json", b"[]", "config.json"),
        ("scores.json", b'{"CIDEr": ', "damaged"),
    ],
)
def test_a_damaged_run_is_an_error(tmp_path, drawn, plain, file, contents, message):
    settings = config.settings("demo", data=f"csv:{drawn}", overrides=plain)
    (tmp_path / "config.json").write_text(settings.dump())
    (tmp_path / file).write_bytes(contents)
    with pytest.raises(CaptionerError, match=message) as raised:
        train(tmp_path, drawn, plain)
    assert "\n" not in str(raised.value)


def test_a_run_of_another_vocabulary_is_an_error(tmp_path, drawn, plain, quick, unscored):
    """Its checkpoints are of other shapes."""
    train(tmp_path, drawn, plain)
    path = tmp_path / "vocabulary.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-3]))
    with pytest.raises(CaptionerError, match="no checkpoint in .* can be restored"):
        train(tmp_path, drawn, plain)
    assert last(tmp_path)  # and nothing is lost


@pytest.mark.parametrize(
    ("spec", "message"),
    [("csv:nowhere.csv", "nowhere.csv"), ("flickr8k:nowhere", "nowhere")],
)
def test_wrong_data_leaves_no_run_behind(tmp_path, plain, spec, message):
    with pytest.raises(CaptionerError, match=message):
        train(tmp_path / "run", spec, plain)
    assert not (tmp_path / "run").exists()


def test_captions_without_words_leave_no_run_behind(tmp_path, drawn, plain):
    folder = tmp_path / "data"
    pictures = copied(drawn, folder)
    lines = ["image,caption,split", *(f"{p.relative_to(folder)},!!!,train" for p in pictures)]
    (folder / "bad.csv").write_text("\n".join(lines))
    with pytest.raises(CaptionerError, match="no words to learn a vocabulary from"):
        train(tmp_path / "run", folder / "bad.csv", plain)
    assert not (tmp_path / "run").exists()


# Unreadable images.


def test_few_unreadable_images_are_named_and_left_out(
    tmp_path, drawn, plain, quick, unscored, capfd
):
    pictures = copied(drawn, tmp_path / "data")
    pictures[0].write_bytes(b"no picture")
    train(tmp_path / "run", tmp_path / "data" / drawn.name, plain)
    err = capfd.readouterr().err
    assert "left out: 1 unreadable image" in err and pictures[0].name in err
    assert last(tmp_path / "run")


def test_too_many_unreadable_images(tmp_path, drawn, plain, quick, unscored):
    pictures = copied(drawn, tmp_path / "data")
    for path in pictures[:12]:
        path.write_bytes(b"no picture")
    data = tmp_path / "data" / drawn.name
    with pytest.raises(CaptionerError, match=r"--set data\.unreadable_limit=") as raised:
        train(tmp_path / "run", data, plain)
    assert str(raised.value).startswith("12 of 3") and pictures[0].name in str(raised.value)
    # Doing as it says works, in the same run folder.
    train(tmp_path / "run", data, plain, "data.unreadable_limit=0.5")
    assert last(tmp_path / "run")


# Options.


def test_views_texts_and_no_dev_images(tmp_path, drawn, plain, quick, unscored, capfd):
    """Three options that have little to do with each other, in one run."""
    folder = tmp_path / "data"
    copied(drawn, folder)
    table = folder / drawn.name
    header, *lines = table.read_text().splitlines()
    column = header.split(",").index("split")
    kept = [line for line in lines if line.split(",")[column] != "dev"]
    assert 0 < len(kept) < len(lines)
    table.write_text("\n".join([header, *kept]))
    texts = tmp_path / "texts.txt"
    texts.write_text("a zebra on the beach\ntwo zebras\nthe zebra sleeps\na red zebra\n" * 5)
    run = tmp_path / "run"
    train(run, table, plain, "data.views=3", f"data.text={texts}", "data.text_epochs=2")
    stages = [row["stage"] for row in rows(run)]
    assert stages[0] == "text" and stages[-1] == "epoch" and stages == sorted(stages)[::-1]
    assert "zebra" in (run / "vocabulary.txt").read_text()
    assert "no dev images: the last weights are kept" in capfd.readouterr().err
    state = json.loads((run / "checkpoints" / "best" / "state.json").read_text())
    assert state == {"step": len(stages), "epoch": 1}
    cache = Path(config.load(run / "config.json").data.folder) / "cache" / "features"
    shapes = [json.loads(p.read_text())["shape"][0] for p in cache.glob("*/index.json")]
    assert 3 in shapes


@pytest.mark.slow
def test_fine_tuning_with_augmentation(
    tmp_path, drawn, tiny_overrides, unscored, monkeypatch, full_resnet50
):
    """A real ResNet50 and a BERT learn; batch-norm statistics stay; validation reads pixels."""
    seen = []
    original = ImageEncoder.call
    monkeypatch.setattr(
        ImageEncoder, "call", lambda self, pixels: [seen.append(1), original(self, pixels)][1]
    )
    started = {}
    fit = runs.Trainer.fit

    def spy(self):
        started.update(tiny.weights(self))
        return fit(self)

    monkeypatch.setattr(runs.Trainer, "fit", spy)
    run = tmp_path / "run"
    train(run, drawn, tiny_overrides, *QUICK, "train.freeze=[]", "data.cache_features=false",
          "model.sentence_head=false", "model.neighbours=0", "data.augment=true",
          "train.batch_size=100", "decode.beams=1")  # fmt: skip
    learned, frozen = stored(run, last(run)), stored(run, "frozen")
    kernels = [name for name in learned if name.startswith("image_encoder/conv")]
    kernels = [name for name in kernels if name.endswith("kernel")]
    assert len(kernels) > 40
    for name in kernels:
        assert not np.array_equal(learned[name], started[name]), name
    moving = [name for name in started if "moving_" in name]
    assert len(moving) > 80
    for name in moving:
        np.testing.assert_array_equal(frozen[name], started[name])
    assert sum(name.startswith("text_encoder/") for name in learned) > 20
    assert len(seen) > 1  # traced for validation too: no features of the encoder as it was
    assert "CIDEr" in json.loads((run / "checkpoints" / "best" / "state.json").read_text())


def test_freezing_the_first_blocks(tmp_path, drawn, plain):
    """What `image_encoder/conv[1-4]` leaves to learn is ResNet50's last block."""
    settings = config.settings(
        "demo",
        overrides=[*plain, 'train.freeze=["image_encoder/conv[1-4]"]', "data.cache_features=false"],
    )
    made = build.build(settings, ["[PAD]", "[UNK]", "[START]", "[END]", "a"]).model
    learned = Optimisation(made, settings.train, [10]).variables
    learned = {v.path for v in learned if "image_encoder" in v.path}
    assert learned and all("/conv5_" in path for path in learned)


@pytest.mark.slow
def test_fine_tuning_from_what_the_frozen_stages_gave(tmp_path, drawn, plain):
    """Trained from the cache of conv4's output, or from pixels: the same run; the export, which
    sees pixels, captions like it. Only the last stage has changed."""
    freeze = 'train.freeze=["image_encoder/conv[1-4]"]'
    runs_made = {}
    for cached in ("true", "false"):
        run = runs_made[cached] = tmp_path / cached
        found = train(run, drawn, plain, freeze, f"data.cache_features={cached}", "data.views=1")
        assert found["export"]
    kept, pixels = (stored(run, last(run)) for run in runs_made.values())
    assert kept.keys() == pixels.keys()
    tuned = [name for name in kept if name.startswith("image_encoder/")]
    assert tuned and all("/conv5_" in name for name in tuned)
    for name in tuned:  # half precision is all that lies between them
        np.testing.assert_allclose(kept[name], pixels[name], atol=2e-3, err_msg=name)
    frozen = stored(runs_made["true"], "frozen")
    assert any("conv4_block6_3_conv" in name for name in frozen)


# The command.


def command(*arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, TESTS / "tiny_training.py", "train", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(TESTS.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_the_command_from_interrupt_to_finish(tmp_path, drawn, plain, quick, monkeypatch):
    run = tmp_path / "run"
    settings = [*plain, "train.epochs=3", "decode.beams=1"]
    arguments = ("--data", f"csv:{drawn}", "--run", run, "--set", *settings)
    process = command(*arguments)
    try:
        while process.poll() is None and not (run / "metrics.jsonl").exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert out == "" and "Traceback" not in err
    line = err.strip().splitlines()[-1]
    assert "stopped at step" in line and "the same command goes on from here" in line
    assert not (run / "scores.json").exists()
    stopped = int(last(run))
    assert len(rows(run)) == stopped

    # The same command in this process: as an unbroken run.
    train(run, drawn, settings)
    monkeypatch.setattr(runs, "finish", lambda *_: None)
    train(tmp_path / "whole", drawn, settings)
    assert [row["step"] for row in rows(run)] == list(range(1, len(rows(run)) + 1))
    for which in (last(run), "best", "frozen"):
        tiny.assert_same(stored(run, which), stored(tmp_path / "whole", which))

    # A finished run is reported.
    done = command(*arguments)
    out, err = done.communicate(timeout=300)
    assert done.returncode == 0, err
    assert f"{run} is finished" in out and "CIDEr" in out and "Traceback" not in err
