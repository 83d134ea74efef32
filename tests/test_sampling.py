"""Drawing captions, against the distributions of models that are tables.

Legend: B batch, K captions, T tokens, V vocabulary.
"""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from tables import BANNED, END, FIRST, PAD, START, Table, V, caption, valid

from captioner.decoding import phrases
from captioner.decoding.rules import Rules
from captioner.decoding.sampling import draw, numbers, sample

VOCABULARY = ["[PAD]", "[START]", "[END]", "man", "##s", "dog"]


def drawn(table, captions, rows=None, seed=0, **options):
    """Captions drawn from a table, for requests that are its rows' numbers."""
    rules = {name: options.pop(name) for name in [*options] if name in Rules.__dataclass_fields__}
    rules = Rules(**{"max_tokens": table.tokens, "end": END, "banned": BANNED} | rules)
    state = table.state(captions, rows)
    rows = range(table.rows) if rows is None else rows
    requests = [tf.constant([str(row) for row in rows])]
    uniform = numbers(requests, seed, captions, table.tokens)
    return sample(table.step, state, uniform, rules=rules, start=START, **options)


# Numbers.


def test_numbers_are_equally_distributed_and_independent():
    drawn = numbers([tf.constant([str(n) for n in range(200)])], 0, 5, 20).numpy()
    assert drawn.shape == (200, 5, 20) and drawn.dtype == np.float32
    assert drawn.min() > 0 and drawn.max() < 1
    counts = np.bincount((drawn.ravel() * 20).astype(int), minlength=20)
    # 20,000 numbers in 20 bins: chi-square of 19 degrees, below 43.8 in 999 of 1,000 cases.
    assert ((counts - 1000) ** 2 / 1000).sum() < 43.8
    # Neighbours in every direction: correlations of 20,000 pairs stay within four deviations.
    for axis in range(3):
        a, b = np.delete(drawn, 0, axis), np.delete(drawn, -1, axis)
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / np.sqrt(a.size)


def test_numbers_depend_on_the_request_and_the_seed_alone():
    images, prompts = tf.constant(["a", "b", "a"]), tf.constant(["", "", "x"])
    first = numbers([images, prompts], 7, 3, 4).numpy()
    np.testing.assert_array_equal(first[:1], numbers([images[:1], prompts[:1]], 7, 3, 4))
    others = [*first, *numbers([images[:1], prompts[:1]], 8, 3, 4).numpy()]
    assert len({one.tobytes() for one in others}) == 4
    # What the first part ends with is not what the second begins with.
    parts = [numbers([tf.constant([a]), tf.constant([b])], 7, 1, 4) for a, b in
             (("ab", "c"), ("a", "bc"))]  # fmt: skip
    assert not np.array_equal(*parts)
    assert numbers([tf.constant([], tf.string)], 0, 2, 3).shape == (0, 2, 3)
    assert np.isfinite(numbers([tf.constant(["a"])], 2**63 - 1, 1, 1)).all()


# One token.


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.5, 0.3, 0.15, 0.05]),
        ({"temperature": 0.5}, np.array([25, 9, 2.25, 0.25]) / 36.5),
        ({"temperature": 100.0}, [0.2525, 0.2512, 0.2495, 0.2468]),
        ({"top_k": 2}, [0.625, 0.375, 0, 0]),
        ({"top_k": 1}, [1, 0, 0, 0]),
        ({"top_k": 9}, [0.5, 0.3, 0.15, 0.05]),
        ({"top_p": 0.6}, [0.625, 0.375, 0, 0]),
        ({"top_p": 0.5}, [1, 0, 0, 0]),
        ({"top_p": 0.01}, [1, 0, 0, 0]),
        ({"top_p": 0.9}, np.array([0.5, 0.3, 0.15, 0]) / 0.95),
        # top_p is of what temperature and top_k leave.
        ({"top_k": 3, "top_p": 0.8}, [0.625, 0.375, 0, 0]),
        ({"temperature": 0.5, "top_p": 0.9}, [25 / 34, 9 / 34, 0, 0]),
    ],
)
def test_tokens_are_drawn_as_probably_as_they_are(options, expected):
    count = 40_000
    grid = (tf.range(count, dtype=tf.float32) + 0.5) / count
    order = [2, 0, 3, 1]  # not by falling probability
    log_probs = tf.math.log(tf.gather([0.5, 0.3, 0.15, 0.05], np.argsort(order)))
    tokens = draw(
        tf.tile(log_probs[None, None], [1, count, 1]), grid[None],
        **{"temperature": 1.0, "top_k": 0, "top_p": 1.0} | options,
    )  # fmt: skip
    found = np.bincount(tokens[0].numpy(), minlength=4)[order] / count
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_what_has_no_chance_is_never_drawn():
    """Not at the ends of the numbers, nor where rounding helps."""
    log_probs = tf.constant([[[-1e9, 0.0, -1e9, -30.0, -np.inf, -1e9]]])
    for number in (2.0**-24, 0.5, 1 - 2.0**-24, 1.0):
        for options in ((1.0, 0, 1.0), (100.0, 0, 1.0), (1.0, 6, 0.999)):
            assert int(draw(log_probs, tf.constant([[number]]), *options)[0, 0]) in (1, 3)


