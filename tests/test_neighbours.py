"""Near captions: found by embedding, and what a search makes of them."""

import collections
import math

import numpy as np
import pytest
import tensorflow as tf

from captioner.decoding.captions import search
from captioner.decoding.consensus import agreement, expecting, following, reordered
from captioner.decoding.results import Found
from captioner.errors import CaptionerError
from captioner.inputs.text import START
from captioner.learning.sentences import unit, whitened
from captioner.models.neighbours import Neighbours, leading_first

V, T = 9, 6
# Pieces are 4 to 8; 3 ends a caption.
BANK = np.array(
    [[4, 5, 3, 0, 0, 0], [4, 5, 6, 3, 0, 0], [7, 8, 3, 0, 0, 0], [4, 4, 8, 7, 5, 3]], np.int32
)
VECTORS = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]], np.float32)


@pytest.fixture(scope="module")
def bank() -> Neighbours:
    return Neighbours(VECTORS, BANK, V, nearest=2)


def test_the_nearest_captions_are_found(bank):
    near = bank(tf.constant([[1.0, 0.1], [-0.1, 1.0]]))
    np.testing.assert_array_equal(near["tokens"], BANK[[[0, 1], [2, 1]]])


def test_evidence_is_how_much_more_often_near_captions_have_a_piece(bank):
    near = bank(tf.constant([[1.0, 0.1]]))
    evidence = near["evidence"].numpy()[0]
    usual = {4: 3 / 4, 5: 3 / 4, 6: 1 / 4, 7: 2 / 4, 8: 2 / 4}
    found = {4: 1.0, 5: 1.0, 6: 0.5, 7: 0.0, 8: 0.0}
    for piece in usual:
        expected = math.log((found[piece] + 0.03) / (usual[piece] + 0.03))
        assert evidence[piece] == pytest.approx(expected, rel=1e-5)
    assert not evidence[:4].any()  # marks say nothing
    expected = [math.log(5 / (usual[piece] * 4 + 1)) for piece in range(4, V)]
    np.testing.assert_allclose(near["rarity"][4:], expected, rtol=1e-6)


def test_more_neighbours_than_captions_are_all_of_them():
    near = Neighbours(VECTORS, BANK, V, nearest=100)(tf.constant([[0.0, 1.0]]))
    assert near["tokens"].shape == (1, 4, T)


@pytest.fixture(scope="module", params=[0.0, 0.75], ids=["plain", "whitened"])
def sentences_like(request):
    """A bank and what is looked for, which differ in some directions more than in others, as
    sentences do; in a whitened bank the longest directions tell least of a sentence."""
    rng = np.random.default_rng(0)
    scale = np.exp(-np.arange(300) / 40)
    axes, _ = np.linalg.qr(rng.normal(size=(300, 300)))
    vectors = unit((rng.normal(size=(2005, 300)) * scale) @ axes)
    asked = vectors[5::7] + ((rng.normal(size=(286, 300)) * scale) @ axes).astype(np.float32) * 0.1
    return whitened(vectors, request.param).astype(np.float16).astype(np.float32), asked


def test_a_large_bank_finds_what_a_whole_product_finds(sentences_like, tmp_path):
    vectors, asked = sentences_like
    turn = leading_first(vectors, asked[:200], 10)
    np.testing.assert_allclose(turn @ turn.T, np.eye(300), atol=1e-5)
    tokens = np.arange(2005, dtype=np.int32)[:, None]
    large = Neighbours(vectors, tokens, 2005, nearest=10, turn=turn)
    large.save(tmp_path / "bank.npz")
    again = Neighbours.load(tmp_path / "bank.npz", 2005, nearest=10)
    expected = np.argsort(-(asked[200:] @ vectors.T), axis=1)[:, :10]
    for one, whole in ((large, False), (again, False), (large, True)):
        assert one._turn is not None
        found = one(tf.constant(asked[200:], tf.float32), whole)["tokens"].numpy()[..., 0]
        same = [len(set(row) & set(true)) for row, true in zip(found, expected, strict=True)]
        assert np.mean(same) > 9.9  # but for ties in half precision
        assert np.mean(found[:, 0] == expected[:, 0]) > 0.98


def test_what_is_unlike_the_expected_is_found_in_the_whole_bank(sentences_like):
    vectors, asked = sentences_like
    bank = Neighbours(
        vectors, np.arange(2005, dtype=np.int32)[:, None], 2005, nearest=10,
        turn=leading_first(vectors, asked[:200], 10),
    )  # fmt: skip
    unlike = unit(np.random.default_rng(1).normal(size=(50, 300))).astype(np.float32)
    found = bank(tf.constant(unlike), whole=True)["tokens"].numpy()[..., 0]
    expected = np.argsort(-(unlike @ vectors.T), axis=1)[:, :10]
    same = [len(set(row) & set(true)) for row, true in zip(found, expected, strict=True)]
    assert np.mean(same) > 9.8


