"""Intervals and comparisons of scores: by hand where they can be, against plain loops elsewhere."""

import itertools

import numpy as np
import pytest

from captioner.metrics import Scorer, bootstrap
from captioner.metrics.bleu import COUNTS, Bleu
from captioner.metrics.measures import Measures

REFERENCES = {
    "a": ["a dog runs on the grass", "the brown dog is running"],
    "b": ["two people sit on a bench", "a man and a woman on a bench"],
    "c": ["a boat on the water", "one small boat sails"],
    "d": ["a red car in the street", "a car drives down the street"],
    "e": ["a girl jumps into the pool", "the girl is in the water"],
    "f": ["snow on the mountain", "a mountain covered in snow"],
}
GOOD = {
    "a": "a dog is running on the grass", "b": "a man and a woman sit on a bench",
    "c": "a boat on the water", "d": "a red car drives down the street",
    "e": "a girl jumps into the water", "f": "a mountain covered in snow",
}  # fmt: skip
POOR = GOOD | {"a": "a cat", "b": "a dog on the grass", "c": "the the the", "e": "", "f": "a man"}


def ratio(above, below=None):
    """Measures of nothing but one ratio."""
    above = np.asarray(above, float)
    below = np.ones(len(above)) if below is None else np.asarray(below, float)
    return Measures(np.zeros([len(above), COUNTS]), {"x": (above, below)})


def of(measures, rows):
    """The figures of some of the images."""
    return measures.figures(measures.summands[rows].sum(0))


# Measures


def test_figures_of_all_images_are_the_scorers():
    scorer = Scorer(REFERENCES)
    scores, corpus = scorer.score(GOOD, java=False), scorer.measures(GOOD).corpus()
    assert corpus and corpus == {name: scores[name] for name in corpus}


def test_figures_of_a_sample_are_those_of_a_scorer_of_that_sample():
    # An image drawn twice counts twice. CIDEr would have other document frequencies: not it.
    measures = Scorer(REFERENCES).measures(POOR)
    rows = [0, 3, 3, 5]
    ids = [list(REFERENCES)[row] for row in rows]
    split = [[text.split() for text in REFERENCES[id]] for id in ids]
    expected, _ = Bleu(split).score([POOR[id].split() for id in ids])
    np.testing.assert_allclose(of(measures, rows)[:4], expected, rtol=1e-12)


def test_a_ratio_divides_sums_and_is_nothing_of_nothing():
    measures = ratio([1, 0, 2], [4, 0, 4])
    assert measures.corpus()["x"] == 3 / 8
    np.testing.assert_array_equal(measures.column("x"), [0.25, np.nan, 0.5])


def test_more_ratios_leave_the_figures_before_them_alone():
    scorer = Scorer(REFERENCES)
    before = scorer.measures(GOOD)
    both = before.with_ratios({"y": (np.arange(6.0), np.ones(6))})
    assert both.names == (*before.names, "y")
    assert both.corpus() == before.corpus() | {"y": 2.5}


# Intervals


