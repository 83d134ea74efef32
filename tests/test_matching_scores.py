"""Scores of yes and no against figures worked by hand, and the pairs that are judged."""

import numpy as np
import pytest

from captioner.inputs.pairs import DRAWN, HARD, OWN, judged_pairs, owners
from captioner.metrics import matching

# Right ones at 0.9, 0.6, 0.4; wrong ones at 0.7, 0.4, 0.2, 0.1.
SCORED = [0.9, 0.7, 0.6, 0.4, 0.4, 0.2, 0.1]
RIGHT = [True, False, True, True, False, False, False]


def test_scores_by_hand():
    found = matching.scores(SCORED, RIGHT)
    # Called right: 0.9, 0.7, 0.6; two of them are, one of three is missed.
    assert matching.confusion(SCORED, RIGHT) == {
        "true_positive": 2, "false_positive": 1, "false_negative": 1, "true_negative": 3
    }  # fmt: skip
    assert found["accuracy"] == pytest.approx(5 / 7)
    assert found["precision"] == found["recall"] == found["F1"] == pytest.approx(2 / 3)
    # 12 pairs: 0.9 beats 4, 0.6 beats 3, 0.4 beats 2 and equals 1.
    assert found["ROC_AUC"] == pytest.approx(9.5 / 12)
    # A threshold that a score meets is met.
    assert matching.scores(SCORED, RIGHT, 0.4)["recall"] == 1.0
    assert matching.scores(SCORED, RIGHT, 0.4)["precision"] == pytest.approx(3 / 5)


def test_scores_of_nothing():
    none = matching.scores([0.1, 0.2], [True, False])
    assert none["precision"] == none["recall"] == none["F1"] == 0.0
    assert matching.roc_auc([0.3, 0.4], [True, True]) == 0.5
    assert matching.roc_auc([0.3] * 4, [True, False, True, False]) == 0.5
    assert matching.scores([], [])["accuracy"] == 0.0


def test_the_area_is_that_under_the_curve_and_of_all_pairs():
    rng = np.random.default_rng(0)
    for _ in range(20):
        right = rng.random(40) < 0.4
        scored = np.round(rng.normal(size=40) + right, 1)  # with ties
        wins = [
            (a > b) + (a == b) / 2 for a in scored[right] for b in scored[~right]
        ]
        area = matching.roc_auc(scored, right)
        assert area == pytest.approx(np.mean(wins))
        across, up = matching.roc_curve(scored, right)
        assert (across[0], up[0], across[-1], up[-1]) == (0, 0, 1, 1)
        assert np.trapezoid(up, across) == pytest.approx(area)


def test_the_best_threshold_is_the_best():
    assert matching.best_threshold(SCORED, RIGHT) == pytest.approx(0.8)  # 5 of 7, as 0.5 and 0.3
    rng = np.random.default_rng(1)
    for _ in range(20):
        scored = np.round(rng.normal(size=15), 1)
        right = rng.random(15) < 0.5
        at = matching.best_threshold(scored, right)
        tried = [-9, *np.unique(scored), 9]
        best = max(matching.scores(scored, right, one)["accuracy"] for one in tried)
        assert matching.scores(scored, right, at)["accuracy"] == pytest.approx(best)


CAPTIONS = [
    ["A dog runs on the grass.", "a brown dog"],
    ["A dog runs on the beach.", "two dogs"],
    ["A child eats an apple.", "a BROWN dog!"],
    ["Boats on a lake.", "a lake"],
]


def test_captions_that_say_the_same_belong_to_each_other_s_images():
    image = [at for at, own in enumerate(CAPTIONS) for _ in own]
    found = owners([text for own in CAPTIONS for text in own], image)
    assert found[1] == found[5] == {0, 2} and found[0] == {0} and found[7] == {3}


def test_judged_pairs_are_right_or_wrong_as_they_say():
    for seed in range(5):
        made = judged_pairs(CAPTIONS, seed)
        assert made == judged_pairs(CAPTIONS, seed)
        kinds = [one.kind for one in made]
        assert kinds.count(OWN) == kinds.count(DRAWN) == kinds.count(HARD) == 8
        for one in made:
            said = {text.lower().strip(".!") for text in CAPTIONS[one.image]}
            assert (one.text.lower().strip(".!") in said) == (one.kind == OWN), one
    # The hardest has the rare words in common; what shares none is drawn.
    hard = [one for one in made if one.kind == HARD]
    assert hard[0].text == "A dog runs on the beach." and hard[2].text == "A dog runs on the grass."
    assert made != judged_pairs(CAPTIONS, 7)


def test_where_all_captions_are_an_image_s_own_there_is_nothing_wrong():
    made = judged_pairs([["a dog"], ["A dog."]])
    assert [one.kind for one in made] == [OWN, OWN]
