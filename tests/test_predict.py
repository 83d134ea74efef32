"""python -m captioner.predict: files in, lines out."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clients import UNREADABLE, jpeg, loaded
from PIL import Image

from captioner import drawing, loading, predict, predicting
from captioner.errors import CaptionerError


@pytest.fixture
def run(tiny_run, monkeypatch, capsys):
    """The command in this process, on the export: (exit code, standard output, standard error)."""
    monkeypatch.setattr(loading, "load", loaded)

    def command(*words, model=tiny_run / "export"):
        words = [str(word) for word in words]
        arguments = predict.parser().parse_intermixed_args(["--model", str(model), *words])
        code = predict.main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three images, one below in another folder, and files that are none."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for seed, name in enumerate(("b.jpg", "a.JPG", "below/c.jpeg")):
        (folder / name).write_bytes(jpeg(seed))
    (folder / "a.txt").write_text("a caption")
    return folder


def rows(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_without_options_it_gives_what_serving_default_gives(run, photos, tiny_run):
    code, out, _ = run("--json", photos / "b.jpg")
    expected = loaded(tiny_run / "export").call("serving_default", {"image_bytes": [jpeg(0)]})
    (row,) = rows(out)
    assert code == 0 and set(row) == {"image", "captions", "error"}
    assert row["image"] == str(photos / "b.jpg") and row["error"] is None
    (caption,) = row["captions"]
    assert set(caption) == {"text", "log_prob"}
    assert caption["text"] == expected["caption"][0].decode()
    assert caption["log_prob"] == pytest.approx(float(expected["log_prob"][0]), abs=1e-4)


def test_files_keep_their_order_and_folders_and_patterns_are_sorted(run, photos):
    inside = [photos / "a.JPG", photos / "b.jpg", photos / "below" / "c.jpeg"]
    for words, expected in (
        ([photos / "b.jpg", photos / "a.JPG", photos / "b.jpg"], [inside[1], inside[0], inside[1]]),
        ([photos], inside),
        ([photos / "*.[jJ]*"], inside[:2]),
        ([photos / "**" / "*.jp*"], inside[1:]),
        ([photos / "below", photos / "b.jpg"], [inside[2], inside[1]]),
    ):
        code, out, _ = run("--json", *words)
        assert code == 0 and [row["image"] for row in rows(out)] == [str(one) for one in expected]


def test_more_images_than_a_batch(run, tmp_path):
    for number in range(predicting._BATCH + 2):
        (tmp_path / f"{number:02d}.jpg").write_bytes(jpeg(number % 2))
    code, out, _ = run("--json", tmp_path)
    texts = [row["captions"][0]["text"] for row in rows(out)]
    assert code == 0 and len(texts) == predicting._BATCH + 2
    assert set(texts[::2]) == {texts[0]} and set(texts[1::2]) == {texts[1]}


def test_plain_output_is_a_line_per_caption(run, photos):
    code, out, err = run(photos / "b.jpg", photos / "a.JPG", "--beams", "2")
    lines = [line.split("\t") for line in out.splitlines()]
    assert code == 0 and err == ""
    assert [line[0] for line in lines] == [str(photos / "b.jpg")] * 2 + [str(photos / "a.JPG")] * 2
    assert all(line[1] for line in lines)


@pytest.mark.parametrize("kind", [*UNREADABLE, "missing"])
def test_an_unreadable_image_is_reported_and_the_others_captioned(run, photos, kind):
    bad = photos / "bad.jpg"
    if kind != "missing":
        bad.write_bytes(UNREADABLE[kind])
    words = [photos / "b.jpg", bad, photos / "a.JPG"]
    code, out, _ = run("--json", *words)
    first, broken, last = rows(out)
    assert code == 1 and broken["captions"] == [] and broken["image"] == str(bad)
    reason = {"empty": "empty", "webp": "WebP", "missing": "no such file"}.get(kind, "")
    assert broken["error"] and reason.lower() in broken["error"].lower()
    assert first["captions"] and last["captions"] and not first["error"]
    code, out, err = run(*words)
    assert code == 1 and len(out.splitlines()) == 2
    assert err.startswith(f"{bad}: ") and err.count("\n") == 1


def test_what_names_nothing_is_an_error(run, photos, tmp_path):
    with pytest.raises(CaptionerError, match="no file matches"):
        run(photos / "*.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CaptionerError, match="no images"):
        run(tmp_path / "empty")


def test_prompt(run, photos):
    code, out, _ = run(photos, "--prompt", "Two Red…", "--json")
    assert code == 0
    assert all(row["captions"][0]["text"].startswith("Two Red ") for row in rows(out))


def test_beams_of_an_export_and_of_a_run(run, photos, tiny_run):
    _, out, _ = run(photos / "b.jpg", "--beams", "3", "--json")
    (row,) = rows(out)
    assert len(row["captions"]) == 3 == len({one["text"] for one in row["captions"]})
    _, out, _ = run(photos / "b.jpg", "--beams", "1", "--json", model=tiny_run)
    assert len(rows(out)[0]["captions"]) == 1
    for wrong in ("0", "-1", "x"):
        with pytest.raises(SystemExit) as stop:
            run(photos, "--beams", wrong)
        assert stop.value.code == 2


ODD = ["[1].jpg", "a*b.jpg", "-dash.jpg", "tab\there.jpg", "line\nbreak.jpg", "übung 貓.jpg",
       "quote\"'.jpg", os.fsdecode(b"latin\xe9.jpg"), "% {x} \\n.jpg"]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_file_names(run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(jpeg(1))
    (tmp_path / "1.jpg").write_bytes(jpeg(2))  # what the pattern [1].jpg would find
    word = f"./{name}" if name.startswith("-") else name
    code, out, _ = run("--json", word, "--attention", "maps")
    assert code == 0 and [row["image"] for row in rows(out)] == [word]
    assert len(list(Path("maps").iterdir())) == 1
    code, out, _ = run(word)
    assert code == 0 and len(out.splitlines()) == 1 and out.count("\t") == 1
    assert out.isascii() == name.isascii() or "\\udce9" in out


def test_attention_draws_every_image_into_a_file_of_its_own(run, tmp_path):
    upright = Image.open(io.BytesIO(jpeg(1, width=120, height=60)))
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        upright.save(tmp_path / folder / "same.jpg")
    exif = Image.Exif()
    exif[0x112] = 6  # as a phone held upright stores it: lying on its side
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif)
    (tmp_path / ("long" * 60 + ".jpg")).write_bytes(jpeg(2))
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    images = ["x/same.jpg", "y/same.jpg", "turned.jpg", "long" * 60 + ".jpg", "bad.jpg"]
    code, _, _ = run("--attention", tmp_path / "new" / "maps", *(tmp_path / one for one in images))
    drawn = sorted((tmp_path / "new" / "maps").iterdir())
    assert code == 1 and len(drawn) == 4
    pictures = [Image.open(path) for path in drawn]
    assert all(one.format == "PNG" and one.width > 500 for one in pictures)
    same, again, turned, _ = pictures
    np.testing.assert_array_equal(same, again)
    assert turned.size == same.size, "the turned photo is drawn upright, as wide as the other"


def test_attention_is_of_the_best_caption(run, photos, tmp_path, monkeypatch):
    seen = []

    def figure(image, caption, tokens, maps):
        seen.append((image.size, caption, tokens, maps))
        return truth(image, caption, tokens, maps)

    truth = drawing.attention_figure
    monkeypatch.setattr(drawing, "attention_figure", figure)
    _, out, _ = run("--json", photos / "b.jpg", "--attention", tmp_path / "maps", "--beams", "2")
    ((size, caption, tokens, maps),) = seen
    assert size == (90, 70) and caption == rows(out)[0]["captions"][0]["text"]
    assert maps.shape == (len(tokens), 2, 2) and all(tokens)


def test_attention_into_what_is_no_folder(run, photos):
    with pytest.raises(OSError, match="exists"):
        run(photos / "b.jpg", "--attention", photos / "a.txt")


def test_either_a_model_or_a_server(run, capsys, photos):
    for words, reason in (
        (["x.jpg"], "one of the arguments --model --server is required"),
        (["--model", "a", "--server", "http://b", "x.jpg"], "not allowed with argument"),
    ):
        with pytest.raises(SystemExit) as stop:
            predict.parser().parse_intermixed_args(words)
        assert stop.value.code == 2 and reason in capsys.readouterr().err
    for words in (["--model-name", "x"], ["--label", "stable"], ["--timeout", "3"]):
        with pytest.raises(CaptionerError, match="goes with --server"):
            run(photos, *words)


def test_the_real_command(tiny_run, photos):
    """A process of its own: exit codes, streams, and names that aren't UTF-8 on a C terminal."""
    shutil.copy(photos / "b.jpg", photos / os.fsdecode(b"\xe9.jpg"))
    words = [sys.executable, "-m", "captioner.predict", "--model", tiny_run / "export"]
    environment = os.environ | {"PYTHONPATH": str(Path(predict.__file__).parents[1])}
    environment |= {"LC_ALL": "C", "PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run(
        [*words, photos / os.fsdecode(b"\xe9.jpg"), photos / "none.jpg", "--prompt", "é…"],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith(f"{photos}/\\udce9.jpg\t\\xe9") and done.stdout.count("\n") == 1
    assert done.stderr == f"{photos}/none.jpg: no such file or directory\n"
    done = subprocess.run(
        [*words[:-1], photos, photos / "b.jpg"],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
