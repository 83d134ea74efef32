"""The loss, by hand.

Legend: S tokens, V vocabulary.
"""

import numpy as np
import pytest
import tensorflow as tf

from captioner.inputs.text import END, PAD, START
from captioner.learning.objectives import caption_loss, cross_entropy

PROBABILITIES = np.array([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25], [0.2, 0.2, 0.6]])
LOGITS = tf.constant(np.log(PROBABILITIES) + [[5.0], [-3.0], [0.0]], tf.float32)
TARGETS = tf.constant([2, 1, 1])


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_nats_of_three_tokens_by_hand(smoothing):
    """Smoothed: cross-entropy to targets of 1 - s + s/V and s/V."""
    smoothed, plain = cross_entropy(LOGITS, TARGETS, smoothing)
    soft = np.full([3, 3], smoothing / 3)
    soft[range(3), TARGETS] += 1 - smoothing
    np.testing.assert_allclose(smoothed, -(soft * np.log(PROBABILITIES)).sum(1), rtol=1e-6)
    np.testing.assert_allclose(plain, -np.log([0.7, 0.25, 0.2]), rtol=1e-6)


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary():
    for nats in cross_entropy(tf.zeros([6, 50]), tf.ones([6], tf.int32), 0.1):
        np.testing.assert_allclose(nats, [np.log(50)] * 6, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradients_are_those_of_the_definition(smoothing):
    """Of smoothed and plain, each token with a weight of its own."""
    logits = tf.Variable(tf.random.stateless_normal([3, 7], [1, 2], 3))
    ours, theirs = (tf.constant(one) for one in ([0.5, -2.0, 0.0], [3.0, 0.25, -1.0]))
    soft = (1 - smoothing) * tf.one_hot(TARGETS, 7) + smoothing / 7

    def weighed(smoothed, plain):
        return tf.reduce_sum(ours * smoothed + theirs * plain)

    with tf.GradientTape(persistent=True) as tape:
        found = weighed(*cross_entropy(logits, TARGETS, smoothing))
        targets = (soft, tf.one_hot(TARGETS, 7))
        expected = weighed(*(-tf.reduce_sum(one * tf.nn.log_softmax(logits), 1) for one in targets))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(
        tape.gradient(found, logits), tape.gradient(expected, logits), atol=1e-6
    )


def test_no_tokens_cost_nothing():
    with tf.GradientTape() as tape:
        logits = tf.zeros([0, 5])
        tape.watch(logits)
        smoothed, plain = cross_entropy(logits, tf.zeros([0], tf.int32), 0.1)
    assert smoothed.shape == plain.shape == tape.gradient(smoothed, logits).shape[:1] == 0


def test_very_sure_and_wrong_is_finite():
    smoothed, plain = cross_entropy(tf.constant([[0.0, 1e4, -1e4]]), tf.constant([2]), 0.1)
    assert np.isfinite(smoothed).all() and plain == 2e4


class Fake:
    """Stands for a model: logits that say which token it was given."""

    def __init__(self):
        self.inputs = None

    def __call__(self, inputs, training):
        self.inputs, self.training = inputs, training
        there = tf.sequence_mask(inputs["lengths"], tf.shape(inputs["tokens"])[1])
        return 3 * tf.one_hot(tf.boolean_mask(inputs["tokens"], there), 8), None


TOKENS = tf.constant([[START, 5, 6, END, PAD], [START, 7, END, PAD, PAD]])


def test_each_token_is_predicted_from_those_before_it():
    model = Fake()
    losses = caption_loss(model, {"image": 1, "tokens": TOKENS}, training=False)
    np.testing.assert_array_equal(model.inputs["tokens"], TOKENS[:, :-1])
    np.testing.assert_array_equal(model.inputs["lengths"], [3, 2])  # the end token is said, too
    # No token follows itself here, so each costs the same: log(e^3 + 7).
    np.testing.assert_allclose(losses.nats, 5 * np.log(np.exp(3) + 7), rtol=1e-6)
    assert losses.count == 5 and losses.examples == 2 and losses.loss == losses.nats
    assert model.training is False and set(model.inputs) == {"image", "tokens", "lengths"}


def test_prompts_are_handed_on_together():
    model = Fake()
    words = {"input_word_ids": 1, "input_mask": 2, "input_type_ids": 3}
    rest = {"image": 4, "image_rows": 5, "prompt_rows": 6, "sentences": 7}
    caption_loss(model, {"tokens": TOKENS, **words, **rest}, smoothing=0.1)
    assert model.training is True
    given = {name: model.inputs[name] for name in set(model.inputs) - {"tokens", "lengths"}}
    assert given == {**rest, "prompt": words}


def test_the_sums_of_two_halves_are_those_of_the_whole():
    whole = caption_loss(Fake(), {"tokens": TOKENS}, smoothing=0.2)
    halves = [caption_loss(Fake(), {"tokens": TOKENS[i : i + 1]}, smoothing=0.2) for i in (0, 1)]
    np.testing.assert_allclose(whole[:4], np.sum([one[:4] for one in halves], axis=0), rtol=1e-6)
