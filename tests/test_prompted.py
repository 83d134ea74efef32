"""Prompts made of references, and what captions made of them."""

from pathlib import Path

import pytest

from captioner.inputs.prompts import content_words
from captioner.inputs.records import Record
from captioner.reporting import prompted


@pytest.fixture
def records() -> list[Record]:
    """Images with two references each; of the first image's, one is short."""
    made = []
    for number in range(8):
        first = "a dog runs" if number == 0 else f"a dog sleeps in house number {number}"
        other = f"two cats of kind{number} sit on a red bench"
        made.append(Record(str(number), Path(f"{number}.jpg"), (first, other), "test"))
    return made


def test_keywords_are_two_content_words_of_one_reference(records):
    prompts = prompted.draw(records, "keywords", 3)
    for record, prompt in zip(records[1:], prompts[1:], strict=True):
        assert len(set(prompt.words)) == 2 and prompt.text == " ".join(prompt.words)
        assert set(prompt.words) <= set(content_words(record.captions[prompt.reference]))
    assert {prompt.reference for prompt in prompts} == {0, 1}


def test_a_prefix_is_the_first_three_words_to_be_continued(records):
    prompts = prompted.draw(records, "prefix", 3)
    for record, prompt in zip(records, prompts, strict=True):
        words = record.captions[prompt.reference].split()
        assert prompt.text == " ".join(words[:3]) + "…" and len(words) > 3
    assert prompts[0].reference == 1  # "a dog runs" leaves nothing to be said


def test_prompts_depend_on_seed_and_image_alone(records):
    for kind in ("keywords", "prefix"):
        drawn = prompted.draw(records, kind, 5)
        assert prompted.draw(records[::-1], kind, 5) == drawn[::-1]
        assert prompted.draw(records[2:4], kind, 5) == drawn[2:4]
        assert any(prompted.draw(records, kind, seed) != drawn for seed in range(3))


def test_references_too_short_for_a_prompt_give_none():
    short = [Record("x", Path("x"), ("A dog!", "...", "it's the"), "test")]
    assert prompted.draw(short, "keywords") == prompted.draw(short, "prefix") == [prompted.Prompt()]
    with pytest.raises(ValueError, match="one of data, none"):
        prompted.draw(short, "words")


def test_marks_are_no_words_of_a_prompt():
    record = Record("x", Path("x"), ("The dog 's ball , a T-shirt !",), "test")
    for seed in range(20):
        (prompt,) = prompted.draw([record], "keywords", seed)
        assert set(prompt.words) < {"dog", "ball", "t-shirt"}


def test_follow_up_by_hand():
    records = [
        Record("1", Path("1"), ("a dog on grass", "the brown dog runs"), "test"),
        Record("2", Path("2"), ("a boat at sea",), "test"),
        Record("3", Path("3"), ("one red car",), "test"),
    ]
    prompts = [
        prompted.Prompt("dog grass", ("dog", "grass"), 0),
        prompted.Prompt("boat sea", ("boat", "sea"), 0),
        prompted.Prompt(),
    ]
    captions = {"1": "a dog on grass", "2": "a boats at sea", "3": "one red car"}
    nothing = dict.fromkeys("123", "xyz")
    found = prompted.follow_up(records, prompts, captions, nothing, "keywords")
    assert found["images_with_prompt"] == 2
    assert found["words_used"] == 3 / 4  # "boats" isn't the word that was asked for
    assert found["CIDEr"]["unprompted"] == 0 < found["CIDEr"]["prompt_alone"]
    assert found["CIDEr"]["prompt_alone"] < found["CIDEr"]["prompted"]
    # One image only has another reference, so that all its n-grams are in every image.
    assert found["CIDEr_of_other_references"] == dict.fromkeys(found["CIDEr"], 0.0)

    begun = [prompted.Prompt("a dog on…", ("a", "dog", "on"), 0), *prompts[2:] * 2]
    assert prompted.follow_up(records, begun, captions, nothing, "prefix")["continued"] == 1.0
    assert prompted.follow_up(records, begun, nothing, nothing, "prefix")["continued"] == 0.0
    none = prompted.follow_up(records, prompts[2:] * 3, captions, nothing, "keywords")
    assert none["words_used"] is None and none["CIDEr_of_other_references"] is None


def test_other_references_are_without_the_prompt_s_own():
    records = [
        Record(id, Path(id), (f"a {id} dog", f"one {id} cat"), "test") for id in ("red", "blue")
    ]
    prompts = [prompted.Prompt("dog", ("dog",), 0)] * 2
    dogs, cats = ({r.id: r.captions[n] for r in records} for n in (0, 1))
    found = prompted.follow_up(records, prompts, dogs, cats, "keywords")
    by_all, by_others = found["CIDEr"], found["CIDEr_of_other_references"]
    assert by_all["prompted"] == pytest.approx(by_all["unprompted"])
    assert by_others["unprompted"] > 2 * by_others["prompted"] > 0
