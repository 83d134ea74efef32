"""What a search gives, and what beam search and sampling need to put it together.

Legend: B batch, K captions, N beams, C candidates, T tokens, R regions.
"""

from typing import Any, NamedTuple

import tensorflow as tf


class Found(NamedTuple):
    """Captions of a search, the best first.

    Attributes:
        tokens: int32 [B, K, T], the end token included, padded with 0.
        log_probs: float32 [B, K], nats, summed over the tokens.
        scores: float32 [B, K], what they are ordered by: see `scored`.
        trace: [B, K, T, ...] of the traced state, zero beyond the end; None if nothing is traced.
    """

    tokens: tf.Tensor
    log_probs: tf.Tensor
    scores: tf.Tensor
    trace: tf.Tensor | None


def scored(log_probs, length, trace, length_penalty: float, coverage_penalty: float):
    """log_probs / length ** length_penalty - coverage_penalty * sum over r of -log(min(a_r, 1)).

    a_r is the attention that all of a caption's tokens paid to region r (Wu et al. 2016,
    "Google's Neural Machine Translation System", equation 14, with another length penalty).

    Args:
        log_probs: float32 [B, C].
        length: float32, [B, C] or scalar. Tokens, the end token included.
        trace: float32 [B, C, T, R], attention. Ignored without a coverage penalty.
        length_penalty: float. 0 orders by log-probability, 1 by log-probability per token.
        coverage_penalty: float. 0 for none.
    """
    scores = log_probs / length**length_penalty
    if coverage_penalty:
        paid = tf.clip_by_value(tf.reduce_sum(trace, axis=2), 1e-6, 1.0)  # [B, C, R]
        scores += coverage_penalty * tf.reduce_sum(tf.math.log(paid), axis=-1)
    return scores


def keep(sequence: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Of [B, N, ...] those at the places [B, C]: [B, C, ...]."""
    return tf.gather(sequence, chosen, axis=1, batch_dims=1)


def joined(parts: list[tf.Tensor]) -> tf.Tensor:
    """[B, n, ...] one after the other; a single one as it is."""
    return parts[0] if len(parts) == 1 else tf.concat(parts, 1)


def widened(prefix: tf.Tensor | None, batch, tokens: int) -> tf.Tensor:
    """A prefix [B, P], or none, as int32 [B, T]: column t forces token t, 0 forces none."""
    if prefix is None:
        prefix = tf.zeros([batch, 1], tf.int32)
    return tf.pad(prefix[:, :tokens], [[0, 0], [0, tokens]])[:, :tokens]


class Trace:
    """The entry of a state that is given back per token.

    Args:
        name: str or None. None traces nothing, in tensors of no size.
        batch: int or scalar. B.
        captions: int. N.
        tokens: int. T.
    """

    def __init__(self, name: str | None, batch, captions: int, tokens: int):
        self.name, self._batch, self._captions, self._tokens = name, batch, captions, tokens

    def of(self, state: Any) -> tf.Tensor:
        """[B, N, ...]: what a state holds."""
        if self.name is None:
            return tf.zeros([self._batch, self._captions, 0])
        return state[self.name]

    def blank(self, state: Any) -> tf.Tensor:
        """[B, N, T, ...]: zeros, for what states like this one hold."""
        first = self.of(state)
        places = [self._batch, self._captions, self._tokens]
        zeros = tf.zeros(tf.concat([places, tf.shape(first)[2:]], 0), first.dtype)
        return tf.ensure_shape(zeros, [None, self._captions, self._tokens, *first.shape[2:]])

    def at(self, t: tf.Tensor, now: tf.Tensor) -> tf.Tensor:
        """[B, C, T, ...]: [B, C, ...] at place t, zeros elsewhere."""
        here = tf.one_hot(t, self._tokens, dtype=now.dtype)
        return now[:, :, None] * tf.reshape(here, [1, 1, -1] + [1] * (len(now.shape) - 2))
