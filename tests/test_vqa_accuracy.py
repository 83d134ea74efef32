"""VQA accuracy and the baseline that sees no image, against cases worked by hand."""

import itertools

import numpy as np
import pytest

from captioner.metrics.vqa import QuestionOnly, accuracy, normalised, summary

PEOPLE = ["dog"] * 4 + ["cat"] * 3 + ["a wolf", "wolf"] + ["fox"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("dog", 1.0),  # three are left, whoever is left out
        ("cat", 0.9),  # 3 ways leave 2 of 3, 7 ways leave 3
        ("the wolf", 0.6),  # 2 ways leave 1 of 3, 8 ways leave 2 of 3
        ("Fox.", 0.3),  # 1 way leaves none, 9 ways leave 1 of 3
        ("bear", 0.0),
        ("", 0.0),
    ],
)
def test_accuracy_by_hand(answer, expected):
    assert accuracy(answer, PEOPLE) == pytest.approx(expected)


def test_accuracy_is_the_mean_over_nine_of_ten():
    rng = np.random.default_rng(0)
    for _ in range(50):
        people = list(rng.choice(["a", "b", "c", "d"], 10, p=[0.5, 0.3, 0.15, 0.05]) + "x")
        for answer in set(people):
            nines = itertools.combinations(people, 9)
            mean = np.mean([min(nine.count(answer) / 3, 1) for nine in nines])
            assert accuracy(answer, people) == pytest.approx(mean)


def test_fewer_people_count_as_ten():
    assert accuracy("red", ["red"]) == 1 and accuracy("blue", ["red"]) == 0
    assert accuracy("red", ["red", "blue"]) == 1  # five of ten
    with pytest.raises(ValueError, match="no answers"):
        accuracy("red", [])


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("The Dog.", "dog"),
        ("an apple and a pear", "apple and pear"),
        ("two", "2"),
        ("None", "0"),
        ("Ten!", "10"),
        ("100,978", "100978"),
        ("yes, it is", "yes it is"),
        ("3.5 ft.", "3.5 ft"),
        ("2:50 P.M.", "2:50 pm"),
        ("red/white", "red white"),
        ("T-shirt", "t shirt"),
        ("girl's", "girl's"),
        ("girl’s", "girl's"),
        ("dont", "don't"),
        ("isnt", "isn't"),
        ("its", "its"),  # a word itself, like well, ill and were
        ("well", "well"),
        ("  on  the\tleft ", "on left"),
        ("the", ""),
    ],
)
def test_answers_are_written_alike(said, meant):
    assert normalised(said) == meant
    assert normalised(meant) == meant


def test_the_summary_means_by_kind():
    found = summary([1.0, 0.5, 0.0], {"by": ["is", "what", "is"]})
    assert found == {"accuracy": 0.5, "by": {"is": 0.5, "what": 0.5}}


def test_the_baseline_knows_questions_then_beginnings():
    blind = QuestionOnly(
        [
            ("what colour is the ball?", "red"),
            ("what colour is the ball?", "The red"),
            ("what colour is the ball?", "blue"),
            ("what colour is the sky?", "blue"),
            ("what colour is the sea?", "blue"),
            ("what colour is the ball on the left?", "green"),
            ("is it day?", "yes"),
        ]
    )
    assert blind("What colour is the ball?") == "red"  # the very question, not those it begins
    assert blind("what colour is the sky ?") == "blue"
    assert blind("what colour is the cup?") == "blue"  # 3 of the 6 that begin so
    assert blind("is it night?") == "yes"
    assert blind("why?") == "blue"
    assert QuestionOnly([("a?", "y"), ("b?", "x")])("c?") == "x"  # as frequent: by alphabet
    with pytest.raises(ValueError, match="no questions"):
        QuestionOnly([])
