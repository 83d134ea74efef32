"""Dense layers on tensors of more than two dimensions."""

import keras
import tensorflow as tf


def by_rows(dense: keras.layers.Dense, inputs: tf.Tensor) -> tf.Tensor:
    """A dense layer, built, of inputs [..., D], as one matrix: of more dimensions, TensorFlow's
    product takes many times as long, or adds the bias in a pass of its own."""
    found = dense(tf.reshape(inputs, [-1, dense.kernel.shape[0]]))
    return tf.reshape(found, tf.concat([tf.shape(inputs)[:-1], [found.shape[-1]]], 0))
