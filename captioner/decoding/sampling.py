"""Captions drawn as probably as the model says, in plain TensorFlow, inside one graph.

A token is drawn by inverting the distribution's cumulative sum at a number between 0 and 1. Those
numbers are given, one for every token, so what is drawn depends on them alone: not on the batch,
nor on any state.

Legend: B batch, K captions, T tokens, V vocabulary, M tokens that are drawn from.
"""

import tensorflow as tf

from captioner.decoding.beam import Step
from captioner.decoding.results import Found, Trace, keep, scored, widened
from captioner.decoding.rules import NEVER, Rules

# Half-way between the steps is what float32 still holds exactly.
_STEPS = 2**23


def numbers(requests: list[tf.Tensor], seed: int, captions: int, tokens: int) -> tf.Tensor:
    """float32 [B, K, T] above 0 and below 1, equally distributed, for rows of requests.

    Args:
        requests: string [B] each. What a row's numbers depend on, besides the seed.
        seed: int. 0 to 2 ** 63 - 1.
        captions: int. K.
        tokens: int. T.
    """

    def hashed(texts, buckets=2**62):  # SipHash, whose key is the seed
        return tf.strings.to_hash_bucket_strong(texts, buckets, [seed, 0])

    # Hashes of hashes: an image's megabytes are read once.
    row = tf.strings.join([tf.strings.as_string(hashed(one)) for one in requests], " ")
    place = tf.strings.as_string(tf.range(captions * tokens))
    each = [tf.repeat(row, captions * tokens), tf.tile(place, tf.shape(row))]
    drawn = tf.reshape(hashed(tf.strings.join(each, " "), _STEPS), [-1, captions, tokens])
    return (tf.cast(drawn, tf.float32) + 0.5) / _STEPS


def sample(
    step: Step,
    state,
    drawn: tf.Tensor,
    *,
    rules: Rules,
    start: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    length_penalty: float = 0.0,
    coverage_penalty: float = 0.0,
    prefix: tf.Tensor | None = None,
    trace: str | None = None,
) -> Found:
    """Draws K captions for each row, independently: one may be drawn twice.

    Log-probabilities are the model's own, of temperature 1 and all tokens, so that they compare
    with those that beam search finds.

    Args:
        step, state: as for `beam_search`, with K beams.
        drawn: float32 [B, K, T], between 0 and 1: `numbers`.
        rules: what captions may be like; of what they leave is drawn.
        start: int. Fed to the first step.
        temperature: float. Log-probabilities are divided by it.
        top_k: int. Then draws from so many of the most probable tokens; 0 for all.
        top_p: float. Then from the fewest of these that together have this probability.
        length_penalty, coverage_penalty, prefix, trace: as for `beam_search`.
    """
    batch, captions = tf.shape(drawn)[0], drawn.shape[1]
    tokens = rules.max_tokens
    prefix = widened(prefix, batch, tokens)
    traced = Trace(trace, batch, captions, tokens)

    def body(t, said, last, ended, total, state, spoken, history):
        log_probs, state = step(last, state)
        log_probs = tf.cast(log_probs, tf.float32)
        bars = rules.bars(t, said, prefix, spoken, tf.shape(log_probs)[-1])
        token = draw(log_probs + bars, drawn[:, :, t], temperature, top_k, top_p)
        total += tf.where(ended, 0.0, tf.gather(log_probs, token, axis=2, batch_dims=2))
        here = tf.one_hot(t, tokens, dtype=tf.int32)
        said += tf.where(ended, 0, token)[..., None] * here
        now = traced.at(t, traced.of(state))
        shape = tf.concat([[batch, captions], tf.ones_like(tf.shape(now)[2:])], 0)
        going = tf.reshape(~ended, shape)
        history += tf.where(going, now, tf.zeros_like(now))
        spoken = rules.follow(spoken, token)
        return t + 1, said, token, ended | (token == rules.end), total, state, spoken, history

    blank = tf.zeros([batch, captions, tokens], tf.int32)
    _, said, _, _, total, _, _, history = tf.while_loop(
        lambda t, said, last, ended, *rest: (t < tokens) & ~tf.reduce_all(ended),
        body,
        (
            tf.constant(0),
            blank,
            tf.fill([batch, captions], start),
            tf.zeros([batch, captions], tf.bool),
            tf.zeros([batch, captions]),
            state,
            rules.begin(batch, captions),
            traced.blank(state),
        ),
    )
    length = tf.reduce_sum(tf.cast(said != 0, tf.float32), axis=-1)
    scores = scored(total, length, history, length_penalty, coverage_penalty)
    scores, order = tf.math.top_k(scores, captions)
    return Found(
        keep(said, order), keep(total, order), scores, keep(history, order) if trace else None
    )


def draw(log_probs, drawn, temperature: float, top_k: int, top_p: float) -> tf.Tensor:
    """int32 [B, K]: a token of each distribution, float32 [B, K, V], that needn't sum to 1."""
    # The most probable token stays at 0, whatever the temperature makes of the others.
    log_probs -= tf.reduce_max(log_probs, axis=-1, keepdims=True)
    chances = tf.exp(tf.maximum(log_probs / temperature, NEVER))  # [B, K, M]
    order = None
    if top_k or top_p < 1:
        size = tf.shape(chances)[-1]
        chances, order = tf.math.top_k(chances, tf.minimum(top_k, size) if top_k else size)
    if top_p < 1:
        before = tf.cumsum(chances, axis=-1, exclusive=True)
        enough = top_p * tf.reduce_sum(chances, axis=-1, keepdims=True)
        chances = tf.where(before < enough, chances, 0.0)
    reached = tf.cumsum(chances, axis=-1)
    # Below the sum, so that the first place that goes beyond has a chance of its own.
    goal = drawn[..., None] * reached[..., -1:]
    place = tf.reduce_sum(tf.cast(reached <= goal, tf.int32), axis=-1)
    # Rounding may make the product as large as the sum.
    most = tf.argmax(chances, axis=-1, output_type=tf.int32)
    place = tf.where(place < tf.shape(chances)[-1], place, most)
    return place if order is None else tf.gather(order, place, axis=2, batch_dims=2)