def test_interval_of_a_mean_of_two_images_by_hand():
    # Of 0 and 1, resamples have means 0, 1/2 and 1 with chances 1/4, 1/2 and 1/4.
    (interval,) = bootstrap.intervals(ratio([0, 1]), resamples=4000)[4:]
    assert interval.tolist() == [0, 1]
    sums = bootstrap._resampled(np.array([[0.0], [1.0]]), 4000, 0)[:, 0]
    shares = [np.mean(sums == value) for value in (0, 1, 2)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_resamples_of_the_smallest_set_cover_all_and_only_its_multisets():
    summands = np.array([[1.0], [10.0], [100.0]])
    found = set(bootstrap._resampled(summands, 3000, 1)[:, 0])
    assert found == {sum(one) for one in itertools.product([1, 10, 100], repeat=3)}


def test_interval_of_a_mean_is_the_normal_one_of_many_images():
    values = np.random.default_rng(0).normal(3, 2, 2000)
    (low, high), = bootstrap.intervals(ratio(values))[4:]
    error = 1.96 * values.std() / np.sqrt(len(values))
    assert [low, high] == pytest.approx([values.mean() - error, values.mean() + error], abs=0.01)


def test_intervals_are_the_same_for_the_same_seed_and_however_memory_is_cut(monkeypatch):
    measures = Scorer(REFERENCES).measures(POOR)
    first = bootstrap.intervals(measures, seed=7)
    assert (bootstrap.intervals(measures, seed=7) == first).all()
    assert (bootstrap.intervals(measures, seed=8) != first).any()
    monkeypatch.setattr(bootstrap, "_CHUNK", 50)
    np.testing.assert_allclose(bootstrap.intervals(measures, seed=7), first, rtol=1e-12)


def test_intervals_hold_the_figures():
    measures = Scorer(REFERENCES).measures(POOR)
    figures = np.array(list(measures.corpus().values()))
    low, high = bootstrap.intervals(measures).T
    assert (low < figures).all() and (figures < high).all()


def test_one_image_has_no_interval():
    assert np.isnan(bootstrap.intervals(ratio([1]))).all()


def test_resamples_without_a_figure_do_not_count():
    # Only the second image names objects: resamples without it have no share.
    (interval,) = bootstrap.intervals(ratio([0, 1], [0, 2]))[4:]
    assert interval.tolist() == [0.5, 0.5]
    assert np.isnan(bootstrap.intervals(ratio([0, 0], [0, 0]))[4]).all()


# Comparisons


def test_a_model_equals_itself():
    measures = Scorer(REFERENCES).measures(GOOD)
    found = bootstrap.compare(measures, measures)
    assert not found.difference.any() and not found.interval.any()
    assert (found.p == 1).all() and not found.higher.any() and not found.lower.any()


def test_p_is_that_of_all_exchanges():
    # Four images, each 1 better: of 16 ways to exchange, two differ by 4, so p is 1/8.
    found = bootstrap.compare(ratio([1, 2, 3, 4]), ratio([0, 1, 2, 3]), resamples=20_000)
    assert found.p[4] == pytest.approx(1 / 8, abs=0.01)
    assert found.difference[4] == 1 and found.interval[4].tolist() == [1, 1]
    assert found.higher[4] == 4 and found.lower[4] == 0


def test_p_of_bleu_is_that_of_all_exchanges():
    scorer = Scorer(REFERENCES)
    mine, other = scorer.measures(GOOD), scorer.measures(POOR)
    found = bootstrap.compare(mine, other, resamples=20_000)
    chance = []
    for swap in itertools.product([False, True], repeat=6):
        swap = np.array(swap)[:, None]
        one = np.where(swap, other.summands, mine.summands).sum(0)
        two = np.where(swap, mine.summands, other.summands).sum(0)
        chance.append(mine.figures(one) - mine.figures(two))
    expected = np.mean(np.abs(chance) >= np.abs(found.difference) - 1e-12, axis=0)
    np.testing.assert_allclose(found.p, expected, atol=0.015)
    assert 0 < expected[0] < 0.5  # BLEU_1 does tell the two apart


def test_a_comparison_is_paired():
    # The images differ by far more than the models: only pairing sees the difference.
    values = np.random.default_rng(0).normal(0, 100, 50)
    found = bootstrap.compare(ratio(values + 1), ratio(values))
    assert found.interval[4].tolist() == pytest.approx([1, 1]) and found.p[4] < 0.01


def test_p_is_uniform_where_models_do_not_differ():
    random = np.random.default_rng(3)
    ps = [
        bootstrap.compare(*map(ratio, random.normal(0, 1, [2, 20])), resamples=200).p[4]
        for _ in range(300)
    ]
    assert np.mean(np.array(ps) < 0.1) == pytest.approx(0.1, abs=0.06)


def test_the_other_way_round_only_signs_change():
    scorer = Scorer(REFERENCES)
    one = bootstrap.compare(scorer.measures(GOOD), scorer.measures(POOR))
    two = bootstrap.compare(scorer.measures(POOR), scorer.measures(GOOD))
    np.testing.assert_allclose(one.difference, -two.difference)
    np.testing.assert_allclose(one.interval, -two.interval[:, ::-1])
    assert (one.higher == two.lower).all() and one.higher.any()


def test_one_image_compares_without_an_interval():
    found = bootstrap.compare(ratio([1]), ratio([0]))
    assert found.difference[4] == 1 and np.isnan(found.interval).all() and found.p[4] == 1


def test_different_images_do_not_compare():
    with pytest.raises(ValueError, match="same images"):
        bootstrap.compare(ratio([1, 2]), ratio([1]))
