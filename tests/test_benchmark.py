"""python -m captioner.benchmark on tiny models: structure and invariants, no timings."""

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import types

import pytest
import tensorflow as tf
from tiny_benchmark import measured, shrink, table

from captioner import config, kernels
from captioner.inputs.images import decode_images
from captioner.inputs.resample import resize
from captioner.measuring import machine, photos, profile, subjects


@pytest.fixture
def small(monkeypatch):
    shrink(monkeypatch)


def captions(report, name):
    """A measurement's rows that are of captioning without a prompt."""
    return [row for row in table(report, name) if row.startswith("caption:")]


def check(report):
    """What holds of every comparison."""
    for one in report["measurements"]:
        assert one["rows"] and one["better"] in ("higher", "lower")
        if "compared_with" not in one:
            continue
        first = one["rows"][0]
        assert first["name"] == one["compared_with"] and first["ratio"] == 1
        for row in one["rows"]:
            assert row["ratio"] == pytest.approx(row["median"] / first["median"])
            low, high = row["quartiles"]
            assert 0 < low <= row["median"] <= high and math.isfinite(high)
            low, high = row["ratio_quartiles"]
            assert 0 < low <= high


@pytest.mark.slow
def test_a_run_folder_is_measured_with_several_searches(
    tiny_run, tmp_path, small, capsys, monkeypatch
):
    monkeypatch.setattr(subjects, "_ROUNDED", "greedy")
    monkeypatch.setattr(subjects.machine, "has_bfloat16", lambda: True)
    code, report = measured(tmp_path, "--model", tiny_run, "--only", "profile", "captioning")
    assert code == 0 and report["complete"]
    check(report)
    names = [one["name"] for one in report["measurements"]]
    assert names == [
        "captioning, batch 1", "captioning, batch 2", "captioning, phone photographs, batch 2",
        "profile",
    ]  # fmt: skip
    assert list(table(report, "captioning, batch 2")) == [
        "bare ResNet50, float32",
        "decode and resize",
        "decode, resize, bare ResNet50",
        "caption: greedy",
        "caption: greedy, bfloat16",
        "caption: beam 3",
        "caption_with_prompt: beam 3, two key words",
        "caption_beams: beam 3, two key words",
    ]
    steps = table(report, "profile")
    assert list(steps)[:3] == ["read the headers", "decode", "resize"]
    assert steps["the whole, as exported"]["share"] == 1
    for row in steps.values():
        assert row["an_image"] == pytest.approx(row["median"] / 3)
    said = capsys.readouterr()
    for one in report["measurements"]:
        assert one["title"] in said.out
    # Neither the run nor the temporary folder is named by its place.
    assert str(tiny_run.parent) not in json.dumps(report) and str(tmp_path) not in said.out
    assert [path.name for path in (tiny_run / "export").iterdir()] == ["1"]


@pytest.mark.slow
def test_an_export_is_measured_as_it_is(exports, tmp_path, small, capsys):
    code, report = measured(tmp_path, "--model", exports["float32"], "--only", "captioning",
                            "profile")  # fmt: skip
    assert code == 0
    check(report)
    assert captions(report, "captioning, batch 1") == ["caption: beam 3"]
    assert "profile" not in {one["name"] for one in report["measurements"]}
    assert "need its run folder" in report["model"] and report["model"] in capsys.readouterr().out


@pytest.mark.slow
def test_without_a_model_it_makes_one(tmp_path, small, monkeypatch):
    real = subjects.own_settings

    def tiny(folder):
        words = ["model.image_side=64", "model.units=16", "decode.max_tokens=6"]
        changed = [*words, f"model.text_encoder={real(folder).model.text_encoder}"]
        return config.settings("flickr8k", overrides=["model.image_weights=none", *changed])

    monkeypatch.setattr(subjects, "own_settings", tiny)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.jpg").write_bytes(photos.made((90, 60), 1)[0])
    code, report = measured(tmp_path, "--only", "captioning", "--images", tmp_path / "mine")
    assert code == 0 and "random weights" in report["model"]
    assert report["photographs"] == "1 photograph of --images"
    check(report)
    # The user's photographs are measured, and no others.
    assert [one["name"][-1] for one in report["measurements"]] == ["1", "2"]
    assert captions(report, "captioning, batch 2") == ["caption: greedy", "caption: beam 12"]


