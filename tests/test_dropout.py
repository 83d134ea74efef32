"""Dropout: what is dropped, and what becomes of the rest."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from captioner.models.dropout import Dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_is_dropped_and_the_mean_stays(rate):
    found = Dropout(rate, seed=1)(tf.ones([200, 301]), training=True).numpy()
    kept = found > 0
    # Four standard deviations, and what a 256th may be off.
    slack = 4 * np.sqrt(rate * (1 - rate) / kept.size) + 0.5 / 256
    assert abs(1 - kept.mean() - rate) < slack
    assert np.ptp(found[kept]) == 0
    assert abs(found.mean() - 1) < 4 * np.sqrt(rate / (1 - rate) / kept.size)


def test_places_are_independent():
    kept = Dropout(0.5, seed=2)(tf.ones([4096, 8]), training=True).numpy() > 0
    together = np.corrcoef(kept.T) - np.eye(8)  # neighbours share a word of the generator
    assert np.abs(together).max() < 5 / np.sqrt(4096)


def test_each_call_drops_others_and_a_seed_the_same_ones():
    inputs = tf.ones([64, 64])
    layer, again = Dropout(0.5, seed=3), Dropout(0.5, seed=3)
    first, second = layer(inputs, training=True), layer(inputs, training=True)
    assert (first.numpy() != second.numpy()).mean() > 0.4
    np.testing.assert_array_equal(again(inputs, training=True), first)
    assert (Dropout(0.5, seed=4)(inputs, training=True).numpy() != first.numpy()).mean() > 0.4


@pytest.mark.parametrize(("rate", "training"), [(0.5, False), (0.0, True)])
def test_nothing_changes(rate, training):
    inputs = tf.random.stateless_normal([3, 5], [1, 2])
    np.testing.assert_array_equal(Dropout(rate)(inputs, training=training), inputs)


def test_the_gradient_goes_where_the_numbers_went():
    inputs = tf.random.stateless_normal([7, 11, 3], [1, 2])
    layer = Dropout(0.3, seed=5)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3])])
    def run(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            found = layer(inputs, training=True)
        return found, tape.gradient(found, inputs)

    found, gradient = run(inputs)
    np.testing.assert_allclose(found, inputs * gradient, rtol=1e-6)
    assert set(np.unique(gradient)) == {np.float32(0), np.float32(256 / (256 - 77))}


def test_an_empty_batch_and_a_rare_drop():
    assert Dropout(0.5)(tf.zeros([0, 9]), training=True).shape == (0, 9)
    rare = Dropout(1e-6, seed=6)(tf.ones([512, 512]), training=True).numpy()
    assert 0 < (rare == 0).mean() < 0.01


def test_half_precision():
    found = Dropout(0.5, seed=7, dtype="bfloat16")(tf.ones([8, 8], tf.bfloat16), training=True)
    assert found.dtype == tf.bfloat16 and set(np.unique(found.numpy())) <= {0, 2}


def test_a_layer_from_its_configuration():
    layer = Dropout(0.25, seed=8, name="drop")
    again = Dropout.from_config(layer.get_config())
    inputs = tf.ones([4, 4])
    np.testing.assert_array_equal(again(inputs, training=True), layer(inputs, training=True))
    assert isinstance(again, keras.layers.Layer) and again.name == "drop"


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_rates_that_can_not_be(rate):
    with pytest.raises(ValueError, match="dropout takes 0 or more, and less than 1"):
        Dropout(rate)
