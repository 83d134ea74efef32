"""Objectives: what training minimises.

An objective is a function (model, batch) -> `Losses`. Sums and counts rather than means, so that
replicas with different numbers of tokens add up to exactly what one replica would compute.
"""

from typing import NamedTuple

import tensorflow as tf

from captioner.inputs.prompt_pieces import COPIED
from captioner.inputs.text import PAD
from captioner.inputs.wordpiece import BERT_INPUTS

_PROMPT = (*BERT_INPUTS, *COPIED)


class Losses(NamedTuple):
    """Sums over a replica's batch.

    Attributes:
        loss: scalar. What is differentiated; a sum over `count` terms.
        count: scalar. Terms (tokens).
        nats: scalar. The cross-entropy without smoothing, summed.
        examples: scalar. Captions.
    """

    loss: tf.Tensor
    count: tf.Tensor
    nats: tf.Tensor
    examples: tf.Tensor


def masked_cross_entropy(logits, targets, smoothing: float = 0.0):
    """Cross-entropy of every token that is no padding, summed, in nats.

    Args:
        logits: float32 [B, T, V].
        targets: int32 [B, T].
        smoothing: float. The share of each target's probability spread evenly over V (Szegedy
            et al., 2016, section 7).

    Returns:
        (smoothed, plain, count): scalars.
    """
    mask = tf.cast(targets != PAD, tf.float32)
    log_probs = tf.nn.log_softmax(logits)
    plain = -tf.gather(log_probs, targets, axis=2, batch_dims=2)
    even = -tf.reduce_mean(log_probs, axis=-1)
    smoothed = (1 - smoothing) * plain + smoothing * even
    return (
        tf.reduce_sum(smoothed * mask),
        tf.reduce_sum(plain * mask),
        tf.reduce_sum(mask),
    )


def caption_loss(model, batch, *, smoothing: float = 0.0, training: bool = True) -> Losses:
    """Teacher forcing on a batch of `inputs.pipeline.Batches`."""
    inputs = {name: one for name, one in batch.items() if name not in _PROMPT}
    inputs["tokens"] = batch["tokens"][:, :-1]
    if _PROMPT[0] in batch:
        inputs["prompt"] = {name: batch[name] for name in _PROMPT if name in batch}
    logits, _ = model(inputs, training=training)
    loss, nats, count = masked_cross_entropy(logits, batch["tokens"][:, 1:], smoothing)
    examples = tf.cast(tf.shape(batch["tokens"])[0], tf.float32)
    return Losses(loss, count, nats, examples)