@pytest.mark.slow
def test_caching_and_training(tiny_run, tmp_path, small):
    code, report = measured(
        tmp_path, "--model", tiny_run, "--only", "caching", "training", "end-to-end"
    )
    assert code == 0
    check(report)
    assert list(table(report, "caching")) == [
        "bare ResNet50, float32", "write the cache", "open it, checking its sums"
    ]  # fmt: skip
    for name in ("as long as Flickr8k's", "all of 21 tokens"):
        rows = table(report, f"training, captions {name}")
        assert list(rows) == [
            "bare ResNet50, images", "training, captions", "reading alone, captions"
        ]  # fmt: skip
        assert {row["samples"] for row in rows.values()} == {2}
    rounded = "training, captions all of 21 tokens, bfloat16"
    made = {one["name"] for one in report["measurements"]}
    assert (rounded in made) == machine.has_bfloat16()
    rows = table(report, "training on the score")
    assert {name: row["samples"] for name, row in rows.items()} == {
        "cross-entropy": 2, "self-critical": 2
    }  # fmt: skip
    for name in ("frozen", "trained, too"):
        rows = table(report, f"end to end, the image encoder {name}")
        assert {row["samples"] for row in rows.values()} == {2}


@pytest.mark.slow
def test_processes(tiny_run, tmp_path, small):
    code, report = measured(tmp_path, "--model", tiny_run, "--only", "start", "memory")
    assert code == 0
    check(report)
    start = table(report, "start")
    assert start["import tensorflow"]["ratio"] == 1
    assert min(row["ratio"] for name, row in start.items() if "caption" in name) > 1
    memory = table(report, "memory")
    least = memory["import tensorflow"]["median"]
    program = "model serving, C++ program"
    assert all(row["median"] >= least for name, row in memory.items() if name != program)
    if shutil.which("g++"):
        assert memory[program]["median"] > 100  # MiB: TensorFlow's library and the model


@pytest.mark.slow
def test_replicas(tiny_run, tmp_path, small, monkeypatch):
    from captioner.measuring import replicas

    monkeypatch.setattr(replicas, "_STEPS", 2)
    monkeypatch.setattr(replicas, "_MOST", 1)
    code, report = measured(tmp_path, "--model", tiny_run, "--only", "replicas")
    assert code == 0
    check(report)
    assert list(table(report, "replicas")) == [
        "one replica", "two logical processors, mirrored", "two processes, workers",
    ]  # fmt: skip


@pytest.mark.slow
def test_growth(tmp_path, small, monkeypatch):
    from captioner.measuring import growth

    base = {"batch": 1, "beams": 1, "tokens": 2, "vocabulary": 60, "side": 32}
    monkeypatch.setattr(growth, "BASE", base)
    monkeypatch.setattr(growth, "SIZES", {"beams": (1, 2), "side": (32, 64)})
    monkeypatch.setattr(growth, "RECORDS", (100, 1000))
    code, report = measured(tmp_path, "--growth")
    assert code == 0 and report["model"] == ""
    names = [one["name"] for one in report["measurements"]]
    assert names == ["growth, beams", "growth, side", "growth, records"]
    beams = report["measurements"][0]["rows"]
    assert [row["beams"] for row in beams] == [1, 2] and beams[0]["growth"] == 1
    assert all(row["peak_bytes"] >= row["call_bytes"] >= 0 for row in beams)


