"""python -m captioner.evaluate: scores and predictions of a data set."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from clients import jpeg, loaded

from captioner import captioning, evaluate, evaluation, loading
from captioner.errors import CaptionerError
from captioner.inputs.records import Record
from captioner.metrics import java

KEYS = ["images", "BLEU_1", "BLEU_2", "BLEU_3", "BLEU_4", "ROUGE_L", "CIDEr", "METEOR", "SPICE"]


@pytest.fixture(autouse=True)
def without_java(monkeypatch):
    """Java takes seconds to start, and gives figures only where it is installed."""
    monkeypatch.setattr(java, "meteor", lambda *_: None)
    monkeypatch.setattr(java, "spice", lambda *_: None)


@pytest.fixture
def run(tiny_run, monkeypatch, capsys, tmp_path):
    """The command in this process: (standard output, standard error, scores, predictions)."""
    monkeypatch.setattr(loading, "load", loaded)

    def command(*words, model=tiny_run / "export"):
        files = tmp_path / "out" / "scores.json", tmp_path / "out" / "predictions.json"
        written = ["--scores", files[0], "--predictions", files[1]]
        words = [str(word) for word in ("--model", model, *written, *words)]
        assert evaluate.main(evaluate.parser().parse_args(words)) == 0
        captured = capsys.readouterr()
        return captured.out, captured.err, *(json.loads(one.read_text("utf-8")) for one in files)

    return command


def test_scores_have_the_contract_s_keys(run, drawn):
    out, _, scores, _ = run("--data", f"csv:{drawn}")
    settings = scores.pop("settings")
    assert set(KEYS) <= set(scores) and set(scores) - set(KEYS) <= {"CIDEr_D"}
    assert scores["images"] == 3 and scores["METEOR"] is None and scores["SPICE"] is None
    assert all(isinstance(scores[key], float) and scores[key] >= 0 for key in KEYS[1:7])
    assert settings["split"] == "test" and settings["data"] == f"csv:{drawn}"
    assert settings["decode"]["beams"] == 3 and "tokenizer" in settings
    printed = {line.split()[0] for line in out.splitlines()}
    assert printed == set(scores)


def test_a_run_and_its_export_score_alike(run, drawn, tiny_run):
    split = ("--data", f"csv:{drawn}", "--split", "dev+test")
    _, _, scores, predictions = run(*split)
    _, _, run_scores, run_predictions = run(*split, model=tiny_run)
    assert predictions == run_predictions
    scores.pop("settings"), run_scores.pop("settings")
    assert scores == pytest.approx(run_scores)


def test_splits_add_up(run, drawn):
    ids = {}
    for split in ("dev", "test", "dev+test"):
        _, _, scores, predictions = run("--data", f"csv:{drawn}", "--split", split)
        ids[split] = [one["image_id"] for one in predictions]
        assert scores["images"] == len(ids[split]) and scores["settings"]["split"] == split
    assert sorted(ids["dev+test"]) == sorted(ids["dev"] + ids["test"]) and len(ids["test"]) == 3
    for wrong in ("tset", "test+", "all"):
        with pytest.raises(CaptionerError, match="unknown split"):
            run("--data", f"csv:{drawn}", "--split", wrong)


def test_predictions_are_the_captions_of_load_in_any_order(run, drawn, tiny_run):
    _, _, _, predictions = run("--data", f"csv:{drawn}", "--split", "train")
    model = loaded(tiny_run / "export")
    with drawn.open(newline="") as file:
        images = sorted({row["image"] for row in csv.DictReader(file) if row["split"] == "train"})
    assert len(images) == len(predictions) == 34
    backwards = model.caption([drawn.parent / one for one in images[::-1]], batch_size=5)[::-1]
    assert all(set(one) == {"image_id", "caption"} for one in predictions)
    found = {str(one["image_id"]): one["caption"] for one in predictions}
    expected = dict(zip(images, (one.text for one in backwards), strict=True))
    assert sorted(found.values()) == sorted(expected.values())
    for image, text in expected.items():
        assert found.get(image, found.get(image.removesuffix(".jpg"))) == text


@pytest.fixture
def coco(tmp_path) -> Path:
    """A data set in COCO's format: ids are numbers."""
    folder = tmp_path / "coco"
    (folder / "val2017").mkdir(parents=True)
    (folder / "annotations").mkdir()
    numbers = [139, 285, 632]
    for number in numbers:
        (folder / "val2017" / f"{number:012d}.jpg").write_bytes(jpeg(number))
    content = {
        "images": [{"id": n, "file_name": f"{n:012d}.jpg"} for n in numbers],
        "annotations": [
            {"id": i, "image_id": n, "caption": f"two red pears number {n}"}
            for i, n in enumerate(numbers * 2)
        ],
    }
    path = folder / "annotations" / "captions_val2017.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_coco_s_predictions_have_coco_s_ids(run, coco):
    _, _, scores, predictions = run("--data", f"coco:{coco}", "--split", "dev+test")
    assert sorted(one["image_id"] for one in predictions) == [139, 285, 632]
    assert all(type(one["image_id"]) is int for one in predictions) and scores["images"] == 3


