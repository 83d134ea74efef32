"""Beam search against brute force and plain Python, over models that are tables.

Legend: B batch, K beams, T tokens, V vocabulary.
"""

import numpy as np
import pytest
import tensorflow as tf
from tables import BANNED, END, FIRST, PAD, START, Table, V, by_hand, caption, score, valid

from captioner.decoding.beam import beam_search
from captioner.decoding.rules import Rules


def rules(tokens, **more):
    return Rules(max_tokens=tokens, end=END, banned=BANNED, **more)


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_as_many_beams_as_captions_find_what_brute_force_finds(penalty, seed):
    table = Table(rows=2, seed=seed)
    everything = list(table.captions())
    found = table.search(len(everything), length_penalty=penalty)
    for row in range(2):
        totals = {one: table.log_prob(row, one) for one in everything}
        order = sorted(everything, key=lambda one: -score(totals[one], len(one), penalty))
        assert valid(found, row) == order
        np.testing.assert_allclose(found.log_probs[row], [totals[one] for one in order], atol=1e-5)
        np.testing.assert_allclose(
            found.scores[row], [score(totals[one], len(one), penalty) for one in order], atol=1e-5
        )


@pytest.mark.parametrize("beams", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_few_beams_find_what_the_search_by_hand_finds(beams, penalty):
    table = Table(rows=12, tokens=5, seed=7, sharpness=2.0)
    found = table.search(beams, length_penalty=penalty)
    for row in range(table.rows):
        expected = by_hand(table, row, beams, penalty)
        assert valid(found, row) == [words for _, words in expected]
        np.testing.assert_allclose(found.scores[row], [one for one, _ in expected], atol=1e-5)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_one_beam_is_greedy(penalty):
    table = Table(rows=16, tokens=5, seed=3)
    found = table.search(1, length_penalty=penalty)
    lengths = set()
    for row in range(table.rows):
        code, greedy = table.code(FIRST, START), []
        while not greedy or greedy[-1] != END:
            choice = END + int(np.argmax(table.log_probs[row, code, END:]))
            greedy.append(choice if len(greedy) < table.tokens - 1 else END)
            code = table.code(code, greedy[-1])
        assert caption(found.tokens[row, 0]) == tuple(greedy)
        lengths.add(len(greedy))
    assert len(lengths) > 2


def test_a_longer_caption_wins_by_its_mean_and_loses_by_its_sum():
    """One word and end: -1.2 nats over 2 tokens; two words and end: -1.5 over 3."""
    log_probs = np.full((5, V), -9.0, np.float32)
    log_probs[0, 3] = -0.2
    log_probs[1, [END, 4]] = -1.0, -0.3
    log_probs[2, END] = -1.0

    def step(tokens, state):
        return tf.gather(log_probs, state), state + 1

    winners = [
        beam_search(
            step, tf.zeros([1, 2], tf.int32), batch=1, beams=2, rules=rules(4), start=START,
            length_penalty=penalty,
        )
        for penalty in (0.0, 1.0)
    ]
    assert [caption(found.tokens[0, 0]) for found in winners] == [(3, END), (3, 4, END)]
    np.testing.assert_allclose(winners[0].scores[0, 0], -1.2, atol=1e-6)
    np.testing.assert_allclose(winners[1].scores[0, 0], -1.5 / 3, atol=1e-6)


def repeats(words, length):
    """Whether a run of so many tokens is in a caption twice."""
    runs = [words[i : i + length] for i in range(len(words) - length + 1)]
    return len(set(runs)) < len(runs)


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_without_repeats_it_finds_what_brute_force_finds(length, penalty):
    table = Table(tokens=6, seed=13)
    everything = [
        one for one in table.captions(words=(3, 4)) if not repeats(one, length)
    ]
    assert len(everything) < len(list(table.captions(words=(3, 4))))
    found = table.search(
        len(everything), banned=(*BANNED, 5), no_repeat=length, length_penalty=penalty
    )
    totals = {one: table.log_prob(0, one) for one in everything}
    assert valid(found) == sorted(
        everything, key=lambda one: -score(totals[one], len(one), penalty)
    )


@pytest.mark.parametrize("length", [4, 5, 16])
def test_runs_too_long_to_repeat_change_nothing(length):
    table = Table(seed=3)
    for a, b in zip(table.search(3, no_repeat=length)[:3], table.search(3)[:3], strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_prefix_may_repeat_itself_and_what_follows_may_not():
    table = Table(tokens=6, seed=14)
    found = table.search(200, prefix=tf.constant([[3, 4, 3, 4]]), no_repeat=2)
    captions = valid(found)
    assert captions and all(one[:4] == (3, 4, 3, 4) for one in captions)
    for one in captions:
        runs = [one[i : i + 2] for i in range(len(one) - 1)]
        assert all(run not in runs[:i] for i, run in enumerate(runs) if i >= 3), one


@pytest.mark.parametrize("beams", [1, 3, 30])
def test_a_step_that_spells_a_word(beams):
    """Improbable captions that end before it does must not crowd it out."""
    letters = "\0^$abcdefghijklmnopqrstuvwxyz"
    word = tf.constant([letters.index(letter) for letter in "captioner$"])

    def step(tokens, place):
        sure = tf.one_hot(tf.gather(word, tf.minimum(place, len(word) - 1)), len(letters)) * 50
        return tf.nn.log_softmax(sure), place + 1

    found = beam_search(
        step, tf.zeros([1, beams], tf.int32), batch=1, beams=beams, rules=rules(12), start=START,
    )
    assert "".join(letters[token] for token in found.tokens[0, 0]) == "captioner$\0\0"
    np.testing.assert_allclose(found.log_probs[0, 0], 0, atol=1e-5)


@pytest.mark.parametrize("beams", [1, 2, 4, 90])
def test_every_caption_ends_once_and_has_the_log_probability_of_its_tokens(beams):
    table = Table(rows=4, seed=11)
    found = table.search(beams, banned=(*BANNED, 4), length_penalty=0.7)
    tokens = found.tokens.numpy()
    assert tokens.shape == (4, beams, table.tokens) and tokens.dtype == np.int32
    for row in range(4):
        captions = valid(found, row)
        assert captions and len(set(captions)) == len(captions)
        for beam, words in enumerate(captions):
            assert words.count(END) == 1 and words[-1] == END
            assert not set(words) & {*BANNED, 4}
            assert not tokens[row, beam, len(words):].any()
            np.testing.assert_allclose(
                found.log_probs[row, beam], table.log_prob(row, words), atol=1e-5
            )
        assert np.all(np.diff(found.scores[row]) <= 0)


@pytest.mark.parametrize("beams", [3, 45, 64, 200])
def test_more_beams_than_captions_leaves_places_empty(beams):
    table = Table(tokens=3, seed=2)
    everything = list(table.captions(words=(3, 4)))
    found = table.search(beams, banned=(*BANNED, 5))
    captions = valid(found)
    assert len(captions) == min(beams, len(everything)) and set(captions) <= set(everything)
    assert len(set(captions)) == len(captions)
    rest = len(captions)
    assert not found.tokens[0, rest:].numpy().any()
    assert np.all(found.log_probs[0, rest:] < -1e8) and np.isfinite(found.log_probs).all()


@pytest.mark.parametrize("vocabulary", [3, 4])
def test_a_vocabulary_smaller_than_the_beams(vocabulary):
    def step(tokens, state):
        return tf.nn.log_softmax(tf.zeros([2, 8, vocabulary])), state

    found = beam_search(
        step, tf.zeros([2, 8]), batch=2, beams=8, rules=rules(4), start=START,
    )
    assert set(valid(found)) == {(3,) * n + (END,) for n in range(4 if vocabulary == 4 else 1)}


def test_impossible_tokens_never_appear():
    """A step may say -inf."""

    def step(tokens, state):
        logits = tf.where(tf.range(V) == 3, -np.inf, tf.zeros([1, 4, V]))
        return tf.nn.log_softmax(logits), state

    found = beam_search(
        step, tf.zeros([1, 4]), batch=1, beams=4, rules=rules(3), start=START,
    )
    assert not np.isnan(found.scores).any()
    captions = valid(found)
    assert len(captions) == 4 and not any(3 in words for words in captions)


@pytest.mark.parametrize("tokens", [1, 2, 3])
def test_no_caption_is_longer_than_allowed(tokens):
    """Though the model never wants to end."""

    def step(tokens, state):
        return tf.nn.log_softmax(tf.tile(tf.constant([[[0, 0, -30.0, 1, 2, 3]]]), [1, 3, 1])), state

    found = beam_search(
        step, tf.zeros([1, 3]), batch=1, beams=3, rules=rules(tokens), start=START,
    )
    assert found.tokens.shape == (1, 3, tokens)
    captions = valid(found)
    assert len(captions) == (3 if tokens > 1 else 1)
    assert caption(found.tokens[0, 0]) == (*[5] * (tokens - 1), END)
    assert all(words[-1] == END for words in captions)


# Prefixes.


@pytest.mark.parametrize("prefix", [(3,), (4, 3), (5, 5, 5), (PAD,), ()])
def test_a_prefix_is_repeated_and_continued_as_brute_force_would(prefix):
    table = Table(seed=5)
    forced = tf.constant([prefix], tf.int32, shape=[1, len(prefix)])
    words = tuple(token for token in prefix if token)
    everything = [one for one in table.captions() if one[: len(words)] == words]
    found = table.search(len(everything), prefix=forced)
    order = sorted(everything, key=lambda one: -table.log_prob(0, one))
    assert valid(found) == order
    np.testing.assert_allclose(
        found.log_probs[0], [table.log_prob(0, one) for one in order], atol=1e-5
    )


def test_a_prefix_too_long_for_the_caption_is_cut():
    table = Table()
    found = table.search(3, prefix=tf.constant([[3, 4, 5, 3, 4, 5, 3]]))
    assert valid(found) == [(3, 4, 5, END)]


def test_a_prefix_may_hold_what_is_banned():
    table = Table(seed=4)
    found = table.search(2, prefix=tf.constant([[3, 4]]), banned=(*BANNED, 3, 4))
    captions = valid(found)
    assert captions and all(one[:2] == (3, 4) for one in captions)
    assert not any({3, 4} & set(one[2:]) for one in captions)


def test_rows_have_prefixes_of_their_own():
    table = Table(rows=3, seed=6)
    prefix = tf.constant([[3, 0, 0], [0, 0, 0], [4, 4, 5]])
    together = table.search(3, prefix=prefix)
    for row in range(3):
        alone = table.search(3, rows=[row], prefix=prefix[row : row + 1])
        np.testing.assert_array_equal(together.tokens[row], alone.tokens[0])
    free = table.search(3, rows=[1])
    np.testing.assert_array_equal(together.tokens[1], free.tokens[0])


# Batches, traces, graphs.


def test_a_row_does_not_feel_its_neighbours():
    """Row 0 is done at once; what its neighbours do for how long must not reach it."""
    table = Table(rows=4, tokens=5, seed=8)
    table.log_probs[0, :, END] = 0.0
    table.log_probs[1, :, END] = -20.0
    alone = table.search(1, rows=[0]), table.search(3, rows=[0])
    for beams, single in zip((1, 3), alone, strict=True):
        for rows in ([0, 1], [0, 0], [0, 3], [0, 1, 2, 3]):
            found = table.search(beams, rows=rows, trace="seen")
            for name in ("tokens", "log_probs", "scores"):
                got, wanted = getattr(found, name)[0], getattr(single, name)[0]
                np.testing.assert_array_equal(got, wanted)
    assert caption(alone[0].tokens[0, 0]) == (END,)


@pytest.mark.parametrize("beams", [1, 3, 6])
def test_the_trace_follows_each_caption_back(beams):
    table = Table(rows=5, seed=9)
    found = table.search(beams, trace="seen", length_penalty=1.0)
    assert found.trace.shape == (5, beams, table.tokens, 2)
    for row in range(5):
        for beam, words in enumerate(valid(found, row)):
            trace = found.trace[row, beam].numpy()
            assert trace[: len(words), 1].tolist() == table.codes(words)
            assert (trace[: len(words), 0] == row).all()
            assert not trace[len(words) :].any()


def test_the_state_follows_each_beam():
    """Every part of a nested state is handed on from the beam that a token was added to."""
    table = Table(seed=10)

    def step(tokens, state):
        history = tf.concat([state["history"], tokens[..., None]], -1)[..., 1:]
        log_probs, inner = table.step(tokens, state["inner"][0])
        replayed = tf.zeros_like(tokens)
        for t in range(table.tokens):
            token = history[..., t]
            replayed = tf.where(token > 0, table.code(replayed, token), replayed)
        tf.debugging.assert_equal(replayed, inner["seen"][..., 1])
        return log_probs, {"history": history, "inner": (inner,)}

    state = {"history": tf.zeros([1, 3, table.tokens], tf.int32), "inner": (table.state(3),)}
    found = beam_search(
        step, state, batch=1, beams=3, rules=rules(table.tokens), start=START
    )
    np.testing.assert_array_equal(found.tokens, table.search(3).tokens)


def graph(beams, table):
    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, None], tf.int32)],
        autograph=False,
    )
    def search(rows, prefix):
        seen = tf.stack([rows, tf.zeros_like(rows)], -1)
        return beam_search(
            table.step, {"seen": tf.repeat(seen[:, None], beams, axis=1)}, batch=tf.shape(rows)[0],
            beams=beams, rules=rules(table.tokens, no_repeat=2), start=START, prefix=prefix,
            trace="seen", length_penalty=0.7,
        )

    return search


@pytest.mark.parametrize("beams", [1, 3])
def test_a_graph_of_any_batch_gives_what_eager_gives(beams):
    table = Table(rows=3, seed=12)
    search = graph(beams, table)
    for rows in ([0], [0, 1, 2], [2, 1]):
        prefix = tf.zeros([len(rows), 2], tf.int32)
        found = search(tf.constant(rows), prefix)
        expected = table.search(beams, rows=rows, trace="seen", length_penalty=0.7, no_repeat=2)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_batch_of_nothing():
    found = graph(3, Table())(tf.zeros([0], tf.int32), tf.zeros([0, 2], tf.int32))
    assert [one.shape[:2] for one in found] == [(0, 3)] * 4
    assert found.tokens.shape == (0, 3, 4)


def test_a_stock_server_has_every_op():
    """`Xla…` ops run in Python and not in a server; Python functions run in none."""
    definition = graph(3, Table()).get_concrete_function().graph.as_graph_def()
    ops = {node.op for node in definition.node}
    ops |= {node.op for function in definition.library.function for node in function.node_def}
    assert "While" in ops or "StatelessWhile" in ops
    assert not [op for op in ops if op.startswith(("Xla", "PyFunc", "EagerPyFunc", "Cudnn"))]
