"""Near captions: found by embedding, and what a search makes of them."""

import collections
import math

import numpy as np
import pytest
import tensorflow as tf

from captioner.decoding.captions import search
from captioner.decoding.consensus import agreement, expecting, reordered
from captioner.decoding.results import Found
from captioner.errors import CaptionerError
from captioner.learning.sentences import unit, whitened
from captioner.models.neighbours import Neighbours

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


@pytest.mark.parametrize("amount", [0.0, 0.75], ids=["plain", "whitened"])
def test_a_large_bank_finds_what_a_whole_product_finds(amount):
    """Embeddings that differ in some directions more than in others, as those of sentences do; in
    a whitened bank the directions that tell least of a sentence are the longest."""
    rng = np.random.default_rng(0)
    scale = np.exp(-np.arange(300) / 60)
    turn, _ = np.linalg.qr(rng.normal(size=(300, 300)))
    vectors = unit((rng.normal(size=(2005, 300)) * scale) @ turn)
    asked = vectors[5::400] + ((rng.normal(size=(5, 300)) * scale) @ turn) * 0.1
    vectors = whitened(vectors, amount).astype(np.float16).astype(np.float32)
    tokens = np.arange(2005, dtype=np.int32)[:, None]
    large = Neighbours(vectors, tokens, 2005, nearest=10)
    assert (large._turn is None) == bool(amount)
    found = large(tf.constant(asked, tf.float32))["tokens"].numpy()[..., 0]
    expected = np.argsort(-(asked @ vectors.T), axis=1)[:, :10]
    assert [set(row) for row in found] == [set(row) for row in expected]
    np.testing.assert_array_equal(found[:, 0], expected[:, 0])


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