@pytest.mark.parametrize(
    ("spec", "image", "id", "expected"),
    [
        ("coco:d", "000000000139.jpg", "139", 139),
        ("coco:d", "139.jpg", "139", 139),
        ("karpathy:f", "COCO_val2014_000000000139.jpg", "139", 139),  # its cocoid
        ("karpathy:f", "1000092795.jpg", "1000092795", "1000092795"),  # Flickr30k: a file name
        ("tfds:coco_captions", "x.jpg", "139", 139),
        ("flickr8k:d", "1000268201_693b08cb0e.jpg", "1000268201_693b08cb0e", None),
        ("flickr8k:d", "667626.jpg", "667626", None),
        ("folder:d", "12.jpg", "12", None),
        ("csv:f", "²", "²", None),
        ("coco:d", "x.jpg", "²", None),
        ("coco:d", "x.jpg", "abc", None),
    ],
)
def test_ids_are_the_data_set_s_own(spec, image, id, expected):
    record = Record(id, Path("folder") / image, ("a dog",), "test")
    (one,) = evaluation.predictions(spec, [(record, "a cat")])
    assert one == {"image_id": id if expected is None else expected, "caption": "a cat"}
    assert type(one["image_id"]) is type(id if expected is None else expected)


@pytest.fixture
def damaged(drawn, tmp_path) -> Path:
    """The drawn data set with one of its six dev and test images broken."""
    folder = tmp_path / "damaged"
    shutil.copytree(drawn.parent, folder)
    bad = sorted((folder / "images" / "test").iterdir())[0]
    bad.write_bytes(bad.read_bytes()[:200])
    return folder / drawn.name


def test_unreadable_images_are_counted_and_left_out(run, damaged):
    spec = ("--data", f"csv:{damaged}", "--split", "dev+test")
    with pytest.raises(CaptionerError, match="1 of 6 images are unreadable.*unreadable_limit"):
        run(*spec)
    out, err, scores, predictions = run(*spec, "--set", "data.unreadable_limit=0.2")
    assert scores["images"] == 5 == len(predictions)
    assert "1 unreadable images" in err and "unreadable" not in out


class Fake:
    """A captioner that says what it was asked."""

    def caption(self, images, prompts, batch_size):
        self.seen = getattr(self, "seen", []) + list(zip(images, prompts, strict=True))
        return [
            captioning.Result((captioning.Caption(f"{image.stem} {prompt}", -1.0),))
            for image, prompt in zip(images, prompts, strict=True)
        ]


def records(count, prompts=()):
    return [
        Record(f"{i}", Path(f"{i}.jpg"), (f"{i} dogs", "a cat"), "test", prompts)
        for i in range(count)
    ]


def test_progress_and_prompts_of_the_data():
    done, model = [], Fake()
    outcome = evaluation.evaluate(model, records(70, ("what?", "")), progress=done.append)
    assert done == [32, 64, 70] and len(outcome.captioned) == 70
    assert {prompt for _, prompt in model.seen} == {"what?"}
    assert outcome.captioned[69][1] == "69 what?" and not outcome.problems


def test_no_images_and_only_unreadable_ones():
    with pytest.raises(CaptionerError, match="no images"):
        evaluation.evaluate(Fake(), [])

    class Blind:
        def caption(self, images, prompts, batch_size):
            return [captioning.Result((), "damaged")] * len(images)

    with pytest.raises(CaptionerError, match="none of the images"):
        evaluation.evaluate(Blind(), records(2), unreadable_limit=1.0)


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "scores.json"
    evaluation.write_json(path, {"é": None})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        evaluation.write_json(path, {"x": object()})
    assert path.read_bytes() == before == b'{\n  "\xc3\xa9": null\n}\n'
    assert [one.name for one in path.parent.iterdir()] == ["scores.json"]


def test_the_table_names_what_is_missing():
    table = evaluation.table({"images": 3, "CIDEr": 0.5, "SPICE": None, "settings": {}})
    assert [line.split()[:2] for line in table.splitlines()] == [
        ["images", "3"], ["CIDEr", "0.5000"], ["SPICE", "not"],
    ]  # fmt: skip
