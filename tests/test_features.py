"""The feature cache: made once, never half, never of other images than it says."""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from captioner.errors import CaptionerError
from captioner.inputs import features, readers
from captioner.inputs.features import decode_files, find_unreadable, open_features, read_file

SIDE = 32


class Encoder:
    """Means of the four quarters of an image; counts the images it was shown."""

    def __init__(self):
        self.seen = 0

    def __call__(self, pixels):
        self.seen += len(pixels)
        half = pixels.shape[1] // 2
        quarters = tf.nn.avg_pool2d(tf.cast(pixels, tf.float32), half, half, "VALID")
        return tf.reshape(quarters, [-1, 4, 3])


@pytest.fixture
def records(drawn, tmp_path):
    """A few records whose files a test may change."""
    found = readers.read(f"csv:{drawn}").records[:9]
    (tmp_path / "images").mkdir()
    return [
        replace(one, image=Path(shutil.copy2(one.image, tmp_path / "images"))) for one in found
    ]


def opened(records, folder, encode=None, **options):
    options = {"side": SIDE, "fingerprint": "weights", "shape": (4, 3)} | options
    return open_features(records, encode or Encoder(), folder=folder, **options)


def cache_of(folder) -> Path:
    """The one cache in a folder, which holds nothing else."""
    (found,) = folder.iterdir()
    assert sorted(one.name for one in found.iterdir()) == ["features.bin", "index.json"]
    return found


def test_rows_are_the_encoders_output(records, tmp_path):
    encode = Encoder()
    cache = opened(records, tmp_path / "cache", encode)
    pixels, _ = decode_files([record.image for record in records], SIDE)
    expected = encode(pixels).numpy().astype(np.float16)
    assert len(cache) == 9 and cache.views == 1 and cache.unreadable == {}
    np.testing.assert_array_equal(cache.rows(np.arange(9)), expected)
    np.testing.assert_array_equal(cache.rows(np.array([5, 2, 5])), expected[[5, 2, 5]])
    assert cache.rows(np.array([0])).dtype == np.float16
    assert cache.rows(np.zeros(0, np.int64)).shape == (0, 4, 3)


def test_many_batches_make_the_same_rows(records, tmp_path, monkeypatch):
    whole = opened(records, tmp_path / "one")
    monkeypatch.setattr(features, "_BATCH", 4)
    done = []
    parts = opened(records, tmp_path / "two", progress=lambda *counts: done.append(counts))
    np.testing.assert_array_equal(parts.rows(np.arange(9)), whole.rows(np.arange(9)))
    assert done == [(4, 9), (8, 9), (9, 9)]


def test_the_second_opening_encodes_nothing(records, tmp_path):
    encode = Encoder()
    expected = opened(records, tmp_path, encode).rows(np.arange(9))
    again = opened(records, tmp_path, encode)
    assert encode.seen == 9
    np.testing.assert_array_equal(again.rows(np.arange(9)), expected)


def touch(record):
    os.utime(record.image, ns=(1, 1))
    return record