def test_a_bank_is_read_whole_where_no_directions_lead():
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(2005, 300)).astype(np.float32))
    assert leading_first(vectors, unit(rng.normal(size=(300, 300))).astype(np.float32), 10) is None
    assert leading_first(vectors[:1000], vectors[:1000], 10) is None  # small: no need of it


def test_a_turn_that_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "neighbours.npz"
    np.savez(path, vectors=VECTORS, tokens=BANK, turn=np.eye(3, dtype=np.float32))
    with pytest.raises(CaptionerError, match="damaged .its turn has the shape"):
        Neighbours.load(path, V, 2)


def test_a_bank_is_read_as_it_was_written(bank, tmp_path):
    path = tmp_path / "neighbours.npz"
    bank.save(path)
    again = Neighbours.load(path, V, 2)
    for one, other in zip(bank.variables, again.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(CaptionerError, match="doesn't belong to this run's vocabulary"):
        Neighbours.load(path, V - 1, 2)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CaptionerError, match="neighbours.npz is damaged or missing"):
        Neighbours.load(path, V, 2)
    with pytest.raises(CaptionerError, match="damaged or missing"):
        Neighbours.load(tmp_path / "none.npz", V, 2)


def test_a_bank_is_no_way_to_run_code(tmp_path):
    path = tmp_path / "neighbours.npz"
    np.savez(path, vectors=VECTORS, tokens=np.array([{}], object))
    with pytest.raises(CaptionerError, match="damaged"):
        Neighbours.load(path, V, 2)


# Agreement.


def bag(tokens, n, rarity) -> dict:
    """An n-gram's count times its rarity."""
    words = [int(token) for token in tokens if token >= 4]
    counts = collections.Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    return {run: count * sum(rarity[token] for token in run) for run, count in counts.items()}


def cosine(one, other) -> float:
    sizes = [math.sqrt(sum(value**2 for value in bag.values())) for bag in (one, other)]
    if not all(sizes):
        return 0.0
    return sum(value * other.get(run, 0) for run, value in one.items()) / math.prod(sizes)


def test_agreement_is_the_mean_cosine_of_weighted_ngrams():
    rng = np.random.default_rng(0)

    def drawn(count):
        tokens = rng.integers(4, V, (2, count, T))
        ends = rng.integers(0, T + 1, (2, count, 1))
        tokens = np.where(np.arange(T) == ends, 3, np.where(np.arange(T) < ends, tokens, 0))
        return tokens.astype(np.int32)

    candidates, near = drawn(5), drawn(7)
    rarity = np.concatenate([np.zeros(4), rng.random(V - 4)]).astype(np.float32)
    found = agreement(tf.constant(candidates), tf.constant(near), tf.constant(rarity)).numpy()
    for row in range(2):
        for at in range(5):
            expected = np.mean([
                cosine(bag(candidates[row, at], n, rarity), bag(other, n, rarity))
                for n in range(1, 5)
                for other in near[row]
            ])
            assert found[row, at] == pytest.approx(expected, abs=1e-5)
    assert found.min() >= 0 and found.max() > 0.2


def test_a_caption_agrees_with_itself_and_not_with_another():
    one, other = np.array([[[4, 5, 6, 4, 3, 0]]]), np.array([[[7, 8, 7, 8, 3, 0]]])
    rarity = np.ones(V, np.float32)
    assert agreement(one, one, rarity).numpy().item() == pytest.approx(1)
    assert agreement(one, other, rarity).numpy().item() == 0
    assert agreement(one, np.zeros_like(one), rarity).numpy().item() == 0  # nothing near


def test_reordering_takes_everything_along():
    found = Found(
        tokens=tf.constant([[[4, 3], [5, 3], [6, 3]]]),
        log_probs=tf.constant([[-1.0, -2.0, -3.0]]),
        scores=tf.constant([[-1.0, -2.0, -3.0]]),
        trace=tf.constant([[[[1.0]], [[2.0]], [[3.0]]]]),
    )
    again = reordered(found, tf.constant([[0.0, 5.0, 5.0]]))
    assert again.tokens.numpy()[0, :, 0].tolist() == [5, 6, 4]  # equal ones stay in order
    assert again.log_probs.numpy().tolist() == [[-2, -3, -1]]
    assert again.scores.numpy().tolist() == [[5, 5, 0]]
    assert again.trace.numpy().ravel().tolist() == [2, 3, 1]
    assert reordered(found._replace(trace=None), found.scores).trace is None


