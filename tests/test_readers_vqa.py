"""VQA's files, small ones written here."""

import json

import pytest

from captioner.errors import CaptionerError
from captioner.inputs.questions import Question, asked
from captioner.inputs.readers import read


def put(folder, name, *numbers, form="COCO_{name}_{number:012d}.jpg"):
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / name / form.format(name=name, number=number)).write_bytes(b"image")


def write(folder, name, questions, answers=None, version="v2_"):
    """Questions (id, image, text) and answers id -> (common, people)."""
    folder.mkdir(exist_ok=True)
    rows = [{"question_id": q, "image_id": i, "question": text} for q, i, text in questions]
    path = folder / f"{version}OpenEnded_mscoco_{name}_questions.json"
    path.write_text(json.dumps({"data_subtype": name, "questions": rows}))
    if answers is None:
        return
    rows = [
        {
            "question_id": q,
            "question_type": "what color is the",
            "answer_type": "other",
            "multiple_choice_answer": common,
            "answers": [
                {"answer_id": n, "answer": one, "answer_confidence": "yes"}
                for n, one in enumerate(people, 1)
            ],
        }
        for q, (common, people) in answers.items()
    ]
    path = folder / f"{version}mscoco_{name}_annotations.json"
    path.write_text(json.dumps({"annotations": rows}))


TEN = ["red"] * 6 + ["dark red"] * 4


@pytest.fixture
def vqa(tmp_path):
    put(tmp_path, "train2014", 1, 2)
    put(tmp_path, "val2014", 11, 12, 13, 14)
    questions = [(10, 1, "What color is it?"), (11, 1, "Is it red"), (20, 2, "Where is it?"),
                 (30, 3, "Gone?"), (31, 3, "Gone, too?")]  # fmt: skip
    answers = {10: ("red", TEN), 11: ("yes", ["yes"] * 10), 20: ("here", ["here"] * 10),
               30: ("no", ["no"] * 10), 31: ("no", ["no"] * 10)}  # fmt: skip
    write(tmp_path, "train2014", questions, answers)
    dev = [(100 + i, i, f"What is {i}?") for i in (11, 12, 13, 14)]
    write(tmp_path, "val2014", dev, {q: ("x", ["x"] * 10) for q, *_ in dev})
    return tmp_path


def test_questions_with_ten_answers(vqa):
    data = read(f"vqa:{vqa}")
    first, second = data.split("train")
    assert first.id == "1" and first.image.name == "COCO_train2014_000000000001.jpg"
    assert first.prompts == ("What color is it?", "Is it red?")
    assert first.captions == ("red", "yes")
    assert first.questions[0] == Question("10", "what color is the", "other", tuple(TEN))
    assert [one.text for one in asked(second)] == ["Where is it?"]
    # Of an image that isn't there, its questions are counted and its file is named.
    assert data.problems.count("captions without an image file") == 2
    assert "COCO_train2014_000000000003.jpg" in data.problems.summary()


def test_without_test_questions_val_is_halved_by_image(vqa):
    data = read(f"vqa:{vqa}")
    ids = {name: {record.id for record in data.split(name)} for name in ("dev", "test")}
    assert all(ids.values()) and ids["dev"] | ids["test"] == {"11", "12", "13", "14"}
    assert all(record.answered for record in data.records)


def test_questions_of_test_have_no_answers(vqa):
    put(vqa, "test2015", 21, 22, form="{number:012d}.jpg")
    questions = [(210, 21, "What is it?"), (211, 21, "Who is it?"), (220, 22, "Why?")]
    write(vqa, "test2015", questions)
    write(vqa, "test-dev2015", questions[:1])
    data = read(f"vqa:{vqa}")
    assert {record.id for record in data.split("dev")} == {"11", "12", "13", "14"}
    first, second = data.split("test")
    assert first.image.name == "000000000021.jpg"
    assert first.prompts == ("What is it?", "Who is it?") and first.captions == ("", "")
    assert not first.answered and not second.answered
    assert [one.known.answers for one in asked(first)] == [(), ()]


def test_the_second_version_is_preferred(vqa):
    write(vqa, "train2014", [(1, 1, "Old?")], {1: ("old", ["old"] * 10)}, version="")
    assert read(f"vqa:{vqa}").split("train")[0].prompts[0] == "What color is it?"
    for path in vqa.glob("v2_*"):
        path.unlink()
    assert read(f"vqa:{vqa}").records[0].captions == ("old",)


def test_bad_rows_are_counted(vqa):
    path = vqa / "v2_OpenEnded_mscoco_train2014_questions.json"
    content = json.loads(path.read_text())
    content["questions"] += [{"question_id": 1}, {"question_id": 2, "image_id": 1, "question": " "},
                             {"question_id": 99, "image_id": 1, "question": "Unanswered?"}]  # fmt: skip
    del content["questions"][2]
    path.write_text(json.dumps(content))
    path = vqa / "v2_mscoco_train2014_annotations.json"
    content = json.loads(path.read_text())
    content["annotations"].append({"question_id": 5, "answers": []})
    path.write_text(json.dumps(content))
    problems = read(f"vqa:{vqa}").problems
    assert problems.count("questions without question_id, image_id and question") == 2
    name = "v2_mscoco_train2014_annotations.json"
    assert problems.count(f"questions without answers in {name}") == 1
    name = "v2_OpenEnded_mscoco_train2014_questions.json"
    assert problems.count(f"answers to no question of {name}") == 1
    kind = "answers without question_id, multiple_choice_answer and answers"
    assert problems.count(kind) == 1


def test_what_is_missing_is_named(vqa, tmp_path_factory):
    (vqa / "v2_mscoco_val2014_annotations.json").rename(vqa / "v2_mscoco_val_annotations.json")
    expected = "expected v2_mscoco_val2014_annotations.json beside it; did you mean v2_mscoco_val_"
    with pytest.raises(CaptionerError, match=expected):
        read(f"vqa:{vqa}")
    (vqa / "v2_mscoco_val_annotations.json").rename(vqa / "v2_mscoco_val2014_annotations.json")
    other = tmp_path_factory.mktemp("other")
    (other / "captions_train2014.json").write_text("{}")
    with pytest.raises(CaptionerError, match="no questions; expected .*found captions_train2014"):
        read(f"vqa:{other}")
    (vqa / "val2014").rename(other / "val2014")
    with pytest.raises(CaptionerError, match="no image folder val2014 for v2_OpenEnded_mscoco_val"):
        read(f"vqa:{vqa}")
    (vqa / "train2014").rename(other / "train2014")
    assert read(f"vqa:{vqa}", images=other).split("dev")


def test_a_table_with_prompts_asks_too(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"image")
    (tmp_path / "t.csv").write_text(
        "image,prompt,caption,split\na.jpg,How many?,2,train\na.jpg,How many?,3,train\n"
        "a.jpg,Is it?,yes,train\na.jpg,,a dog,train\n"
    )
    found = list(asked(read(f"csv:{tmp_path / 't.csv'}").records[0]))
    assert [(one.text, one.answer, one.known.answers) for one in found] == [
        ("How many?", "2", ("2", "3")), ("Is it?", "yes", ("yes",)),
    ]  # fmt: skip
    assert [one.known.answer_kind for one in found] == ["number", "yes/no"]
    assert [one.known.kind for one in found] == ["how many", "is it"]
