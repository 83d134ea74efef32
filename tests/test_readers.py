"""SPECs, the demo, and the user's own files: csv, jsonl, folder."""

import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

from captioner.errors import CaptionerError
from captioner.inputs.readers import read

from data_folders import by_id, put, splits, write

ROOT = Path(__file__).resolve().parents[1]


# SPEC


def test_reading_imports_no_tensorflow():
    code = (
        "import sys, captioner.inputs.readers; "
        "sys.exit(any(m.startswith(('tensorflow', 'keras')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("flikr8k:x", "unknown kind of data 'flikr8k'; did you mean flickr8k"),
        ("CSV:x", "did you mean csv"),
        ("", "unknown kind of data ''"),
        ("csv", "write csv:FILE"),
        ("folder: ", "write folder:DIR"),
        ("demo:x", "takes nothing after it"),
        ("csv:nowhere.csv", "no such file; expected csv:FILE"),
        ("csv:.", "that is a folder"),
        ("coco:nowhere", "no such folder; expected coco:DIR"),
        ("folder:table.csv", "that is a file"),
        ("flickr8k:.", "expected Images"),
        ("coco:.", r"expected annotations/captions_\*.json"),
        ("karpathy:table.csv", "table.csv is not valid JSON"),
        ("csv:table.csv", "no column image; columns found: file, caption"),
        ("tfds:../x", "expected a name such as tfds:coco_captions"),
        ("folder:.", r"no images \(.jpg"),
    ],
)
def test_a_wrong_spec_is_one_clear_line(tmp_path, monkeypatch, spec, says):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "table.csv", "file,caption\na.jpg,A dog .\n")
    with pytest.raises(CaptionerError, match=says) as raised:
        read(spec)
    assert "\n" not in str(raised.value)


def test_an_image_folder_that_is_missing(tmp_path):
    table = write(tmp_path / "t.csv", "image,caption\na.jpg,A dog .\n")
    with pytest.raises(CaptionerError, match="data.images=.*nowhere: no such folder"):
        read(f"csv:{table}", images=tmp_path / "nowhere")


def test_demo_is_written_then_read(tmp_path, monkeypatch):
    asked = []

    def draw(folder, *, progress=None):
        asked.append((folder, progress))
        put(folder, "a.png")
        write(folder / "captions.csv", "image,caption,split\na.png,a red ball,dev\n")

    fake = types.ModuleType("captioner.inputs.demo")
    fake.write = draw
    monkeypatch.setitem(sys.modules, "captioner.inputs.demo", fake)
    monkeypatch.setattr("captioner.inputs.demo", fake, raising=False)
    data = read("demo", cache=tmp_path, progress="bar")
    assert asked == [(tmp_path / "demo", "bar")]
    assert data.name == "demo"
    assert by_id(data)["a"].captions == ("a red ball",)
    assert by_id(data)["a"].image == tmp_path / "demo" / "a.png"


# csv


def test_csv_as_spreadsheets_write_it(tmp_path):
    put(tmp_path, "a.jpg", "d/b.jpg")
    text = (
        '\ufeffImage, caption ,SPLIT\r\n'
        'a.jpg,"A dog, a ""cat""\r\nand a hen .",train\r\n'
        "\r\n"
        "./a.jpg,A dog .,,\r\n"
        "d/b.jpg,Zwei Käfer .,val\r\n"
    )
    data = read(f"csv:{write(tmp_path / 't.csv', text)}")
    assert by_id(data)["a"].captions == ('A dog, a "cat" and a hen .', "A dog .")
    assert by_id(data)["d/b"].captions == ("Zwei Käfer .",)
    assert splits(data) == {"a": "train", "d/b": "dev"}
    assert not data.problems


def test_csv_prompts_are_one_per_caption(tmp_path):
    put(tmp_path, "a.jpg")
    text = "image,caption,prompt\na.jpg,yes,Is it red?\na.jpg,yes,Is it a dog?\na.jpg,A dog .,\n"
    record = read(f"csv:{write(tmp_path / 't.csv', text)}").records[0]
    assert record.captions == ("yes", "yes", "A dog .")
    assert record.prompts == ("Is it red?", "Is it a dog?", "")


