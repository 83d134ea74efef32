"""What a search may be told, against brute force over models that are tables.

Legend: B batch, K beams, T tokens, V vocabulary, R regions.
"""

import itertools
import random

import numpy as np
import pytest
import tensorflow as tf
from tables import BANNED, END, START, Table, caption, in_groups, score, valid

from captioner.decoding import phrases
from captioner.decoding.beam import beam_search, beams_needed
from captioner.decoding.rules import Rules

VOCABULARY = ["[PAD]", "[START]", "[END]", "man", "##s", "dog"]
MAN, S, DOG = 3, 4, 5
EVERYTHING = 40  # captions of at most three words and the end: 1 + 3 + 9 + 27


def text(tokens) -> str:
    """As the tokenizer joins pieces."""
    words = "".join(
        piece[2:] if piece.startswith("##") else f" {piece}"
        for piece in (VOCABULARY[token] for token in tokens if token != END)
    )
    return words.strip()


def says(tokens, phrase: str) -> bool:
    return f" {phrase} " in f" {text(tokens)} "


def stutters(tokens) -> bool:
    words = text(tokens).split()
    return any(a == b for a, b in itertools.pairwise(words))


def forbidden(*words):
    return phrases.follow(VOCABULARY, END, words)


def required(*words):
    pieces = {"man": [MAN], "mans": [MAN, S], "dog": [DOG], "dogs": [DOG, S]}
    spelled = [[piece for word in phrase.split() for piece in pieces[word]] for phrase in words]
    return [phrases.require(VOCABULARY, END, *one) for one in zip(words, spelled, strict=True)]


def best(table, row, allowed, penalty=1.0):
    """All captions that are allowed, the best first."""
    found = [one for one in table.captions() if allowed(one)]
    return sorted(found, key=lambda one: -score(table.log_prob(row, one), len(one), penalty))


def check(table, found, allowed):
    """That it found all there is, in order, at their log-probabilities."""
    for row in range(table.rows):
        expected = best(table, row, allowed)
        assert valid(found, row) == expected
        totals = [table.log_prob(row, one) for one in expected]
        np.testing.assert_allclose(found.log_probs[row, : len(totals)], totals, atol=1e-5)


# Phrases.


def test_phrases_are_followed_through_any_spelling():
    """A thousand captions of pieces that spell the same words in several ways."""
    vocabulary = ["[PAD]", "[UNK]", "[START]", "[END]", "a", "man", "##man", "wo", "m", "##an",
                  "##a", "##n", "red", "ball", "##hole", "ma"]  # fmt: skip
    sought = ["man", "a red ball", "red man", "a a"]
    one = phrases.follow(vocabulary, 3, sought)
    need = phrases.require(vocabulary, 3, "a red man", [4, 12, 5])
    draw = random.Random(0)
    hits = 0
    for _ in range(3000):
        tokens = [draw.randrange(4, len(vocabulary)) for _ in range(draw.randint(0, 6))]
        joined = " ".join(vocabulary[token] for token in tokens).replace(" ##", "")
        spoken = f" {joined.removeprefix('##')} "
        state, wanted, said = phrases.FIRST, phrases.FIRST, False
        for token in tokens:
            said |= bool(one.said[state, token])
            state, wanted = one.after[state, token], need.after[wanted, token]
        assert one.pending[state] == any(spoken.endswith(f" {phrase} ") for phrase in sought)
        said |= bool(one.said[state, 3])
        assert said == any(f" {phrase} " in spoken for phrase in sought), spoken
        assert need.met[wanted] == (" a red man " in spoken)
        progress = need.said[wanted] + need.being_said[wanted]
        assert (progress == need.pieces) == need.met[wanted]
        hits += said
    assert 300 < hits < 2700


def test_progress_counts_pieces_and_falls_back():
    need = phrases.require(VOCABULARY, END, "mans dog", [MAN, S, DOG])
    state, seen = phrases.FIRST, []
    for token in (MAN, S, MAN, S, DOG, S, MAN, S, DOG, MAN, S):
        state = need.after[state, token]
        seen.append((int(need.said[state]), int(need.being_said[state])))
    being_said = [(0, count) for count in (1, 2, 1, 2, 3, 0, 1, 2, 3)]
    assert seen == [*being_said, (3, 0), (3, 0)]


