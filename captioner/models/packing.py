"""Captions of different lengths without their padding.

A batch of captions is as long as its longest may be, and nearly half of its places (24 for
captions of 13 tokens on average) have no token. Packed, the tokens of all captions are the rows of
one matrix: every caption's first token, longest caption first, then every second token, and so on.
A step of a recurrence is then a block of rows, and what has no memory is one product for the whole
batch.

Legend: B captions, T tokens, S tokens of all captions together, G memories, W the most tokens that
look at one memory.
"""

from typing import NamedTuple

import tensorflow as tf


class Packing(NamedTuple):
    """Where the tokens of captions stand.

    Attributes:
        order: int32 [B]. The captions by falling length.
        sizes: int32 [T]. How many captions have a first token, a second, …; T is the longest's.
        ranks: int32 [S]. Each packed token's caption, as a place in `order`.
        captions: int32 [S]. The same as a row of the batch.
        steps: int32 [S]. Which of its caption's tokens each is, from 0.
        unpacked: int32 [S]. Where in the pack the tokens stand, caption after caption.
    """

    order: tf.Tensor
    sizes: tf.Tensor
    ranks: tf.Tensor
    captions: tf.Tensor
    steps: tf.Tensor
    unpacked: tf.Tensor


def pack(lengths: tf.Tensor) -> Packing:
    """int32 [B], how many tokens each caption has -> its `Packing`."""
    # The order is stable, so that equal batches are computed in equal order.
    order = tf.argsort(lengths, direction="DESCENDING", stable=True)
    # Where there is no token at all, T is 1: loops of no step have no shapes.
    longest = tf.reduce_max(tf.concat([lengths, [1]], 0))
    there = tf.sequence_mask(tf.gather(lengths, order), longest)  # [B, T]
    places = tf.cast(tf.where(tf.transpose(there)), tf.int32)  # by step, then by rank
    steps, ranks = places[:, 0], places[:, 1]
    captions = tf.gather(order, ranks)
    starts = tf.cumsum(lengths, exclusive=True)
    unpacked = tf.math.invert_permutation(tf.gather(starts, captions) + steps)
    sizes = tf.reduce_sum(tf.cast(there, tf.int32), axis=0)
    return Packing(order, sizes, ranks, captions, steps, unpacked)


class Groups(NamedTuple):
    """Tokens by the memory they look at, which several captions may share.

    Attributes:
        tokens: int32 [G, W]. The tokens of each memory; 0 where it has fewer.
        places: int32 [L]. Where the tokens that look at one stand in that, as rows of G * W.
        looking: int32 [L]. Those tokens.
        count: int32. S.
    """

    tokens: tf.Tensor
    places: tf.Tensor
    looking: tf.Tensor
    count: tf.Tensor

    def gather(self, tokens: tf.Tensor) -> tf.Tensor:
        """[S, U] -> [G, W, U]."""
        return tf.gather(tokens, self.tokens)

    def scatter(self, grouped: tf.Tensor) -> tf.Tensor:
        """[G, W, U] -> [S, U], zeros for tokens that look at nothing."""
        width = grouped.shape[-1]
        size = tf.shape(grouped)[-1] if width is None else width
        found = tf.gather(tf.reshape(grouped, [-1, size]), self.places)
        return tf.scatter_nd(self.looking[:, None], found, [self.count, size])


def group(owners: tf.Tensor, count: tf.Tensor) -> Groups:
    """Puts tokens together.

    Args:
        owners: int32 [S]. The memory that each token looks at, -1 for none.
        count: int32. G.
    """
    tokens = tf.shape(owners)[0]
    looking = tf.cast(tf.where(owners >= 0)[:, 0], tf.int32)
    owners = tf.gather(owners, looking)
    # A memory's tokens come one after the other, and each is numbered from the first.
    by_owner = tf.argsort(owners, stable=True)
    owners, looking = tf.gather(owners, by_owner), tf.gather(looking, by_owner)
    sizes = tf.math.bincount(owners, minlength=count, maxlength=count)
    first = tf.gather(tf.cumsum(sizes, exclusive=True), owners)
    width = tf.reduce_max(tf.concat([sizes, [0]], 0))
    places = owners * width + tf.range(tf.shape(owners)[0]) - first
    found = tf.scatter_nd(places[:, None], looking, [count * width])
    return Groups(tf.reshape(found, [count, width]), places, looking, tokens)
