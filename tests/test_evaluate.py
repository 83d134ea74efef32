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

MORE = {"CIDEr_D", "captions", "captions_of_people", "intervals"}
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
    assert set(scores) == set(KEYS) | MORE
    assert scores["images"] == 3 and scores["METEOR"] is None and scores["SPICE"] is None
    assert all(isinstance(scores[key], float) and scores[key] >= 0 for key in KEYS[1:7])
    assert settings["split"] == "test" and settings["data"] == f"csv:{drawn}"
    assert settings["decode"]["beams"] == 3 and "tokenizer" in settings
    printed = {line.split()[0] for line in out.partition("\n\n")[0].splitlines()}
    assert printed == set(KEYS) | {"CIDEr_D"}
    low, high = scores["intervals"]["CIDEr"]
    assert low <= scores["CIDEr"] <= high
    # The data has a train split: what is novel is known.
    assert 0 <= scores["captions"]["novel"] <= 1 and "not in the training data" in out


def test_a_run_and_its_export_score_alike(run, drawn, tiny_run):
    split = ("--data", f"csv:{drawn}", "--split", "dev+test")
    _, _, scores, predictions = run(*split)
    _, _, run_scores, run_predictions = run(*split, model=tiny_run)
    assert predictions == run_predictions
    for name in KEYS[1:7]:
        assert scores[name] == pytest.approx(run_scores[name])
    assert scores["captions"] == run_scores["captions"]


def test_the_command_writes_a_page_and_rows(run, drawn, tiny_run, tmp_path):
    out, err, scores, predictions = run(
        "--data", f"csv:{drawn}", "--split", "dev+test", "--prompts", "prefix", "--seed", "3",
        "--against", tiny_run, "--report", tmp_path / "r", "--rows", tmp_path / "rows.jsonl",
    )  # fmt: skip
    page = (tmp_path / "r" / "report.html").read_text("utf-8")
    assert page.startswith("<!doctype html>") and page.count("<article>") == 6
    assert page.count("looked at:") >= 6 * 3 and f"csv:{drawn}" in page
    assert str(tmp_path / "r" / "report.html") in err
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["caption"] for row in rows] == [one["caption"] for one in predictions]
    assert scores["prompts"]["continued"] == 1.0  # word for word
    assert scores["prompts"]["seed"] == 3 and scores["settings"]["prompts"] == "prefix"
    for row in rows:
        assert row["caption"].startswith(row["prompt"].removesuffix("…")) and row["prompt"]
        assert row["against"]["caption"] == row["caption"]  # the run that the export is of
        assert row["CIDEr"] >= 0 and row["references"] and "hallucinated" in row
    found = scores["comparison"]["measures"]["CIDEr"]
    assert scores["comparison"]["other"] == str(tiny_run) and found["difference"] == 0
    assert "compared with" in out and "word for word: 100.0%" in out


def test_settings_of_the_search_go_to_the_run(run, drawn, tiny_run, monkeypatch):
    asked = []

    def load(folder, overrides=()):
        asked.append((folder, list(overrides)))
        return loaded(folder)

    monkeypatch.setattr(loading, "load", load)
    words = ("--data", f"csv:{drawn}", "--set", "decode.groups=3", "data.unreadable_limit=0.5")
    run(*words, "--against", tiny_run / "export", model=tiny_run)
    # Three groups don't divide the default's five beams, but this run's three.
    assert asked == [(tiny_run, ["decode.groups=3"]), (tiny_run / "export", [])]
    with pytest.raises(CaptionerError, match="unknown setting 'data.unreadable'"):
        run(*words[:3], "data.unreadable=0.5")


def test_without_a_train_split_nothing_is_novel(run, coco):
    out, _, scores, _ = run("--data", f"coco:{coco}", "--split", "dev+test")
    assert scores["captions"]["novel"] is None and "novel" not in scores["intervals"]


def test_one_image(run, tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    (tmp_path / "one.csv").write_text("image,caption,split\na.jpg,a red dog runs,test\n")
    for kind in ("none", "keywords", "prefix"):
        page = tmp_path / "p.html"
        _, _, scores, _ = run(
            "--data", f"csv:{tmp_path / 'one.csv'}", "--prompts", kind, "--report", page
        )
        assert scores["images"] == 1 and scores["intervals"] == {} and page.is_file()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--prompts", "key"], "invalid choice: 'key'"),
        (["--seed", "-1"], "must be 0 or more"),
        (["--seed", "x"], "invalid seed value: 'x'"),
    ],
)
def test_wrong_arguments_are_an_error(capsys, words, reason):
    with pytest.raises(SystemExit):
        evaluate.parser().parse_args(["--model", "m", "--data", "d", *words])
    assert reason in capsys.readouterr().err