# Words that are forbidden.


@pytest.mark.parametrize("words", [("man",), ("mans",), ("man dog",), ("dog man", "mans"),
                                   ("dog", "dogs", "man")])  # fmt: skip
@pytest.mark.parametrize("seed", range(2))
def test_forbidden_words_leave_what_brute_force_leaves(words, seed):
    table = Table(rows=2, seed=seed)
    found = table.search(EVERYTHING, forbidden=forbidden(*words), length_penalty=1.0)
    check(table, found, lambda one: not any(says(one, word) for word in words))


@pytest.mark.parametrize("beams", [1, 2, 5])
def test_a_forbidden_word_is_no_dead_end(beams):
    """`man` is what the model would say; that nothing good continues it must cost nothing."""
    table = Table(rows=1)
    table.log_probs[:] = np.log([1e-9, 1e-9, 0.3, 0.5, 1e-7, 0.2])
    found = table.search(beams, forbidden=forbidden("man"), length_penalty=1.0)
    assert found.log_probs[0, 0] > -6
    assert "man" not in text(caption(found.tokens[0, 0]))


@pytest.mark.parametrize("beams", [1, 3])
def test_a_forbidden_word_may_begin_another(beams):
    table = Table(rows=1)
    table.log_probs[:] = np.log([1e-9, 1e-9, 0.05, 0.9, 0.04, 0.01])
    after_man = table.code(table.code(0, START), MAN)
    table.log_probs[:, after_man] = np.log([1e-9, 1e-9, 0.1, 0.1, 0.7, 0.1])
    found = table.search(beams, forbidden=forbidden("man"), length_penalty=1.0)
    assert text(caption(found.tokens[0, 0])).startswith("mans")


def test_one_lane_says_no_word_that_begins_with_a_forbidden_one():
    table = Table(rows=4, seed=3)
    tokens = table.search(3, forbidden=forbidden("man"), strict=True).tokens.numpy()
    assert not (tokens == MAN).any()


def test_a_prefix_may_hold_a_forbidden_word_and_go_on_as_it_likes():
    table = Table(seed=4)
    found = table.search(EVERYTHING, prefix=tf.constant([[MAN]]), forbidden=forbidden("man"))
    captions = {text(one) for one in valid(found)}
    assert {"man", "man dog", "mans"} <= captions
    assert not any("man" in one.split()[1:] for one in captions)


# Words that are required.


@pytest.mark.parametrize("words", [("dog",), ("mans",), ("man dog",), ("mans", "dog")])
@pytest.mark.parametrize("seed", range(2))
def test_required_words_leave_what_brute_force_leaves(words, seed):
    table = Table(rows=2, seed=seed)
    found = table.search(EVERYTHING, required=required(*words), length_penalty=1.0)
    check(table, found, lambda one: all(says(one, word) for word in words))


@pytest.mark.parametrize("beams", [1, 2, 5])
@pytest.mark.parametrize("words", [("dog",), ("man dog",), ("mans", "dog"), ("dogs", "mans")])
def test_required_words_are_in_every_caption_however_few_the_beams(beams, words):
    table = Table(rows=8, tokens=6, seed=5)
    table.log_probs[..., [DOG, S]] -= 6  # not what the model would say
    found = table.search(beams, required=required(*words), length_penalty=1.0)
    for row in range(table.rows):
        captions = valid(found, row)
        assert captions and all(says(one, word) for one in captions for word in words)
        assert len(set(captions)) == len(captions)


@pytest.mark.parametrize("beams", [1, 2])
def test_a_required_word_may_begin_another(beams):
    """Beams that begin both again and again get no further, so they mustn't be in the way."""
    table = Table(rows=8, tokens=6, seed=5)
    table.log_probs[..., DOG] += 4
    table.log_probs[..., S] -= 8
    for row in range(8):
        for one in valid(table.search(beams, required=required("man", "mans")), row):
            assert says(one, "man") and says(one, "mans")


