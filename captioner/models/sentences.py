"""Sentence embeddings: what a text means, and what an image would be said to show.

Legend: B batch, N images, R regions, D encoder width, S embedding width.
"""

import keras
import tensorflow as tf


def embed(text_encoder, inputs) -> tf.Tensor:
    """{input_word_ids, input_mask, input_type_ids} int32 [B, P] -> float32 [B, S].

    The mean of the tokens' vectors, of length 1 (Reimers and Gurevych, 2019, "Sentence-BERT").
    """
    tokens, _ = text_encoder(inputs)
    return mean_embedding(tokens, inputs["input_mask"])


def mean_embedding(tokens: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """The same, of the tokens' vectors [B, P, S] and their mask [B, P]."""
    mask = tf.cast(mask, tokens.dtype)[..., None]
    mean = tf.math.divide_no_nan(
        tf.reduce_sum(tokens * mask, axis=1), tf.reduce_sum(mask, axis=1)
    )
    return tf.math.l2_normalize(mean, axis=-1)


@keras.saving.register_keras_serializable("captioner")
class SentenceHead(keras.layers.Layer):
    """An image's features to the embedding of the sentence that would describe it.

    A linear map of the regions' mean, as in DeViSE (Frome et al., 2013), then length 1. Its weights
    are fitted in closed form (`captioner.learning.sentences`) and not trained.

    Args:
        width: int. S.
        features: int. D.
        **kwargs: as every `keras.layers.Layer` takes them.
    """

    def __init__(self, width: int, features: int, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.features = features
        self.kernel = self.add_weight(
            shape=(features, width), initializer="zeros", trainable=False, name="kernel"
        )
        self.bias = self.add_weight(
            shape=(width,), initializer="zeros", trainable=False, name="bias"
        )
        self.built = True

    def call(self, features):
        """float [N, R, D] -> float32 [N, S]."""
        mean = tf.reduce_mean(tf.cast(features, tf.float32), axis=1)
        return tf.math.l2_normalize(tf.matmul(mean, self.kernel) + self.bias, axis=-1)

    def get_config(self):
        return {**super().get_config(), "width": self.width, "features": self.features}
