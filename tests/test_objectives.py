"""The loss, by hand.

Legend: B captions, T tokens, V vocabulary.
"""

import numpy as np
import pytest
import tensorflow as tf

from captioner.inputs.text import END, PAD, START
from captioner.learning.objectives import caption_loss, masked_cross_entropy

PROBABILITIES = np.array([[[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]], [[0.2, 0.2, 0.6], [1, 1, 1]]])
LOGITS = tf.constant(np.log(PROBABILITIES) + [[[5.0], [-3.0]], [[0.0], [2.0]]], tf.float32)
TARGETS = tf.constant([[2, 1], [1, PAD]])


def test_nats_of_three_tokens_by_hand():
    loss, nats, count = masked_cross_entropy(LOGITS, TARGETS)
    expected = -np.log(0.7) - np.log(0.25) - np.log(0.2)
    np.testing.assert_allclose([loss, nats, count], [expected, expected, 3], rtol=1e-6)


def test_smoothing_by_hand():
    """Cross-entropy to targets of 1 - s + s/V and s/V."""
    smoothing, size = 0.3, 3
    loss, nats, count = masked_cross_entropy(LOGITS, TARGETS, smoothing)
    expected = 0.0
    for b, t, target in ((0, 0, 2), (0, 1, 1), (1, 0, 1)):
        soft = np.full(size, smoothing / size)
        soft[target] += 1 - smoothing
        expected -= soft @ np.log(PROBABILITIES[b, t])
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(nats, -np.log(0.7 * 0.25 * 0.2), rtol=1e-6)
    assert count == 3


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary():
    loss, nats, count = masked_cross_entropy(tf.zeros([2, 3, 50]), tf.ones([2, 3], tf.int32), 0.1)
    np.testing.assert_allclose([loss / count, nats / count], [np.log(50)] * 2, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradients_are_probability_minus_target_and_padding_has_none(smoothing):
    logits = tf.Variable(LOGITS)
    with tf.GradientTape() as tape:
        loss, _, _ = masked_cross_entropy(logits, TARGETS, smoothing)
    gradient = tape.gradient(loss, logits)
    soft = (1 - smoothing) * tf.one_hot(TARGETS, 3) + smoothing / 3
    expected = tf.nn.softmax(LOGITS) - soft
    np.testing.assert_allclose(gradient[0], expected[0], atol=1e-6)
    np.testing.assert_allclose(gradient[1, 0], expected[1, 0], atol=1e-6)
    assert not gradient[1, 1].numpy().any()


@pytest.mark.parametrize("shape", [(0, 4, 5), (3, 0, 5), (2, 4, 5)])
def test_nothing_but_padding_costs_nothing(shape):
    targets = tf.fill(shape[:2], PAD)
    assert [float(one) for one in masked_cross_entropy(tf.ones(shape), targets, 0.1)] == [0, 0, 0]


def test_very_sure_and_wrong_is_finite():
    logits = tf.constant([[[0.0, 1e4, -1e4]]])
    loss, nats, _ = masked_cross_entropy(logits, tf.constant([[2]]), 0.1)
    assert np.isfinite(loss) and nats == 2e4


class Fake:
    """Stands for a model: logits that say which token it was given."""

    def __init__(self):
        self.inputs = None

    def __call__(self, inputs, training):
        self.inputs, self.training = inputs, training
        return 3 * tf.one_hot(inputs["tokens"], 8), None


TOKENS = tf.constant([[START, 5, 6, END, PAD], [START, 7, END, PAD, PAD]])


def test_each_token_is_predicted_from_those_before_it():
    model = Fake()
    losses = caption_loss(model, {"image": 1, "tokens": TOKENS}, training=False)
    np.testing.assert_array_equal(model.inputs["tokens"], TOKENS[:, :-1])
    # No token follows itself here, so each costs the same: log(e^3 + 7).
    np.testing.assert_allclose(losses.nats, 5 * np.log(np.exp(3) + 7), rtol=1e-6)
    assert losses.count == 5 and losses.examples == 2 and losses.loss == losses.nats
    assert model.training is False and set(model.inputs) == {"image", "tokens"}


def test_prompts_are_handed_on_together():
    model = Fake()
    words = {"input_word_ids": 1, "input_mask": 2, "input_type_ids": 3}
    rest = {"image": 4, "image_rows": 5, "prompt_rows": 6, "sentences": 7}
    caption_loss(model, {"tokens": TOKENS, **words, **rest}, smoothing=0.1)
    assert model.training is True and model.inputs.pop("tokens") is not None
    assert model.inputs == {**rest, "prompt": words}


def test_the_sums_of_two_halves_are_those_of_the_whole():
    whole = caption_loss(Fake(), {"tokens": TOKENS}, smoothing=0.2)
    halves = [caption_loss(Fake(), {"tokens": TOKENS[i : i + 1]}, smoothing=0.2) for i in (0, 1)]
    np.testing.assert_allclose(whole, np.sum(halves, axis=0), rtol=1e-6)
