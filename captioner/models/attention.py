"""Attention of one modality to another.

Legend: B batch, T queries, M memory entries (image regions or prompt tokens), Q query width,
D memory width, U units, H heads, d = U / H.
"""

import keras
import tensorflow as tf

from captioner.models.dropout import Dropout
from captioner.models.rows import by_rows


@keras.saving.register_keras_serializable("captioner")
class CrossModalAttention(keras.layers.Layer):
    """Lets one modality (the query) look at another (the memory): softmax(QKᵀ/√d)V, by heads.

    The query may be text that looks at image regions, or a decoder's state that looks at regions
    or at a prompt. Scaled dot-product attention after Vaswani et al. (2017), equation 1, with
    separate projections per head (section 3.2.2).

    A memory that is masked out entirely (no image, an empty prompt) gives weights and a context
    of zero rather than NaN.

    Args:
        units: int. Width of keys, values and of the context.
        heads: int. Number of heads; must divide `units`. Defaults to 1.
        dropout: float. Share of attention weights dropped in training. Defaults to 0.
        **kwargs: as every `keras.layers.Layer` takes them.

    Call arguments:
        query: float [B, T, Q].
        memory: float [B, M, D].
        mask: bool [B, M] or None. True where the memory may be looked at.
        training: bool. Whether to drop weights.

    Returns:
        (context, weights): float [B, T, U], and float [B, T, M], the heads' mean, which sums
        to 1 over M (or is 0 where everything is masked).

    Raises:
        ValueError: `units` is not a multiple of `heads`, or there are no heads.

    Example:
        >>> attention = CrossModalAttention(units=64, heads=4)
        >>> context, weights = attention(tf.zeros([2, 5, 32]), tf.zeros([2, 49, 2048]))
        >>> context.shape, weights.shape
        (TensorShape([2, 5, 64]), TensorShape([2, 5, 49]))
    """

    def __init__(self, units: int, heads: int = 1, dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        if heads < 1 or units % heads:
            raise ValueError(f"units={units} must be a multiple of heads={heads}")
        self.units = units
        self.heads = heads
        self.dropout = dropout
        self._query = keras.layers.Dense(units, dtype=self.dtype_policy, name="query")
        # One product gives keys and values.
        self._key_value = keras.layers.Dense(
            2 * units, dtype=self.dtype_policy, name="key_value"
        )
        self._dropout = Dropout(dropout, dtype=self.dtype_policy)

    def build(self, query_shape, memory_shape):
        self._query.build(query_shape)
        self._key_value.build(memory_shape)
        self.built = True

    def call(self, query, memory, mask=None, training=False):
        return self.attend(query, self.project(memory), mask, training=training)

    def project(self, memory):
        """[B, M, D] -> (keys, values), each [B, H, M, d]: once per memory, for any number of
        queries."""
        shape = tf.shape(memory)
        both = tf.reshape(
            by_rows(self._key_value, memory),
            [shape[0], shape[1], 2, self.heads, self.units // self.heads],
        )
        both = tf.transpose(both, [2, 0, 3, 1, 4])  # (2, B, H, M, d)
        return tuple(tf.unstack(both))  # indexed, each would cost a gradient of both's size

    def attend(self, query, projected, mask=None, training=False):
        """The call, with the memory's `project`ion in hand."""
        keys, values = projected
        # The number of beams is known when the graph is made, that of times may be 0.
        places = [-1, query.shape[1]] if query.shape[1] else tf.unstack(tf.shape(query)[:2])
        queries = by_rows(self._query, query)
        queries = tf.reshape(queries, [*places, self.heads, self.units // self.heads])
        queries = tf.transpose(queries, [0, 2, 1, 3])  # (B, H, T, d)
        # (B, H, T, d) x (B, H, d, M) -> (B, H, T, M)
        scores = tf.matmul(queries, keys, transpose_b=True)
        # Softmax in float32: in bfloat16 its sums are off by percents.
        scores = tf.cast(scores, tf.float32) * (self.units // self.heads) ** -0.5
        if mask is not None:
            allowed = mask[:, None, None, :]
            scores = tf.where(allowed, scores, scores.dtype.min)
            weights = tf.where(allowed, tf.nn.softmax(scores), 0.0)
        else:
            weights = tf.nn.softmax(scores)
        dropped = self._dropout(tf.cast(weights, values.dtype), training=training)
        # (B, H, T, M) x (B, H, M, d) -> (B, H, T, d)
        context = tf.transpose(tf.matmul(dropped, values), [0, 2, 1, 3])
        context = tf.reshape(context, [*places, self.units])
        return context, tf.reduce_mean(weights, axis=1)

    def compute_output_shape(self, query_shape, memory_shape):
        return (*query_shape[:2], self.units), (*query_shape[:2], memory_shape[1])

    def compute_output_spec(self, query, memory, mask=None, training=False):
        context, weights = self.compute_output_shape(query.shape, memory.shape)
        return (
            keras.KerasTensor(context, dtype=self.compute_dtype),
            keras.KerasTensor(weights, dtype="float32"),
        )

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "heads": self.heads,
            "dropout": self.dropout,
        }
