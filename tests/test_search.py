"""python -m captioner.search: an index of a folder of photographs, built and searched."""

import builtins
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from clients import jpeg

import captioner
from captioner import photo_index, search
from captioner.errors import CaptionerError
from captioner.photo_index import PhotoIndex

pytest.importorskip("usearch", reason="the extra search isn't installed")


@pytest.fixture(scope="module")
def model(tiny_towers):
    return captioner.load(tiny_towers / "export")


@pytest.fixture
def run(tiny_towers, model, monkeypatch, capsys):
    """The command in this process: (standard output, standard error)."""
    monkeypatch.setattr("captioner.loading.load", lambda folder: model)

    def command(name, *words, given=True):
        words = [name, *map(str, words)]
        if given or name == "build":
            words += ["--model", str(tiny_towers / "export")]
        assert search.main(search.parser().parse_args(words)) == 0
        return capsys.readouterr()

    return command


@pytest.fixture
def photos(tmp_path) -> Path:
    """Four photographs, and all that may lie beside them."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for seed, name in enumerate(("a.jpg", "b.JPG", "below/c.jpeg")):
        (folder / name).write_bytes(jpeg(seed))
    (folder / "line\nend \udcff.jpg").write_bytes(jpeg(7))
    (folder / "corrupt.jpg").write_bytes(jpeg(3)[:200])
    (folder / "empty.png").touch()
    (folder / "text.gif").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture either")
    (folder / "folder.jpg").mkdir()
    os.symlink("nowhere.jpg", folder / "broken.jpg")
    os.mkfifo(folder / "pipe.jpg")
    return folder


def listed(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rows(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def similarity(hits: list[dict], path: Path) -> float:
    """Of the one hit with this path."""
    (found,) = [one["similarity"] for one in hits if one["image"] == str(path)]
    return found


def test_a_hostile_folder(run, photos, tmp_path, model):
    index = tmp_path / "index"
    out, err = run("build", photos, "--index", index, "--json")
    (row,) = rows(out)
    assert row["photos"] == row["added"] == 4 and row["removed"] == 0
    assert {Path(one).name for one in row["unreadable"]} == {"corrupt.jpg", "empty.png", "text.gif"}
    assert "left out: 3 of 7" in err and "corrupt.jpg: " in err
    # A photograph finds itself, but for half precision; the whole list is in order.
    out, _ = run("image", photos / "b.JPG", "--index", index, "--json")
    hits = rows(out)
    assert similarity(hits, photos / "b.JPG") == pytest.approx(1, abs=2e-3) and len(hits) == 4
    assert [one["similarity"] for one in hits] == sorted(
        (one["similarity"] for one in hits), reverse=True
    )
    # By a sentence: the model's own similarities.
    out, _ = run("text", "a red ball", "--index", index, "--json")
    paths = [photos / "a.jpg", photos / "b.JPG", photos / "below/c.jpeg", *photos.glob("line*")]
    true = model.images(paths)[0] @ model.texts(["a red ball"])[0]
    for path, one in zip(paths, true, strict=True):
        assert similarity(rows(out), path) == pytest.approx(one, abs=2e-3)
    out, _ = run("text", "a red ball", "--index", index, "--count", 3, "--json")
    assert len(rows(out)) == 3
    # A name with a line's end stays on its line.
    out, _ = run("image", next(photos.glob("line*")), "--index", index, given=False)
    assert len(out.splitlines()) == 4 and all("\t/" in line for line in out.splitlines())


def test_adding_leaves_what_is_there_alone(run, photos, tmp_path, model, monkeypatch):
    index = tmp_path / "index"
    run("build", photos, "--index", index)
    before = listed(index)
    seen = []
    original = type(model).images
    monkeypatch.setattr(
        type(model), "images", lambda self, some: (seen.extend(some), original(self, some))[1]
    )
    for name in ("corrupt.jpg", "empty.png", "text.gif"):
        (photos / name).unlink()
    out, _ = run("build", photos, "--index", index, "--json")
    assert not seen and rows(out)[0]["added"] == 0 and listed(index) == before
    # One more, one that changed, one that is gone: two are looked at.
    (photos / "d.jpg").write_bytes(jpeg(11))
    (photos / "a.jpg").write_bytes(jpeg(12))
    (photos / "b.JPG").unlink()
    out, _ = run("build", photos, "--index", index, "--json")
    assert sorted(Path(one).name for one in seen) == ["a.jpg", "d.jpg"]
    assert {k: rows(out)[0][k] for k in ("photos", "added", "removed")} == {
        "photos": 4, "added": 2, "removed": 1
    }  # fmt: skip
    assert len(listed(index)) == 4  # of the old index nothing is left
    hits = rows(run("image", photos / "a.jpg", "--index", index, "--json")[0])
    assert len(hits) == 4
    assert similarity(hits, photos / "a.jpg") == pytest.approx(1, abs=2e-3)  # as it is now
    assert not any(one["image"].endswith("b.JPG") for one in hits)
    # Other folders' photographs stay.
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "e.jpg").write_bytes(jpeg(13))
    out, _ = run("build", tmp_path / "more", "--index", index, "--json")
    assert rows(out)[0]["photos"] == 5


def test_whole_or_not_at_all(run, photos, tmp_path, monkeypatch):
    """A disk that fills up, or a kill, under any file of a build: the index is the old one."""
    index = tmp_path / "index"
    run("build", photos / "a.jpg", "--index", index)
    before = listed(index)
    for broken in ("_described", "os.replace", "np.save"):
        def full(*_):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            owner = photo_index
            *path, name = broken.split(".")
            for part in path:
                owner = getattr(owner, part)
            patched.setattr(owner, name, full)
            with pytest.raises((OSError, CaptionerError)):
                run("build", photos, "--index", index)
        assert listed(index) == before
    assert len(rows(run("text", "a", "--index", index, "--json")[0])) == 1


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("index.json", lambda data: data[:20]),
        ("index.json", lambda data: data.replace(b'"format": 1', b'"format": 9')),
        ("vectors", lambda data: data[:-10]),
        ("ends", lambda data: data[: len(data) // 2]),
        ("names", lambda data: b""),
    ],
)
def test_a_damaged_index_is_one_clear_error(run, photos, tmp_path, name, change):
    index = tmp_path / "index"
    run("build", photos / "a.jpg", photos / "b.JPG", "--index", index)
    (path,) = index.glob(f"{name}*")
    path.write_bytes(change(path.read_bytes()))
    for words in (["text", "a"], ["build", photos]):
        with pytest.raises(CaptionerError, match="damaged") as raised:
            run(*words, "--index", index)
        assert "\n" not in str(raised.value)


def test_another_model_s_vectors_are_refused(run, photos, tmp_path, model, monkeypatch):
    index = tmp_path / "index"
    run("build", photos, "--index", index)
    monkeypatch.setattr(model, "identity", "another")
    for words in (["text", "a"], ["image", photos / "a.jpg"], ["build", photos]):
        with pytest.raises(CaptionerError, match="is of another model"):
            run(*words, "--index", index)


def test_what_can_not_be_searched(run, photos, tmp_path, tiny_run):
    index = tmp_path / "index"
    with pytest.raises(CaptionerError, match="is no index: python -m captioner.search build"):
        run("text", "a", "--index", index)
    with pytest.raises(CaptionerError, match="none of 1 photographs can be indexed: .*empty.png"):
        run("build", photos / "empty.png", "--index", index)
    assert not index.exists()
    with pytest.raises(CaptionerError, match="holds other things"):
        run("build", photos, "--index", photos)
    run("build", photos, "--index", index)
    with pytest.raises(CaptionerError, match=r"corrupt\.jpg: "):
        run("image", photos / "corrupt.jpg", "--index", index)
    words = ["text", "a", "--index", str(index), "--model", str(tiny_run)]
    with pytest.raises(CaptionerError, match="a model of the task caption"):
        search.main(search.parser().parse_args(words))


def test_without_the_extra_it_says_how_to_get_it(tmp_path, monkeypatch):
    original = builtins.__import__

    def without(name, *rest):
        if name.startswith("usearch"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    words = ["text", "a", "--index", str(tmp_path)]
    with pytest.raises(CaptionerError, match=r"pip install -e '\.\[search\]'"):
        search.main(search.parser().parse_args(words))


def test_many_vectors_are_found_without_being_read(tmp_path, monkeypatch):
    """The graph of neighbours finds what comparing with all finds, memory-mapped."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    made = PhotoIndex.begin(tmp_path / "index", "m", "i", 16)
    names = [f"/p/{at}.jpg" for at in range(3000)]
    for start in (0, 1500):  # in two goes, the second into what the first wrote
        part = slice(start, start + 1500)
        made = PhotoIndex.begin(tmp_path / "index", "m", "i", 16)
        made.add(names[part], ["1:1"] * 1500, vectors[part])
        made.save()
    found = PhotoIndex.open(tmp_path / "index")
    assert len(found) == 3000
    queries = vectors[::100] + 0.1 * rng.normal(size=(30, 16)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    true = [{names[at] for at in np.argsort(-one)[:10]} for one in queries @ vectors.T]
    monkeypatch.setattr(photo_index, "_EXACT", 0)

    def share(found: PhotoIndex) -> float:
        near = [{hit.image for hit in found.search(one, 10)} for one in queries]
        return np.mean([len(a & b) / 10 for a, b in zip(true, near, strict=True)])

    assert share(found) > 0.97
    # Among many, more are looked at.
    monkeypatch.setattr(photo_index, "_WIDE_SEARCH", 2)
    few = share(PhotoIndex.open(tmp_path / "index"))
    monkeypatch.setattr(photo_index, "_AMONG", 3)
    assert share(PhotoIndex.open(tmp_path / "index")) > few + 0.02
    shutil.rmtree(tmp_path / "index")
