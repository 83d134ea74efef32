"""The captions that a beam search has finished so far.

They are a dict of tensors, so that a loop can carry them: `scores`, `log_probs` float32 [B, K],
`tokens` int32 [B, K, T], `trace` [B, K, T, ...], and where phrases are required `met` int32 [B, K],
how many of them a caption holds. Places without a caption have scores of NEVER.

Legend: B batch, K captions, k captions of a group, C candidates, T tokens.
"""

import tensorflow as tf

from captioner.decoding.results import joined, keep
from captioner.decoding.rules import NEVER

Pool = dict[str, tf.Tensor]


def empty(tokens: tf.Tensor, trace: tf.Tensor, required: int) -> Pool:
    """No captions; `tokens` and `trace` are zeros of their shapes."""
    places = tf.shape(tokens)[:1], [tokens.shape[1]]
    nothing = tf.fill(tf.concat(places, 0), NEVER)
    pool = {"scores": nothing, "log_probs": nothing, "tokens": tokens, "trace": trace}
    return pool | {"met": tf.cast(tf.zeros_like(nothing), tf.int32) - 1} if required else pool


def part(pool: Pool, places: slice) -> Pool:
    """Some of the K places."""
    return {name: one[:, places] for name, one in pool.items()}


def is_done(pool: Pool, live: tf.Tensor, required: int) -> tf.Tensor:
    """bool [B]: rows with k finished captions, none less probable than a live one is already.

    Without the second half, improbable captions that end early would fill a row's places before the
    one that greedy search finds has come to its end.

    Args:
        pool: a group's k captions, the best first.
        live: float32 [B, N]. The group's log-probabilities.
        required: int. How many phrases a caption must hold.
    """
    full = pool["scores"][:, -1] > NEVER / 2
    if required:
        full &= pool["met"][:, -1] == required
    return full & (tf.reduce_max(live, axis=1) <= tf.reduce_min(pool["log_probs"], axis=1))


def added(pool: Pool, candidates: Pool, reached: tf.Tensor, earlier: list[Pool]) -> Pool:
    """The best k of a pool and of the candidates that have ended.

    Args:
        pool: a group's k captions.
        candidates: C of them, with the same entries.
        reached: bool [B, C]. Which of them have ended.
        earlier: the pools of the groups before it, whose captions aren't taken again.
    """
    for other in earlier:
        same = tf.reduce_all(candidates["tokens"][:, :, None] == other["tokens"][:, None], axis=-1)
        reached &= ~tf.reduce_any(same, axis=-1)
    candidates = dict(candidates)
    candidates["scores"] = tf.where(reached, candidates["scores"], NEVER)
    if "met" in candidates:
        candidates["met"] = tf.where(reached, candidates["met"], -1)
    both = {name: joined([pool[name], one]) for name, one in candidates.items()}
    order = _order(both, pool["scores"].shape[1])
    return {name: keep(one, order) for name, one in both.items()}


def best(pool: Pool, groups: int) -> Pool:
    """The captions of all groups, the best first, without those that hold fewer required phrases
    than the first."""
    if groups > 1:
        order = _order(pool, pool["scores"].shape[1])
        pool = {name: keep(one, order) for name, one in pool.items()}
    if "met" not in pool:
        return pool
    there = pool["met"] == pool["met"][:, :1]
    kept = {name: tf.where(there, pool[name], NEVER) for name in ("scores", "log_probs")}
    for name in ("tokens", "trace"):
        one = pool[name]
        shape = tf.concat([tf.shape(there), tf.ones_like(tf.shape(one)[2:])], 0)
        kept[name] = tf.where(tf.reshape(there, shape), one, tf.zeros_like(one))
    return kept


def _order(pool: Pool, count: int) -> tf.Tensor:
    """int32 [B, count]: the places of the best; what holds more required phrases is better."""
    if "met" not in pool:
        return tf.math.top_k(pool["scores"], count)[1]
    by_score = tf.math.top_k(pool["scores"], tf.shape(pool["scores"])[1])[1]
    # Of equals, the first stays first.
    return keep(by_score, tf.math.top_k(keep(pool["met"], by_score), count)[1])