def test_csv_rows_that_are_broken_cost_only_themselves(tmp_path):
    put(tmp_path, "a.jpg")
    swallowed = '"never closed\n' + "a.jpg,A caption that is lost .\n" * 30 + '"'
    text = b"image,caption\n" + b"\n".join(
        [b"a.jpg,A dog, running .", b"a.jpg,Un caf\xe9 .", b"a.jpg", b",A hen .",
         b"caf\xe9.jpg,A cat .", b"a.jpg," + swallowed.encode(), b"a.jpg,A dog ."]
    )  # fmt: skip
    data = read(f"csv:{write(tmp_path / 't.csv', text)}")
    assert by_id(data)["a"].captions == ("A dog .",)
    problems = data.problems
    assert problems.count("rows with too many columns (a comma outside quotes?)") == 1
    assert problems.count("captions that are not UTF-8") == 1
    assert problems.count("image names that are not UTF-8") == 1
    assert problems.count("empty captions") == 1
    assert problems.count("rows without an image name") == 1
    assert problems.count("rows over too many lines (an unclosed quote?)") == 1
    assert len(problems.kinds()) == 6


def test_csv_in_utf16_is_named(tmp_path):
    table = write(tmp_path / "t.csv", "image,caption\na.jpg,A dog .\n".encode("utf-16"))
    with pytest.raises(CaptionerError, match="is UTF-16; save it as UTF-8"):
        read(f"csv:{table}")


def test_csv_field_without_end_is_an_error_with_its_line(tmp_path):
    table = write(tmp_path / "t.csv", 'image,caption\na.jpg,"' + "long " * 40_000)
    with pytest.raises(CaptionerError, match=r"t\.csv, line 2: field larger"):
        read(f"csv:{table}")


@pytest.mark.parametrize("content", ["", "image,caption\n"])
def test_csv_without_rows(tmp_path, content):
    with pytest.raises(CaptionerError, match="columns found: none|no usable image"):
        read(f"csv:{write(tmp_path / 't.csv', content)}")


def test_image_paths_may_not_climb_out(tmp_path):
    put(tmp_path, "outside.jpg", "photos/c.jpg", "data/a.jpg")
    rows = ["a.jpg", "../outside.jpg", "d/../../outside.jpg", "d/../a.jpg", "../photos/c.jpg"]
    table = write(
        tmp_path / "data/t.csv", "image,caption\n" + "".join(f"{r},at {r}\n" for r in rows)
    )
    data = read(f"csv:{table}")
    assert [r.image for r in data.records] == [tmp_path / "data/a.jpg"]
    assert data.records[0].captions == ("at a.jpg", "at d/../a.jpg")
    assert "3 image paths that leave their folder" in data.problems.summary()
    # With data.images, a path relative to the table counts if it leads into that folder.
    data = read(f"csv:{table}", images=tmp_path / "photos")
    assert [(r.id, r.image) for r in data.records] == [("c", tmp_path / "photos/c.jpg")]


def test_absolute_image_paths_are_followed_in_the_users_tables(tmp_path):
    put(tmp_path, "elsewhere/a.jpg", "data/b.jpg")
    paths = [tmp_path / "elsewhere/a.jpg", tmp_path / "data/b.jpg"]
    table = write(
        tmp_path / "data/t.csv", "image,caption\n" + "".join(f"{p},A dog .\n" for p in paths)
    )
    data = read(f"csv:{table}")
    assert [r.image for r in data.records] == paths
    assert [r.id for r in data.records] == [str(tmp_path / "elsewhere/a"), "b"]


def test_images_elsewhere(tmp_path):
    put(tmp_path, "photos/a.jpg")
    table = write(tmp_path / "data/t.csv", "image,caption\na.jpg,A dog .\n")
    data = read(f"csv:{table}", images=tmp_path / "photos")
    assert [(r.id, r.image) for r in data.records] == [("a", tmp_path / "photos/a.jpg")]


def test_relative_specs_work_from_their_folder(tmp_path, monkeypatch):
    put(tmp_path, "a.jpg")
    write(tmp_path / "t.csv", "image,caption\na.jpg,A dog .\n")
    monkeypatch.chdir(tmp_path)
    assert [r.id for r in read("csv:t.csv").records] == ["a"]


def test_drawn_splits_do_not_depend_on_the_order(tmp_path):
    names = [f"p{i}.jpg" for i in range(40)]
    put(tmp_path, *names)
    rows = [f"{name},A dog ." for name in names]
    there = write(tmp_path / "a.csv", "\n".join(["image,caption", *rows]))
    back = write(tmp_path / "b.csv", "\n".join(["image,caption", *reversed(rows)]))
    there, back = read(f"csv:{there}"), read(f"csv:{back}")
    assert splits(there) == splits(back)
    assert set(splits(there).values()) == {"train", "dev", "test"}


