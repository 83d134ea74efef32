"""What is told of captions beside their scores, on captions invented here."""

import math

import pytest

from captioner.errors import CaptionerError
from captioner.metrics.assessment import Assessor
from captioner.metrics.objects import Objects, folded
from captioner.metrics.wording import ends_badly, repeats_a_phrase, repeats_a_word

# What people say of pictures, often enough for the rules.
TRAINING = [
    "a brown dog is running on the grass", "two dogs are on the beach", "a dog with a red ball",
    "the man throws a ball to a dog", "a ball on the grass", "a man sits on a bench",
    "people on a bench in the snow", "a child in a red shirt", "a woman in a blue shirt",
    "a boy in a green shirt on the beach", "a cat is on a bench", "the cat is on the grass",
    "a cat and a dog on a beach", "a grassy field", "children play in a grassy field",
    "a grassy hill by the water", "a fox jumps over a ball",
]  # fmt: skip


@pytest.fixture(scope="module")
def objects() -> Objects:
    return Objects([caption.split() for caption in TRAINING])


# Wording


@pytest.mark.parametrize(
    ("caption", "word", "bigram", "trigram"),
    [
        ("a dog runs on the grass", False, False, False),
        ("a a dog", True, False, False),
        ("a dog and a dog", False, True, False),
        ("on the grass on the grass", False, True, True),
        ("dog dog dog", True, True, False),
        ("", False, False, False),
    ],
)
def test_repeats(caption, word, bigram, trigram):
    words = caption.split()
    assert repeats_a_word(words) is word
    assert repeats_a_phrase(words, 2) is bigram
    assert repeats_a_phrase(words, 3) is trigram


@pytest.mark.parametrize("caption", ["a dog and a", "a man in", "a dog with the", "a man and", ""])
def test_bad_endings(caption):
    assert ends_badly(caption.split())


@pytest.mark.parametrize("caption", ["a dog", "a boy jumps up", "he walks by", "she looks around"])
def test_endings_that_are_none_too_bad(caption):
    assert not ends_badly(caption.split())


# Objects


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("dogs", "dog"), ("benches", "bench"), ("boxes", "box"), ("puppies", "puppy"),
        ("grass", "grass"), ("bus", "bus"), ("glasses", "glass"), ("knives", "knife"),
        ("women", "person"), ("kid", "person"), ("tennis", "tennis"), ("gas", "gas"),
    ],
)  # fmt: skip
def test_plurals_and_people_are_folded(word, expected):
    assert folded(word) == expected


def test_objects_are_nouns_and_nothing_else(objects):
    assert objects.known == {"person", "dog", "grass", "beach", "ball", "bench", "shirt", "cat"}


def test_a_colour_between_article_and_noun_hides_no_noun_and_is_none(objects):
    assert "shirt" in objects.known and not objects.known & {"red", "blue", "green", "grassy"}


def test_named_objects_stand_as_in_the_caption_none_twice(objects):
    words = "two dogs and a dog run past benches with kids and a man".split()
    assert objects.named(words) == ["dogs", "benches", "kids"]


def test_an_object_is_hallucinated_that_no_reference_has(objects):
    references = ["a puppy on the beach".split(), "two balls and a woman".split()]
    words = "a man and a dog with a ball on a bench".split()
    assert objects.hallucinated(words, references) == ["dog", "bench"]
    assert objects.hallucinated(words, []) == ["man", "dog", "ball", "bench"]
    assert objects.hallucinated([], references) == []


def test_rare_words_and_other_languages_have_no_objects():
    assert Objects([["a", "dog"]]).known == {"person"}
    assert Objects([["ein", "hund", "rennt"]] * 9).known == {"person"}


# Assessments