def test_a_page_that_can_have_no_place_is_an_error_at_once(drawn, tmp_path):
    (tmp_path / "file").touch()
    words = ["--model", "nowhere", "--data", f"csv:{drawn}", "--report", str(tmp_path / "file")]
    with pytest.raises(FileExistsError):
        evaluate.main(evaluate.parser().parse_args(words))


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
    outcome = evaluation.evaluate(
        model, records(70, ("what?", "")), progress=lambda *told: done.append(told)
    )
    assert done == [(32, 70), (64, 70), (70, 70)] and len(outcome.captioned) == 70
    assert {prompt for _, prompt in model.seen} == {"what?"}
    assert outcome.captioned[69][1] == "69 what?" and not outcome.problems


def test_the_data_s_prompts_are_left_out_for_none_and_replaced_for_others():
    for kind, expected in (("none", {""}), ("keywords", {"", "5 dogs"})):
        model = Fake()
        outcome = evaluation.evaluate(model, records(9, ("what?", "")), prompts=kind)
        asked = {prompt for image, prompt in model.seen if image.stem == "5"}
        assert {" ".join(sorted(prompt.split())) for prompt in asked} == expected
        assert {prompt.text for prompt in outcome.prompts} <= {p for _, p in model.seen}


def test_with_prompts_each_image_is_captioned_without_them_too():
    done, model = [], Fake()
    outcome = evaluation.evaluate(
        model, records(40), prompts="keywords", progress=lambda *told: done.append(told)
    )
    assert done == [(32, 80), (40, 80), (72, 80), (80, 80)]
    assert [prompt for _, prompt in model.seen[40:]] == [""] * 40
    found = outcome.scores["prompts"]
    assert found["words_used"] == 1.0 and found["images_with_prompt"] == 40
    assert found["CIDEr"]["prompted"] == pytest.approx(outcome.scores["CIDEr"])
    assert found["CIDEr"]["prompted"] > found["CIDEr"]["unprompted"]
    assert found["comparison"]["measures"]["CIDEr"]["higher"] > 30


class Worse(Fake):
    """Another model, which can't read the first image and sees cats everywhere."""

    source = "worse"

    def caption(self, images, prompts, batch_size):
        return [
            captioning.Result((), "damaged") if image.stem == "0"
            else captioning.Result((captioning.Caption("a cat", -1.0),))
            for image in images
        ]  # fmt: skip


def test_another_model_is_compared_on_the_images_that_both_read():
    outcome = evaluation.evaluate(Fake(), records(40), against=Worse())
    found = outcome.scores["comparison"]
    assert found["other"] == "worse" and found["images"] == outcome.scores["images"] == 39
    assert outcome.problems.count("unreadable images") == 1
    assert [record.id for record, _ in outcome.captioned] == [str(i) for i in range(1, 40)]
    cider = found["measures"]["CIDEr"]
    assert cider["difference"] == pytest.approx(cider["model"] - cider["other"])
    assert cider["interval"][0] <= cider["difference"] <= cider["interval"][1]
    rows = evaluation.rows("csv:x", outcome)
    assert rows[0]["image_id"] == "1" and rows[0]["against"]["caption"] == "a cat"
    assert json.loads(json.dumps(outcome.scores, allow_nan=False)) == outcome.scores


def test_references_without_words_score_nothing():
    bare = [
        Record("1", Path("1.jpg"), ("!",), "test"), Record("2", Path("2.jpg"), ("...",), "test")
    ]  # fmt: skip
    for kind in ("none", "keywords", "prefix"):
        outcome = evaluation.evaluate(Fake(), bare, prompts=kind)
        assert outcome.scores["CIDEr"] == 0 and outcome.scores["captions_of_people"]["words"] == 0
        json.dumps(outcome.scores, allow_nan=False)
        json.dumps(evaluation.rows("csv:x", outcome), allow_nan=False)


def test_rows_hold_any_file_name(tmp_path):
    odd = Record("1", Path("caf\udce9.jpg"), ("a dog",), "test")
    outcome = evaluation.evaluate(Fake(), [odd])
    evaluation.write_rows(tmp_path / "r", evaluation.rows("csv:x", outcome))
    (line,) = (tmp_path / "r").read_text("ascii").splitlines()
    assert json.loads(line)["image"] == "caf\udce9.jpg"


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
