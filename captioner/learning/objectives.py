"""Objectives: what training minimises.

An objective is a function (model, batch) -> `Losses`. Sums and counts rather than means, so that
replicas with different numbers of tokens add up to exactly what one replica would compute.

Legend: B captions, T tokens, S tokens of all captions together, V vocabulary.
"""

from collections.abc import Callable, Mapping
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
        parts: scalars. Of an objective with several parts the nats of each, by the names of what
            they are counted by; figures then have them in the place of `nats`.
    """

    loss: tf.Tensor
    count: tf.Tensor
    nats: tf.Tensor
    examples: tf.Tensor
    parts: Mapping[str, tf.Tensor] = {}  # noqa: RUF012 - nobody adds to it


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

    # Differentiated piece by piece, it would take a dozen passes over [S, V], and exponentials in
    # two of them.
    @tf.custom_gradient
    def losses(logits):
        probs = tf.nn.softmax(logits)
        target = tf.gather_nd(logits, places)
        # By way of the most probable token: of its probability, never near 0, the logarithm is
        # exact, and the other probabilities are to it as their logits are apart.
        plain = tf.reduce_max(logits, -1) - target - tf.math.log(tf.reduce_max(probs, -1))
        smoothed = plain
        if smoothing:
            smoothed += smoothing * (target - tf.reduce_mean(logits, -1))

        def gradient(by_smoothed, by_plain):
            """What comes in [S] each, times probability minus target."""
            both = (by_smoothed + by_plain)[:, None]
            slope = probs * both
            if smoothing:
                slope -= even * by_smoothed[:, None]
            on_target = (1 - smoothing) * by_smoothed + by_plain
            return tf.tensor_scatter_nd_sub(slope, places, on_target)

        return (smoothed, plain), gradient

    return losses(logits)


def forced(decode: Callable, targets):
    """Teacher forcing without padding.

    Args:
        decode: function (lengths int32 [B]) -> logits float32 [S, V], of the captions' tokens, one
            caption after the other.
        targets: int32 [B, T]. What each token is followed by; padding at the end.

    Returns:
        (logits, targets, captions): float32 [S, V]; int32 [S], what each token is followed by; and
        int32 [S], which caption it belongs to.
    """
    there = targets != PAD
    lengths = tf.reduce_sum(tf.cast(there, tf.int32), axis=1)
    captions = tf.repeat(tf.range(tf.shape(targets)[0]), lengths)
    return decode(lengths), tf.boolean_mask(targets, there), captions


def _prompt(batch):
    return {name: batch[name] for name in _PROMPT if name in batch}


class Predicted(NamedTuple):
    """What a model says should come, and what does.

    Attributes:
        logits: float32 [S, V].
        targets: int32 [S].
        examples: scalar. Captions, or whatever the tokens belong to.
    """

    logits: tf.Tensor
    targets: tf.Tensor
    examples: tf.Tensor


def caption_logits(model, batch, training: bool) -> Predicted:
    """Teacher forcing on a batch of `inputs.pipeline.Batches`, without padding."""
    inputs = {name: one for name, one in batch.items() if name not in _PROMPT}
    inputs["tokens"] = batch["tokens"][:, :-1]
    if _PROMPT[0] in batch:
        inputs["prompt"] = _prompt(batch)

    def decoded(lengths):
        return model(inputs | {"lengths": lengths}, training=training)[0]

    logits, targets, _ = forced(decoded, batch["tokens"][:, 1:])
    return Predicted(logits, targets, tf.cast(tf.shape(batch["tokens"])[0], tf.float32))


def answer_logits(model, batch, training: bool) -> Predicted:
    """The choice of an answer, on a batch whose `tokens` [B, 1] are answers; a term a question."""
    memory = model.encode(
        batch["image"],
        _prompt(batch),
        image_rows=batch["image_rows"],
        prompt_rows=batch["prompt_rows"],
        training=training,
    )
    logits, _ = model.decoder(memory, training=training)
    targets = batch["tokens"][:, 0]
    return Predicted(logits, targets, tf.cast(tf.shape(targets)[0], tf.float32))


class Likelihood:
    """Cross-entropy with what came, as an objective.

    Args:
        predict: function (model, batch, training) -> `Predicted`.
    """

    def __init__(self, predict: Callable[..., Predicted]):
        self.predict = predict

    def __call__(self, model, batch, *, smoothing: float = 0.0, training: bool = True) -> Losses:
        return summed(self.predict(model, batch, training), smoothing)


def summed(predicted: Predicted, smoothing: float) -> Losses:
    """The cross-entropy of what was predicted."""
    smoothed, plain = cross_entropy(predicted.logits, predicted.targets, smoothing)
    count = tf.cast(tf.shape(plain)[0], tf.float32)
    return Losses(tf.reduce_sum(smoothed), count, tf.reduce_sum(plain), predicted.examples)


caption_loss = Likelihood(caption_logits)
answer_loss = Likelihood(answer_logits)