REFERENCES = {
    "1": ["a dog on the grass", "a brown dog runs"],
    "2": ["a man on a bench"],
    "3": ["a cat", "the cat is on the beach"],
    "4": ["!?", "..."],  # nothing is left of these
}
CAPTIONS = {
    "1": "a dog with a ball on the grass",
    "2": "A man sits on a bench.",
    "3": "a dog and a dog on a",
    "4": "",
}


def test_a_whole_assessment_by_hand():
    found = Assessor(REFERENCES, TRAINING).assess(CAPTIONS, java=False)
    # dog, ball, grass; man, bench; dog: 2 of 6 hallucinated, in 2 of 4 captions.
    assert found.captions == {
        "words": (8 + 6 + 7 + 0) / 4,
        "words_spread": pytest.approx(math.sqrt((2.75**2 + 0.75**2 + 1.75**2 + 5.25**2) / 4)),
        "vocabulary": len("a dog with ball on the grass man sits bench and".split()),
        "different_captions": 1.0,
        "novel": 3 / 4,  # the second is in the training data, but for its marks
        "repeated_word": 0.0,
        "repeated_bigram": 1 / 4,
        "repeated_trigram": 0.0,
        "bad_ending": 2 / 4,
        "hallucinated_objects": 2 / 6,
        "captions_with_hallucinations": 2 / 4,
    }
    first, second, third, fourth = found.rows
    assert first["objects"] == ["dog", "ball", "grass"] and first["hallucinated"] == ["ball"]
    assert first["novel"] and not second["novel"]
    assert third["repeats"] == ["bigram"] and third["bad_ending"] and third["words"] == 7
    assert fourth["CIDEr"] == 0 and fourth["words"] == 0
    shares = found.measures.corpus()
    assert {name: shares[name] for name in found.captions if name in shares} == {
        name: value for name, value in found.captions.items() if name in shares
    }


def test_rows_have_the_scores_of_each_image():
    assessor = Assessor(REFERENCES, TRAINING)
    found = assessor.assess(CAPTIONS, java=False)
    assert assessor.images == tuple(REFERENCES) and len(found.rows) == 4
    for name in ("CIDEr", "ROUGE_L"):
        mean = sum(row[name] for row in found.rows) / 4
        assert mean == pytest.approx(found.scores[name]) and mean > 0


def test_repeated_captions_are_counted_once():
    captions = dict.fromkeys(REFERENCES, "a dog")
    assert Assessor(REFERENCES).assess(captions, java=False).captions["different_captions"] == 0.25


def test_without_training_captions_nothing_is_novel_or_old():
    found = Assessor(REFERENCES).assess(CAPTIONS, java=False)
    assert found.captions["novel"] is None and found.rows[0]["novel"] is None
    assert math.isnan(found.measures.corpus()["novel"])
    # The references know but few objects then: none here but people.
    assert found.rows[1]["objects"] == ["man"]


def test_people_are_judged_by_the_others():
    references = {"1": ["a dog on the grass", "a cat on the grass"], "2": ["a bench"]}
    people = Assessor(references, TRAINING).people()
    # One of dog and cat is wrong by the other, and the grass is right; the bench has no judge.
    assert people["hallucinated_objects"] == 1 / 2
    assert people["captions_with_hallucinations"] == 1 / 2
    assert people["words"] == (5 + 2) / 2 and people["novel"] == 1.0
    alone = Assessor({"1": ["a dog"]}, TRAINING).people()
    assert alone["hallucinated_objects"] is None and alone["words"] == 2


def test_people_depend_on_the_seed_only():
    references = {str(i): [f"a dog number {i}", "a cat", "one more bench"] for i in range(20)}
    assessor = Assessor(references, TRAINING)
    assert assessor.people(1) == assessor.people(1)
    assert any(assessor.people(seed) != assessor.people(1) for seed in range(2, 6))


def test_errors_are_the_scorer_s():
    with pytest.raises(CaptionerError, match="no caption for '3'"):
        Assessor({"3": ["a dog"], "4": ["a cat"]}).assess({"4": "a cat"})