# Captions.


def test_captions_are_drawn_as_probably_as_they_are():
    """Of 8,000 captions, each as many as its probability says, within four deviations."""
    table = Table(rows=2, tokens=3, seed=1)
    count = 4000
    found = drawn(table, count)
    for row in range(2):
        captions = valid(found, row)
        assert len(captions) == count
        for one in table.captions():
            chance, code = 1.0, table.code(FIRST, START)
            for place, token in enumerate(one):
                p = np.exp(table.log_probs[row, code])
                # Two tokens are banned, and the last is the end in any case.
                allowed = p[END:].sum() if place < table.tokens - 1 else p[END]
                chance *= p[token] / allowed
                code = table.code(code, token)
            spread = np.sqrt(count * chance * (1 - chance))
            assert abs(captions.count(one) - count * chance) < 4 * spread + 1


@pytest.mark.parametrize("options", [{}, {"temperature": 0.3, "top_k": 3, "top_p": 0.9}])
def test_log_probabilities_are_the_model_s_own(options):
    table = Table(rows=3, tokens=5, seed=2)
    found = drawn(table, 6, length_penalty=0.7, trace="seen", **options)
    for row in range(3):
        assert np.all(np.diff(found.scores[row]) <= 0)
        for beam, words in enumerate(valid(found, row)):
            total = table.log_prob(row, words)
            np.testing.assert_allclose(found.log_probs[row, beam], total, atol=1e-5)
            np.testing.assert_allclose(
                found.scores[row, beam], total / len(words) ** 0.7, atol=1e-5
            )
            trace = found.trace[row, beam].numpy()
            assert trace[: len(words), 1].tolist() == table.codes(words)
            assert not trace[len(words) :].any()
            assert not found.tokens[row, beam, len(words) :].numpy().any()


@pytest.mark.parametrize("options", [{"top_k": 1}, {"temperature": 0.01}, {"top_p": 1e-6}])
def test_drawing_what_is_most_probable_is_greedy(options):
    table = Table(rows=8, tokens=5, seed=3, sharpness=3.0)
    greedy = table.search(1)
    found = drawn(table, 3, **options)
    for beam in range(3):
        np.testing.assert_array_equal(found.tokens[:, beam], greedy.tokens[:, 0])
        np.testing.assert_allclose(found.log_probs[:, beam], greedy.log_probs[:, 0], atol=1e-5)


def test_a_row_draws_the_same_in_any_company():
    table = Table(rows=4, tokens=5, seed=4)
    together = drawn(table, 3)
    for rows in ([2], [2, 0], [1, 2, 2, 3]):
        found = drawn(table, 3, rows=rows)
        for a, b in zip(found[:3], together[:3], strict=True):
            np.testing.assert_array_equal(a[rows.index(2)], b[2])
    again, other = drawn(table, 3), drawn(table, 3, seed=1)
    np.testing.assert_array_equal(together.tokens, again.tokens)
    assert not np.array_equal(together.tokens, other.tokens)


def test_rules_hold_for_what_is_drawn():
    table = Table(rows=2, tokens=6, seed=5)
    found = drawn(
        table, 200, min_tokens=3, no_repeat=2, no_stutter=VOCABULARY, strict=True,
        forbidden=phrases.follow(VOCABULARY, END, ["dog man"]),
    )  # fmt: skip
    for row in range(2):
        captions = valid(found, row)
        assert len(set(captions)) > 20
        for one in captions:
            assert len(one) >= 3 and one[-1] == END and not {PAD, START} & set(one)
            pairs = list(itertools.pairwise(one))
            assert len(set(pairs)) == len(pairs) and (5, 3) not in pairs
            assert (3, 3) not in pairs and (5, 5) not in pairs


def test_a_prefix_is_repeated():
    table = Table(rows=2, tokens=5, seed=6)
    found = drawn(table, 20, prefix=tf.constant([[3, 4], [5, 0]]))
    assert all(one[:2] == (3, 4) for one in valid(found, 0))
    assert all(one[0] == 5 for one in valid(found, 1))
    assert len({one[1] for one in valid(found, 1)}) > 1


def test_a_graph_draws_what_eager_draws():
    table = Table(rows=3, tokens=5, seed=7)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)], autograph=False)
    def search(rows):
        seen = tf.stack([rows, tf.zeros_like(rows)], -1)
        uniform = numbers([tf.strings.as_string(rows)], 0, 4, 5)
        return sample(
            table.step, {"seen": tf.repeat(seen[:, None], 4, axis=1)}, uniform, start=START,
            rules=Rules(5, END, BANNED), top_p=0.8, trace="seen",
        )

    for rows in ([0, 1, 2], [2], []):
        found = search(tf.constant(rows, tf.int32))
        assert found.tokens.shape == (len(rows), 4, 5)
        if rows:
            for a, b in zip(found, drawn(table, 4, rows, top_p=0.8, trace="seen"), strict=True):
                np.testing.assert_array_equal(a, b)
    assert {caption(tokens)[-1] for tokens in search(tf.constant([0])).tokens[0].numpy()} == {END}
    assert V == len(VOCABULARY)