def test_what_has_no_room_is_left_out():
    """As far as it goes: of two words one; of one none, and then the best there is."""
    table = Table(seed=6)
    prefix = tf.constant([[MAN, MAN]])
    found = table.search(EVERYTHING, prefix=prefix, required=required("dog", "mans"))
    assert {text(one) for one in valid(found)} == {"man mans", "man man dog"}
    prefix = tf.constant([[MAN, MAN, MAN]])
    asked, plain = (table.search(3, prefix=prefix, required=some) for some in (required("dog"), ()))
    np.testing.assert_array_equal(asked.tokens, plain.tokens)
    np.testing.assert_array_equal(asked.log_probs, plain.log_probs)


def test_a_prefix_may_hold_what_is_required():
    table = Table(rows=2, seed=7)
    found = table.search(
        EVERYTHING, prefix=tf.constant([[DOG], [MAN]]), required=required("dog"), length_penalty=1.0
    )
    for row, first in enumerate((DOG, MAN)):
        assert valid(found, row) == best(
            table, row, lambda one, first=first: one[0] == first and says(one, "dog")
        )
    assert (DOG, END) in valid(found)


@pytest.mark.parametrize("groups", [1, 2])
def test_required_and_forbidden_words_together(groups):
    table = Table(rows=3, tokens=5, seed=8)
    found = table.search(
        4, required=required("dog"), forbidden=forbidden("man", "dog dog"), groups=groups,
        diversity=0.5, length_penalty=1.0,
    )
    for row in range(3):
        captions = valid(found, row)
        assert len(captions) >= 3
        for one in captions:
            assert says(one, "dog") and not says(one, "man") and not says(one, "dog dog")


# Repeats, lengths, coverage.


@pytest.mark.parametrize("seed", range(2))
def test_without_stutter_it_finds_what_brute_force_finds(seed):
    table = Table(rows=2, tokens=5, seed=seed)

    def allowed(one):  # nor a word after itself, spelled as its beginning
        again = any(a == b != S for a, b in itertools.pairwise(one))
        return not stutters(one) and not again

    found = table.search(150, no_stutter=VOCABULARY, length_penalty=1.0)
    check(table, found, allowed)
    assert (MAN, S, MAN, END) in valid(found) and (MAN, S, MAN, S, END) not in valid(found)


def test_a_word_is_the_same_however_it_is_spelled():
    """man = m ##an = m ##a ##n, but not mm ##an."""
    vocabulary = ["[PAD]", "[START]", "[END]", "man", "##an", "m", "##a", "##n", "mm"]
    rules = Rules(max_tokens=9, end=END, no_stutter=vocabulary)
    for tokens, barred in (
        ([3], {3}),
        ([3, 5], {4, 5}),
        ([5, 4], {3}),
        ([5, 6, 7, 5], {4, 5}),
        ([5, 6, 7, 5, 6], {7}),
        ([3, 8], {8}),
        ([], set()),
    ):
        spoken = rules.begin(1, 1)
        for token in tokens:
            spoken = rules.follow(spoken, tf.constant([[token]]))
        prefix = tf.zeros([1, 9], tf.int32)
        said, t = tf.zeros([1, 1, 9], tf.int32), tf.constant(len(tokens))
        bars = rules.bars(t, said, prefix, spoken, 9)
        assert set(np.flatnonzero(bars[0, 0].numpy() < 0)) == barred, tokens


@pytest.mark.parametrize("least", [1, 2, 3, 4])
def test_no_caption_is_shorter_than_allowed(least):
    table = Table(rows=2, seed=9)
    found = table.search(EVERYTHING, min_tokens=least, length_penalty=1.0)
    check(table, found, lambda one: len(one) >= least)


@pytest.mark.parametrize("penalty", [0.05, 1.0])
def test_coverage_orders_by_what_was_looked_at(penalty):
    """Two regions; where the model looks depends on the history."""
    table = Table(seed=10)
    looks = np.random.default_rng(0).dirichlet([0.3, 0.3], len(table.log_probs[0]))

    def step(tokens, state):
        log_probs, state = table.step(tokens, {"seen": state["seen"]})
        seen = tf.gather(tf.constant(looks, tf.float32), state["seen"][..., 1])
        return log_probs, {**state, "seen_at": seen}

    state = {**table.state(EVERYTHING), "seen_at": tf.zeros([1, EVERYTHING, 2])}
    found = beam_search(
        step, state, batch=1, beams=EVERYTHING, rules=Rules(4, END, BANNED), start=START,
        length_penalty=1.0, coverage_penalty=penalty, trace="seen_at",
    )

    def by_hand(one):
        paid = np.minimum(looks[table.codes(one)].sum(0), 1)
        return table.log_prob(0, one) / len(one) + penalty * np.log(np.maximum(paid, 1e-6)).sum()

    expected = sorted(table.captions(), key=lambda one: -by_hand(one))
    assert valid(found) == expected
    np.testing.assert_allclose(found.scores[0], [by_hand(one) for one in expected], atol=1e-4)
    assert expected != best(table, 0, lambda one: True)


