"""Objectives: what training minimises.

An objective is a function (model, batch) -> `Losses`. Sums and counts rather than means, so that
replicas with different numbers of tokens add up to exactly what one replica would compute.

Legend: B captions, T tokens, S tokens of all captions together, V vocabulary.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from captioner.inputs.prompt_pieces import COPIED
from captioner.inputs.text import PAD
from captioner.inputs.wordpiece import BERT_INPUTS, READ

_PROMPT = (*BERT_INPUTS, *READ, *COPIED)


class Losses(NamedTuple):
    """Sums over a replica's batch.

    Attributes:
        loss: scalar. What is differentiated; a sum over `count` terms.
        count: scalar. Terms (of captioning, tokens).
        nats: scalar. The cross-entropy without smoothing, summed.
        examples: scalar. Captions.
    """

    loss: tf.Tensor
    count: tf.Tensor
    nats: tf.Tensor
    examples: tf.Tensor


def cross_entropy(logits, targets, smoothing: float = 0.0):
    """Cross-entropy of each token, in nats.

    Args:
        logits: float32 [S, V].
        targets: int32 [S].
        smoothing: float. The share of each target's probability spread evenly over V (Szegedy
            et al., 2016, section 7).

    Returns:
        (smoothed, plain): float32 [S] each.
    """
    places = tf.stack([tf.range(tf.shape(targets)[0]), targets], 1)
    even = smoothing / logits.shape[-1]

    # Differentiated piece by piece, it would take a dozen passes over [S, V]; here it takes three.
    @tf.custom_gradient
    def losses(logits):
        log_probs = tf.nn.log_softmax(logits)
        plain = -tf.gather_nd(log_probs, places)
        smoothed = plain
        if smoothing:
            smoothed = (1 - smoothing) * plain - smoothing * tf.reduce_mean(log_probs, -1)

        def gradient(by_smoothed, by_plain):
            """What comes in [S] each, times probability minus target."""
            both = (by_smoothed + by_plain)[:, None]
            slope = tf.exp(log_probs) * both
            if smoothing:
                slope -= even * by_smoothed[:, None]
            on_target = (1 - smoothing) * by_smoothed + by_plain
            return tf.tensor_scatter_nd_sub(slope, places, on_target)

        return (smoothed, plain), gradient

    return losses(logits)


def forced(decode: Callable, targets, smoothing: float = 0.0):
    """Teacher forcing without padding.

    Args:
        decode: function (lengths int32 [B]) -> logits float32 [S, V], of the captions' tokens, one
            caption after the other.
        targets: int32 [B, T]. What each token is followed by; padding at the end.
        smoothing: float. As `cross_entropy` takes it.

    Returns:
        (smoothed, plain, captions): nats float32 [S] each, and int32 [S], which caption each token
        belongs to.
    """
    there = targets != PAD
    lengths = tf.reduce_sum(tf.cast(there, tf.int32), axis=1)
    logits = decode(lengths)
    smoothed, plain = cross_entropy(logits, tf.boolean_mask(targets, there), smoothing)
    return smoothed, plain, tf.repeat(tf.range(tf.shape(targets)[0]), lengths)


def _prompt(batch):
    return {name: batch[name] for name in _PROMPT if name in batch}


def answer_loss(model, batch, *, smoothing: float = 0.0, training: bool = True) -> Losses:
    """The choice of an answer, on a batch whose `tokens` [B, 1] are answers; a term a question."""
    memory = model.encode(
        batch["image"],
        _prompt(batch),
        image_rows=batch["image_rows"],
        prompt_rows=batch["prompt_rows"],
        training=training,
    )
    logits, _ = model.decoder(memory, training=training)
    smoothed, plain = cross_entropy(logits, batch["tokens"][:, 0], smoothing)
    count = tf.cast(tf.shape(plain)[0], tf.float32)
    return Losses(tf.reduce_sum(smoothed), count, tf.reduce_sum(plain), count)


def caption_loss(model, batch, *, smoothing: float = 0.0, training: bool = True) -> Losses:
    """Teacher forcing on a batch of `inputs.pipeline.Batches`."""
    inputs = {name: one for name, one in batch.items() if name not in _PROMPT}
    inputs["tokens"] = batch["tokens"][:, :-1]
    if _PROMPT[0] in batch:
        inputs["prompt"] = _prompt(batch)

    def decoded(lengths):
        return model(inputs | {"lengths": lengths}, training=training)[0]

    smoothed, plain, _ = forced(decoded, batch["tokens"][:, 1:], smoothing)
    count, examples = (
        tf.cast(tf.shape(one)[0], tf.float32) for one in (plain, batch["tokens"])
    )
    return Losses(tf.reduce_sum(smoothed), count, tf.reduce_sum(plain), examples)