def test_evidence_leans_and_leaves_probabilities():
    log_probs = tf.nn.log_softmax(tf.random.stateless_normal([2, 3, V], [0, 1]))
    evidence = tf.random.stateless_normal([2, V], [2, 3])
    leaning, state = expecting(lambda tokens, state: (log_probs, state), evidence, 0.5)(None, "s")
    assert state == "s"
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(leaning), -1), np.ones((2, 3)), rtol=1e-5)
    shift = (leaning - log_probs - 0.5 * evidence[:, None]).numpy()
    np.testing.assert_allclose(shift, shift[..., :1].repeat(V, -1), atol=1e-5)


def test_what_follows_in_near_captions_is_likelier_and_probabilities_stay():
    """As if the near captions were counted, token by token, with the model for a prior."""
    weight, prior = 0.4, 5
    log_probs = tf.nn.log_softmax(tf.random.stateless_normal([2, 4, V], [0, 1], stddev=3.0))
    near = np.stack([BANK[[0, 1, 3]], BANK[[2, 0, 0]]])
    tokens = np.array([[4, START, 5, 6], [8, 4, 0, START]], np.int32)
    step = following(lambda tokens, state: (log_probs, state), tf.constant(near), weight)
    found, state = step(tf.constant(tokens), "s")
    assert state == "s"
    for row, beam in np.ndindex(*tokens.shape):
        pairs = [pair for caption in near[row].tolist()
                 for pair in zip([START, *caption], caption, strict=False) if pair[1]]  # fmt: skip
        after = collections.Counter(b for a, b in pairs if a == tokens[row, beam])
        p = np.exp(log_probs[row, beam].numpy().astype(float))
        counted = np.array([after[piece] for piece in range(V)])
        leaning = p * ((counted + prior * p) / (counted.sum() + prior) / p) ** weight
        np.testing.assert_allclose(
            np.exp(found[row, beam]), leaning / leaning.sum(), rtol=1e-4, atol=1e-7
        )
    # 6 is followed by the end alone, after 0 nothing is said, nor where nothing is near.
    assert found[0, 3, 3] > log_probs[0, 3, 3] and found[0, 3, 4] < log_probs[0, 3, 4]
    np.testing.assert_array_equal(found[1, 2], log_probs[1, 2])
    nothing = following(lambda tokens, state: (log_probs, state), tf.zeros_like(near), weight)
    np.testing.assert_array_equal(nothing(tf.constant(tokens), "s")[0], log_probs)


def test_what_the_model_all_but_rules_out_stays_finite():
    log_probs = tf.nn.log_softmax(tf.constant([[[0.0] * (V - 1) + [-200.0]]]))
    near = tf.constant([[[7, 8, 3]]])
    step = following(lambda tokens, state: (log_probs, state), near, 1.0)
    found = np.exp(step(tf.constant([[7]]), None)[0].numpy()[0, 0])
    # 7 goes on with 8, once: as likely as one of six, with five for the model.
    assert found[8] == pytest.approx(1 / 6, rel=1e-4) and found.sum() == pytest.approx(1, rel=1e-4)


# In a search.


class Even:
    """A model that finds every token as likely as every other."""

    def initial(self, memory, beams):
        return {"attention": tf.zeros([1, beams, 1])}

    def step(self, tokens, state, memory):
        return tf.fill([*tokens.shape, V], -math.log(V)), state


def test_a_search_goes_by_what_is_near(bank):
    from captioner.config import Decode

    memory = {"near": bank(tf.constant([[0.0, 1.0]]))}  # 7 8, and 4 5 6
    decode = Decode(beams=4, max_tokens=4, no_repeat=1, min_tokens=3, evidence=1, consensus=0)
    plain = search(Even(), {}, decode)
    leaning = search(Even(), memory, decode)
    # Of what is near, 6 is the only piece that is said more often than usual.
    assert all(6 in caption for caption in leaning.tokens.numpy()[0])
    assert not all(6 in caption for caption in plain.tokens.numpy()[0])
    agreed = search(Even(), memory, decode.model_copy(update={"consensus": 50.0}))
    near = memory["near"]
    worth = agreement(agreed.tokens, near["tokens"], near["rarity"]).numpy()[0]
    assert worth[0] == worth.max() and (np.diff(agreed.scores.numpy()[0]) <= 1e-6).all()
    off = search(Even(), memory, decode.model_copy(update={"evidence": 0.0}))
    np.testing.assert_array_equal(off.tokens, plain.tokens)
    # Both near captions, from their first piece to their end, before all others.
    words = {"evidence": 0.0, "bigrams": 1.0, "length_penalty": 1.0}
    following = search(Even(), memory, decode.model_copy(update=words)).tokens.numpy()[0].tolist()
    assert sorted(following[:2]) == [[4, 5, 6, 3], [7, 8, 3, 0]]