CHANGES = {
    "weights": lambda records: (records, {"fingerprint": "others"}),
    "side": lambda records: (records, {"side": 2 * SIDE}),
    "views": lambda records: (records, {"views": 2}),
    "order": lambda records: (records[::-1], {}),
    "one image less": lambda records: (records[:-1], {}),
    "one file's time": lambda records: ([*records[:-1], touch(records[-1])], {}),
    "one file gone": lambda records: (records[-1].image.unlink() or records, {}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_matters_is_in_the_key(records, tmp_path, change):
    folder = tmp_path / "cache"
    opened(records, folder)
    changed, options = CHANGES[change](records)
    encode = Encoder()
    opened(changed, folder, encode, **options)
    assert encode.seen > 0
    assert len(list(folder.iterdir())) == 2


def test_a_file_of_another_size_is_another_image(records, tmp_path):
    before = records[0].image.stat()
    old = opened(records, tmp_path / "cache").rows(np.array([0]))
    records[0].image.write_bytes(records[1].image.read_bytes())
    os.utime(records[0].image, ns=(before.st_atime_ns, before.st_mtime_ns))
    new = opened(records, tmp_path / "cache").rows(np.array([0]))
    assert (old != new).any()


@pytest.mark.parametrize(("views", "again"), [(1, 0), (2, 18)])
@pytest.mark.parametrize(
    "named",
    [(("a dog on the left",), ()), (("yes",), ("is the dog on the left?",))],
    ids=["caption", "question"],
)
def test_a_side_that_is_named_matters_to_views_only(records, tmp_path, named, views, again):
    pytest.importorskip("keras_cv")
    plain = [replace(record, captions=("a dog",)) for record in records]
    opened(plain, tmp_path / "cache", views=views)
    other = [replace(plain[0], captions=("a big dog",)), *plain[1:]]
    encode = Encoder()
    opened(other, tmp_path / "cache", encode, views=views)
    assert encode.seen == 0
    captions, prompts = named
    sided = [replace(plain[0], captions=captions, prompts=prompts), *plain[1:]]
    opened(sided, tmp_path / "cache", encode, views=views)
    assert encode.seen == again


def test_the_seed_matters_to_views_only(records, tmp_path):
    pytest.importorskip("keras_cv")
    for views, again in ((1, 0), (2, 18)):
        opened(records, tmp_path / "cache", views=views, seed=1)
        encode = Encoder()
        opened(records, tmp_path / "cache", encode, views=views, seed=2)
        assert encode.seen == again


# Views.


def test_the_first_view_is_plain_and_the_others_are_repeatable(records, tmp_path):
    pytest.importorskip("keras_cv")
    plain = opened(records, tmp_path / "plain")
    first, second = (opened(records, tmp_path / name, views=3, seed=4) for name in "ab")
    rows = np.arange(9)
    np.testing.assert_array_equal(first.rows(rows), plain.rows(rows))
    for view in range(3):
        np.testing.assert_array_equal(first.rows(rows, view), second.rows(rows, view))
    assert first.views == 3 and len(first) == 9
    assert (first.rows(rows, 1) != first.rows(rows, 0)).any(axis=(1, 2)).all()
    assert (first.rows(rows, 1) != first.rows(rows, 2)).any(axis=(1, 2)).all()
    mixed = first.rows(np.array([3, 3, 8]), np.array([2, 0, 1]))
    for row, (image, view) in enumerate([(3, 2), (3, 0), (8, 1)]):
        np.testing.assert_array_equal(mixed[row], first.rows(np.array([image]), view)[0])


# Images that can't be read.


def test_unreadable_images_are_zero_rows_and_named(records, tmp_path):
    pytest.importorskip("keras_cv")
    records[2].image.write_bytes(b"no image")
    records[7].image.unlink()
    for _ in range(2):  # made, then opened
        # An encoder that finds something even in black.
        encode = Encoder()
        cache = opened(records, tmp_path / "cache", lambda pixels: encode(pixels) + 1, views=2)
        assert list(cache.unreadable) == [2, 7]
        assert all(cache.unreadable.values()) and "no such file" in cache.unreadable[7]
        for view in (0, 1):
            assert not cache.rows(np.array([2, 7]), view).any()
            assert cache.rows(np.array([0, 1, 3, 8]), view).any(axis=(1, 2)).all()
    assert find_unreadable(records, SIDE) == cache.unreadable


def test_read_file_limits_and_reasons(tmp_path, monkeypatch):
    monkeypatch.setattr("captioner.inputs.files.MAX_FILE", 2**20)
    path = tmp_path / "file"
    path.write_bytes(b"x" * 2**20)
    assert read_file(path) == (b"x" * 2**20, "")
    path.write_bytes(b"x" * (2**20 + 1))
    assert read_file(path) == (b"", "larger than 1 MiB")
    assert read_file(str(tmp_path / "none")) == (b"", "no such file or directory")
    assert read_file(tmp_path) == (b"", "is a directory")
    assert read_file("a\0b") == (b"", "no file can have this name")
    if os.path.exists("/dev/zero"):
        assert read_file("/dev/zero") == (b"", "larger than 1 MiB")


def test_decode_files_keeps_the_order(records, tmp_path):
    paths = [records[0].image, tmp_path / "none.jpg", records[1].image]
    pixels, reasons = decode_files(paths, SIDE)
    assert [bool(reason) for reason in reasons] == [False, True, False]
    for row in (0, 2):
        alone, _ = decode_files([paths[row]], SIDE)
        np.testing.assert_array_equal(pixels[row], alone[0])


# Damage.


def damage_row(folder):
    with (folder / "features.bin").open("r+b") as file:
        file.seek(40)
        file.write(b"\xaa")


def edit_index(**changes):
    def edit(folder):
        path = folder / "index.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


DAMAGES = {
    "row": damage_row,
    "truncated": lambda folder: os.truncate(folder / "features.bin", 100),
    "longer": lambda folder: (folder / "features.bin").open("ab").write(b"x"),
    "empty": lambda folder: os.truncate(folder / "features.bin", 0),
    "no features": lambda folder: (folder / "features.bin").unlink(),
    "no index": lambda folder: (folder / "index.json").unlink(),
    "empty index": lambda folder: (folder / "index.json").write_text(""),
    "half an index": lambda folder: os.truncate(folder / "index.json", 30),
    "index of bytes": lambda folder: (folder / "index.json").write_bytes(b"\xff\x00"),
    "index without keys": lambda folder: (folder / "index.json").write_text("{}"),
    "index that is a list": lambda folder: (folder / "index.json").write_text("[1]"),
    "index of null": lambda folder: (folder / "index.json").write_text('{"shape": null}'),
    "another shape": edit_index(shape=[1, 9, 3, 4]),
    "fewer checksums": edit_index(checksums=[]),
    "no unreadable": edit_index(unreadable=None),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_and_the_cache_made_again(records, tmp_path, damage):
    folder = tmp_path / "cache"
    expected = opened(records, folder).rows(np.arange(9)).copy()
    DAMAGES[damage](cache_of(folder))
    encode = Encoder()
    for _ in range(2):
        again = opened(records, folder, encode)
        np.testing.assert_array_equal(again.rows(np.arange(9)), expected)
    assert encode.seen == 9
    cache_of(folder)


# Writing that doesn't end well.


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_interrupted_writing_leaves_nothing(records, tmp_path, error):
    def encode(pixels):
        raise error

    with pytest.raises(error):
        opened(records, tmp_path / "cache", encode)
    assert list((tmp_path / "cache").iterdir()) == []


class FullDisk(io.FileIO):
    """A file on a disk that has room for 100 bytes."""

    def write(self, data):
        if self.tell() + len(data) > 100:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name)
        return super().write(data)


def test_a_full_disk_leaves_nothing(records, tmp_path, monkeypatch):
    plain = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, mode="r", **rest: FullDisk(path, mode) if mode == "wb" else
        plain(path, mode, **rest)
    )  # fmt: skip
    with pytest.raises(OSError, match="No space left on device"):
        opened(records, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    monkeypatch.undo()
    assert len(opened(records, tmp_path / "cache")) == 9


def test_features_that_are_not_finite_are_an_error(records, tmp_path):
    def encode(pixels):
        return np.where(np.arange(12).reshape(4, 3) == 5, np.nan, Encoder()(pixels))

    with pytest.raises(CaptionerError, match="not finite"):
        opened(records, tmp_path / "cache", encode)
    assert list((tmp_path / "cache").iterdir()) == []


def test_large_features_stay_finite(records, tmp_path):
    cache = opened(records, tmp_path, lambda pixels: Encoder()(pixels) * 1e6 - 1e7)
    rows = cache.rows(np.arange(9)).astype(np.float64)
    assert np.abs(rows).max() == 65504


def test_what_killed_processes_left_is_removed_when_it_is_old(records, tmp_path):
    old, young = tmp_path / ".making-old", tmp_path / ".making-young"
    for folder in (old, young):
        folder.mkdir()
        (folder / "features.bin").write_bytes(b"x")
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(old / "features.bin", (long_ago, long_ago))
    os.utime(old, (long_ago, long_ago))
    os.utime(young, (long_ago, long_ago))  # still being written to
    opened(records, tmp_path)
    assert not old.exists() and young.exists()


def test_another_process_may_finish_first(records, tmp_path):
    encode = Encoder()

    def slow(pixels):
        opened(records, tmp_path / "cache", encode)  # the other one
        return encode(pixels)

    cache = opened(records, tmp_path / "cache", slow)
    assert encode.seen == 18
    np.testing.assert_array_equal(
        cache.rows(np.arange(9)), opened(records, tmp_path / "cache").rows(np.arange(9))
    )
    cache_of(tmp_path / "cache")


RACER = """
import sys, time
from pathlib import Path
import numpy as np, tensorflow as tf
from captioner.inputs.features import open_features
from captioner.inputs.records import Record
folder = Path(sys.argv[1])
(folder / f"ready-{sys.argv[2]}").touch()
while len(list(folder.glob("ready-*"))) < 2:
    time.sleep(0.01)
images = sorted((folder / "images").iterdir())
records = [Record(one.name, one, ("a dog",), "train") for one in images]
def encode(pixels):
    time.sleep(0.2)
    return tf.reshape(tf.cast(pixels, tf.float32)[:, ::16, ::16], [-1, 4, 3])
options = {"folder": folder / "cache", "shape": (4, 3), "side": 32, "fingerprint": "f"}
print(open_features(records, encode, **options).rows(np.arange(9)).tobytes().hex())
"""


@pytest.mark.slow
def test_two_processes_race_for_one_cache(records, tmp_path):
    root = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path), str(number)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for number in range(2)
    ]  # fmt: skip
    (first, _), (second, complaint) = (racer.communicate(timeout=120) for racer in racers)
    assert [racer.returncode for racer in racers] == [0, 0], complaint
    assert first == second and len(first) == 9 * 12 * 2 * 2 + 1
    cache_of(tmp_path / "cache")


# Memory.


def test_opening_and_reading_take_little_memory(tmp_path):
    shape = (1, 2000, 49, 128)  # 25 MB
    rows = np.zeros(shape, np.float16)
    rows[0, :, 0, 0] = np.arange(2000)
    checksums = [zlib.crc32(row.tobytes()) for row in rows[0]]
    index = {"shape": shape, "unreadable": {}, "checksums": checksums}
    (tmp_path / "index.json").write_text(json.dumps(index))
    rows.tofile(tmp_path / "features.bin")
    tracemalloc.start()
    cache = features.FeatureCache(tmp_path, shape)
    drawn = cache.rows(np.array([7, 1999]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert drawn[:, 0, 0].tolist() == [7, 1999]
    assert peak < 2e6


def test_no_images_make_an_empty_cache(tmp_path):
    for _ in range(2):
        cache = opened([], tmp_path)
        assert len(cache) == 0
        assert cache.rows(np.zeros(0, np.int64)).shape == (0, 4, 3)