# jsonl


def test_jsonl_takes_a_text_or_a_list(tmp_path):
    put(tmp_path, "a.jpg", "b.jpg")
    rows = [
        {"image": "a.jpg", "caption": "A dog .", "split": "train"},
        {"image": "a.jpg", "caption": ["A hen .", "A  cat ."], "split": None},
        {"image": "b.jpg", "caption": "red", "split": "test", "prompt": "What colour?"},
    ]
    text = "\ufeff" + "\n\n".join(json.dumps(row) for row in rows)
    data = read(f"jsonl:{write(tmp_path / 't.jsonl', text)}")
    assert by_id(data)["a"].captions == ("A dog .", "A hen .", "A cat .")
    assert by_id(data)["a"].prompts == ("", "", "")
    assert by_id(data)["b"].prompts == ("What colour?",)
    assert splits(data) == {"a": "train", "b": "test"}
    assert not data.problems


def test_jsonl_lines_that_are_broken_cost_only_themselves(tmp_path):
    put(tmp_path, "a.jpg")
    lines = [
        b'{"image": "a.jpg", "caption": "A dog ."}', b'{"image": "a.jpg", "cap', b"[1, 2]",
        b'{"image": "a.jpg", "caption": "Caf\xe9"}', b'{"file": "a.jpg", "caption": "A hen ."}',
        b'{"image": 3, "caption": "A hen ."}', b'{"image": "a.jpg", "caption": ["A hen .", 4]}',
        b'{"image": "a.jpg", "caption": "half a \\ud83d sign"}', b"[" * 100_000,
        b'{"image": "a.jpg", "caption": "A hen .", "split": 1}',
    ]  # fmt: skip
    file = write(tmp_path / "t.jsonl", b"\n".join(lines))
    data = read(f"jsonl:{file}")
    assert by_id(data)["a"].captions == ("A dog .",)
    assert data.problems.count("lines that are not JSON") == 2
    assert data.problems.count("lines that are not JSON objects") == 1
    assert data.problems.count("lines that are not UTF-8") == 1
    assert data.problems.count("objects without texts image and caption") == 4
    assert data.problems.count("captions that are not UTF-8") == 1
    assert "line 5 with file, caption" in data.problems.summary()


# folder


def test_folder_pairs_images_with_texts(tmp_path):
    put(tmp_path, "a.jpg", "d/e/b.PNG", "bare.gif", ".hidden.jpg", "__MACOSX/a.jpg")
    write(tmp_path / "a.txt", b"\xef\xbb\xbfA dog .\r\n\r\nA  hen .\nCaf\xe9 .\n")
    write(tmp_path / "d/e/b.txt", "A cat .")
    write(tmp_path / "README.txt", "notes")
    data = read(f"folder:{tmp_path}")
    assert by_id(data)["a"].captions == ("A dog .", "A hen .")
    assert by_id(data)["d/e/b"].image == tmp_path / "d/e/b.PNG"
    assert set(by_id(data)) == {"a", "d/e/b"}
    assert data.problems.count("images without captions") == 1
    assert data.problems.count("lines that are not UTF-8") == 1
    assert "README.txt" in data.problems.summary()


def test_folder_with_the_texts_elsewhere(tmp_path):
    put(tmp_path, "photos/d/a.jpg")
    write(tmp_path / "texts/d/a.txt", "A dog .")
    data = read(f"folder:{tmp_path / 'texts'}", images=tmp_path / "photos")
    assert [(r.id, r.captions) for r in data.records] == [("d/a", ("A dog .",))]


def test_folder_splits_by_its_top_folders_only_if_all_are_such(tmp_path):
    for name in ("train/a", "train/b", "val/c", "test/d"):
        put(tmp_path, f"{name}.jpg")
        write(tmp_path / f"{name}.txt", "A dog .")
    expected = {"train/a": "train", "train/b": "train", "val/c": "dev", "test/d": "test"}
    assert splits(read(f"folder:{tmp_path}")) == expected
    put(tmp_path, "beach/e.jpg")
    write(tmp_path / "beach/e.txt", "Sand .")
    drawn = read(f"folder:{tmp_path}")
    assert "beach/e" in by_id(drawn)
    assert set(splits(drawn).values()) == {"train", "dev", "test"}