# Groups.


@pytest.mark.parametrize(("beams", "groups"), [(2, 2), (4, 2), (6, 3), (5, 5)])
@pytest.mark.parametrize("diversity", [0.0, 0.4, 3.0])
def test_groups_find_what_the_search_by_hand_finds(beams, groups, diversity):
    table = Table(rows=6, tokens=5, seed=11, sharpness=2.0)
    found = table.search(beams, groups=groups, diversity=diversity, length_penalty=1.0)
    for row in range(table.rows):
        expected = in_groups(table, row, beams, groups, diversity)
        assert valid(found, row) == [words for _, words in expected]
        np.testing.assert_allclose(
            found.scores[row, : len(expected)], [one for one, _ in expected], atol=1e-5
        )
        for one, total in zip(valid(found, row), found.log_probs[row], strict=False):
            np.testing.assert_allclose(total, table.log_prob(row, one), atol=1e-5)


def test_groups_differ_where_plain_beams_agree():
    table = Table(rows=10, tokens=5, seed=12, sharpness=1.0)
    table.log_probs[:, table.code(0, START), MAN] += 3

    def first_words(**options):
        found = table.search(3, length_penalty=1.0, **options)
        return [len({one[0] for one in valid(found, row)}) for row in range(10)]

    plain, diverse = first_words(), first_words(groups=3, diversity=20.0)
    assert np.mean(plain) < 2 and min(diverse) >= 2
    found = table.search(6, groups=3, diversity=0.1)
    assert all(len(set(valid(found, row))) == len(valid(found, row)) for row in range(10))


# Graphs and batches.


OPTIONS = [
    {"forbidden": forbidden("man")},
    {"required": required("dog", "mans")},
    {"groups": 2, "diversity": 0.7},
    {"no_stutter": VOCABULARY, "min_tokens": 3, "no_repeat": 2},
    {"forbidden": forbidden("dogs"), "required": required("dog"), "groups": 2, "diversity": 0.3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=["|".join(one) for one in OPTIONS])
def test_a_graph_of_any_batch_gives_what_a_row_alone_gives(options):
    table = Table(rows=3, tokens=5, seed=13)
    options = options | {"length_penalty": 0.7, "trace": "seen"}
    names = {"max_tokens": 5, "end": END, "banned": BANNED}
    names |= {key: value for key, value in options.items() if key in Rules.__dataclass_fields__}
    rest = {key: value for key, value in options.items() if key not in names}
    rules = Rules(**names)
    needed = beams_needed(4, rules, rest.get("required", ()))

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, None], tf.int32)],
        autograph=False,
    )
    def search(rows, prefix):
        seen = tf.stack([rows, tf.zeros_like(rows)], -1)
        state = {"seen": tf.repeat(seen[:, None], needed, axis=1)}
        return beam_search(
            table.step, state, batch=tf.shape(rows)[0], beams=4, rules=rules, start=START,
            prefix=prefix, **rest,
        )

    for rows, prefix in itertools.product(([0, 1, 2], [2, 1], []), (0, DOG)):
        forced = tf.fill([len(rows), 1], prefix)
        together = search(tf.constant(rows, tf.int32), forced)
        for place, row in enumerate(rows):
            alone = table.search(4, rows=[row], prefix=forced[:1], **options)
            for a, b in zip(together, alone, strict=True):
                np.testing.assert_array_equal(a[place], b[0])
        tokens, trace = together.tokens.numpy(), together.trace.numpy()
        # What was traced is of the caption it stands beside.
        for place, row in enumerate(rows):
            for beam, words in enumerate(valid(together, place)):
                assert trace[place, beam, : len(words), 1].tolist() == table.codes(words)
                assert (trace[place, beam, : len(words), 0] == row).all()
        assert not trace[tokens == 0].any()
