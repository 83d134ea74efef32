"""classes:DIR: whose class an image is, and what is left out and counted."""

import os

import pytest

from captioner.errors import CaptionerError
from captioner.inputs.readers import read


def put(folder, *names, contents=b"an image"):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)


def test_a_folder_for_each_class(tmp_path):
    put(tmp_path, "dog/1.jpg", "dog/more/2.JPG", "ice cream/1.png", "ice cream/1.txt")
    data = read(f"classes:{tmp_path}")
    assert data.labelled and not data.problems
    assert {one.id: one.captions for one in data.records} == {
        "dog/1": ("dog",), "dog/more/2": ("dog",), "ice cream/1": ("ice cream",),
    }  # fmt: skip


def test_splits_are_drawn_by_the_id_alone(tmp_path):
    put(tmp_path, *(f"{name}/{number}.jpg" for name in "abc" for number in range(40)))
    before = {one.id: one.split for one in read(f"classes:{tmp_path}").records}
    assert set(before.values()) == {"train", "dev", "test"}
    put(tmp_path, *(f"d/{number}.jpg" for number in range(40)))
    after = {one.id: one.split for one in read(f"classes:{tmp_path}").records}
    assert before.items() <= after.items() and len(after) == 160


def test_folders_of_splits(tmp_path):
    put(tmp_path, "train/dog/1.jpg", "train/cat/1.jpg", "val/dog/1.jpg", "test/cat/x/1.jpg")
    put(tmp_path, "notes/cat/1.jpg", "train/loose.jpg")
    data = read(f"classes:{tmp_path}")
    assert {(one.id, one.captions[0], one.split) for one in data.records} == {
        ("train/dog/1", "dog", "train"), ("train/cat/1", "cat", "train"),
        ("val/dog/1", "dog", "dev"), ("test/cat/x/1", "cat", "test"),
    }  # fmt: skip
    assert data.problems.count("images in no split") == 1
    assert "images in no class's folder (train/loose.jpg)" in data.problems.summary()


def test_classes_may_be_called_as_splits_are(tmp_path):
    """A train is a thing, too."""
    put(tmp_path, "train/1.jpg", "train/2.jpg", "test/1.jpg", "car/1.jpg")
    assert {one.captions[0] for one in read(f"classes:{tmp_path}").records} == {
        "train", "test", "car",
    }  # fmt: skip


def test_one_split_s_folder_alone_is_where_the_classes_are(tmp_path):
    put(tmp_path, *(f"train/{name}/{number}.jpg" for name in "ab" for number in range(40)))
    data = read(f"classes:{tmp_path}")
    assert {one.captions[0] for one in data.records} == {"a", "b"}
    assert {one.split for one in data.records} == {"train", "dev", "test"}


def test_what_can_not_be_used_is_counted_and_named(tmp_path):
    put(tmp_path, "dog/1.jpg", "dog/.2.jpg", ".git/3.jpg", "__MACOSX/dog/1.jpg", "loose.jpg")
    put(tmp_path, "cat/1.jpg", "a  b/1.jpg", "a b/1.jpg")
    put(tmp_path, "cat/empty.jpg", contents=b"")
    put(tmp_path, "pages/notes.txt")
    (tmp_path / "bird").mkdir()
    (tmp_path / "cat" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "cat" / "folder.jpg").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "dog")
    put(tmp_path.parent / "elsewhere", "x.jpg")
    (tmp_path / "dog" / "linked.jpg").symlink_to(tmp_path.parent / "elsewhere" / "x.jpg")
    os.makedirs(os.fsencode(tmp_path) + b"/caf\xe9")
    with open(os.fsencode(tmp_path) + b"/caf\xe9/1.jpg", "wb") as file:
        file.write(b"an image")
    data = read(f"classes:{tmp_path}")
    found = {one.id: one.captions[0] for one in data.records}
    # Links to files are followed, as by the other readers; links to folders are not.
    assert found == {
        "dog/1": "dog", "dog/linked": "dog", "cat/1": "cat", "a  b/1": "a b", "a b/1": "a b",
    }  # fmt: skip
    said = data.problems.summary()
    for part in (
        "2 classes without images (.jpg .jpeg .png .gif .bmp) (bird, pages)",
        "1 images in no class's folder (loose.jpg)",
        "1 empty image files (0 bytes)",
        "1 captions without an image file",
        "1 names of several folders (taken as one class) (a b)",
        "1 image names that are not UTF-8",
    ):
        assert part in said, said


@pytest.mark.parametrize(
    ("names", "images", "message"),
    [
        ([], False, "no usable image: its files list none"),
        (["1.jpg"], False, "no usable image: 1 images in no class's folder"),
        (["dog/1.jpg"], True, "unset data.images"),
    ],
)
def test_folders_that_can_not_be_used(tmp_path, names, images, message):
    put(tmp_path, *names)
    with pytest.raises(CaptionerError, match=message):
        read(f"classes:{tmp_path}", images=tmp_path if images else None)


def test_the_demo_s_pictures_of_one_kind(tmp_path, monkeypatch):
    from captioner.inputs import demo

    monkeypatch.setattr(demo, "write", lambda folder, progress: None)
    monkeypatch.setattr(demo, "shown", lambda: [("a.jpg", "train", "dog"), ("b.jpg", "dev", "owl")])
    put(tmp_path / "demo", "a.jpg", "b.jpg")
    data = read("demo", cache=tmp_path, prompts="classes")
    assert data.labelled
    assert [(one.captions, one.split) for one in data.records] == [
        (("dog",), "train"), (("owl",), "dev"),
    ]  # fmt: skip


def test_the_kinds_are_those_of_the_scenes():
    from captioner.inputs import demo

    shown = list(demo.shown(48))
    assert 10 < len(shown) < 48 and {split for _, split, _ in shown} == {"train", "dev", "test"}
    for name, split, kind in shown:
        index = int(name.rpartition("/")[2].partition(".")[0])
        assert {group.kind for group in demo.scene(0, index, split).groups} == {kind}