@pytest.mark.slow
def test_an_index_that_grows(tmp_path, monkeypatch):
    pytest.importorskip("usearch", reason="the extra search")
    from captioner.measuring import growth

    monkeypatch.setattr(growth, "VECTORS", (100, 21_000))  # one by one, and by neighbours
    code, report = measured(tmp_path, "--only", "search")
    assert code == 0 and report["model"] == ""
    exact, near = report["measurements"][0]["rows"]
    assert exact["recall"] > 0.99  # but for what half precision makes of equals
    assert 0.5 < near["recall"] <= 1
    assert near["disk_bytes"] > 21_000 * 2 * 384 > exact["disk_bytes"]


def test_a_profile_that_never_began_has_no_table():
    bench = types.SimpleNamespace(subject=types.SimpleNamespace(own="beam 3"))
    assert profile.Profile(bench).rows() == profile.Profile(bench).lines() == []


@pytest.mark.slow
def test_training_is_measured_with_its_kernels_and_one_photograph_is_not(exports, tmp_path):
    """The command itself, in as many processes as this processor asks for."""
    path = tmp_path / "figures.json"
    words = ["--only", "caching", "start", "--rounds", "1", "--json", path]
    words += ["--model", exports["float32"]]
    kept = {name: one for name, one in os.environ.items() if name != kernels.VARIABLE}
    done = subprocess.run(
        [sys.executable, "-m", "captioner.benchmark", *map(str, words)],
        capture_output=True, text=True, env=kept,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["complete"] and table(report, "caching") and table(report, "start")
    differ = kernels.batches_differ(machine.flags())
    assert report["machine"]["environment"].get(kernels.VARIABLE) is None
    assert (report.get("environment_of") == {"caching": {kernels.VARIABLE: "1"}}) == differ
    assert done.stdout.count(kernels.VARIABLE) == differ
    start, caching = map(done.stdout.index, ("import tensorflow", "write the cache"))
    assert (start < caching) == differ


@pytest.mark.parametrize("size", [(100, 75), (300, 200), (400, 900), (1700, 1600)])
def test_the_profile_decodes_as_captioning_does(size):
    """At the same scale: else the pixels would differ."""
    contents = tf.constant(photos.made(size, 1)[0])
    whole, errors = decode_images(contents[None], 64)
    assert errors.numpy() == [b""]
    assert (resize(profile.decoded(contents, 64), 64).numpy() == whole[0].numpy()).all()


def test_searches_that_a_model_can_be_measured_with(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "has_bfloat16", lambda: False)

    def searches(*overrides, built=object(), own="own"):
        settings = config.settings("demo", overrides=overrides)
        return subjects.Subject("", settings, built, own, {}, tmp_path, print).searches

    assert searches() == ["greedy", "beam 3", "beam 5", "own"]
    assert searches(own="beam 3") == ["greedy", "beam 5", "beam 3"]
    assert searches("decode.search=sample") == ["own"]
    assert searches("decode.beams=6", "decode.groups=3") == ["beam 3", "own"]
    assert searches(built=None) == ["own"]
    monkeypatch.setattr(machine, "has_bfloat16", lambda: True)
    assert searches() == ["greedy", "beam 3", "beam 5", "beam 3, bfloat16", "own"]
    assert searches("decode.beams=5", "decode.groups=5") == ["beam 5", "own"]


def test_random_captions_are_as_long_as_real_ones():
    import numpy as np

    tokens = subjects.random_tokens(4000, 24, 100, np.random.default_rng(0))
    lengths = (tokens != 0).sum(1)
    assert 13 < statistics.mean(lengths) < 15 and lengths.min() >= 6 and lengths.max() == 24
    ends = tokens[np.arange(len(tokens)), lengths - 1]
    assert (ends == 3).all() and (tokens[:, 0] >= 4).all()
    fixed = subjects.random_tokens(50, 21, 100, np.random.default_rng(0), shortest=21)
    assert ((fixed != 0).sum(1) == 21).all()


def test_made_words_are_all_different():
    words = subjects.vocabulary(10_000)
    assert len(set(words)) == len(words) == 10_000
