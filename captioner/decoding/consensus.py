"""What a search takes from captions that are known to be near: which words to expect, which of them
after which, and which of its own captions they agree with.

Legend: B batch, N beams, C candidates, K near captions, T tokens, P = K T places, V vocabulary.
"""

from collections.abc import Callable

import tensorflow as tf

from captioner.decoding.results import Found, keep
from captioner.inputs.text import PAD, SPECIAL, START

# Runs of one to so many tokens are compared, as CIDEr does.
_LONGEST = 4

# Tokens below it are marks, and no words.
_FIRST_PIECE = len(SPECIAL)

# How often the near captions must hold a token for what they go on with to count as much as what
# the model expects.
_PRIOR = 5.0


def expecting(step: Callable, evidence: tf.Tensor, weight: float) -> Callable:
    """A step whose log-probabilities [B, K, V] lean towards what evidence [B, V] makes likely."""

    shift = weight * evidence[:, None]  # once, and not at every step

    def leaning(tokens, state):
        log_probs, state = step(tokens, state)
        return tf.nn.log_softmax(log_probs + shift), state

    return leaning


def following(step: Callable, near: tf.Tensor, weight: float) -> Callable:
    """A step whose log-probabilities [B, N, V] lean towards what the near captions [B, K, T] go on
    with after a beam's last token.

    Where they hold it n times and go on c times with some token that has the probability p, they
    would have it be (c + a p) / (n + a): bigrams with the model for a prior (MacKay and Peto, 1995,
    "A hierarchical Dirichlet language model"). Its logarithm moves there by the weight's share, and
    what is then too much or too little for a distribution is spread over all.
    """
    near = near[:, :, : tf.reduce_max(tf.math.count_nonzero(near, -1, dtype=tf.int32))]
    batch, captions, length = tf.unstack(tf.shape(near))
    flat = [batch, captions * length]
    after = tf.reshape(near, flat)
    before = tf.pad(near, [[0, 0], [0, 0], [1, 0]], constant_values=START)[:, :, :-1]
    before = tf.where(after == PAD, -1, tf.reshape(before, flat))
    # A row and a pair of tokens as one number, so that pairs can be counted in little memory.
    row, first, second = (
        tf.cast(one, tf.int64) for one in (tf.range(batch)[:, None], before + 1, after)
    )
    base = tf.maximum(tf.reduce_max(second), START) + 2
    pairs = tf.unique_with_counts(tf.reshape((row * base + first) * base + second, [-1]))
    often = tf.reshape(tf.gather(tf.cast(pairs.count, tf.float32), pairs.idx), flat)  # [B, P]: c

    def leaning(tokens, state):
        log_probs, state = step(tokens, state)
        # Few tokens follow the last one, so that nothing is computed of the whole vocabulary.
        row, beam, place = tf.unstack(tf.where(tokens[:, :, None] == before[:, None]), axis=1)
        held = tf.stack([row, place], 1)
        counts = tf.gather_nd(often, held)
        piece = tf.cast(tf.gather_nd(after, held), tf.int64)
        at = tf.stack([row, beam, piece], 1)
        expected = tf.gather_nd(log_probs, at)
        # log of (c + a p) / (a p); 1 / (n + a) is alike for all that may follow.
        more = weight * tf.nn.softplus(tf.math.log(counts / _PRIOR) - expected)
        # A token that follows c times is here c times: each brings its share.
        log_probs = tf.tensor_scatter_nd_add(log_probs, at, more / counts)
        added = (tf.exp(expected + more) - tf.exp(expected)) / counts
        added = tf.scatter_nd(tf.stack([row, beam], 1), added, tf.shape(tokens, tf.int64))
        return log_probs - tf.math.log1p(added)[..., None], state

    return leaning


def reordered(found: Found, scores: tf.Tensor) -> Found:
    """The captions by other scores [B, C], the best first; equal ones stay in order."""
    order = tf.argsort(scores, direction="DESCENDING", stable=True)
    found = found._replace(scores=scores)
    return Found(*(None if one is None else keep(one, order) for one in found))


def agreement(candidates: tf.Tensor, near: tf.Tensor, rarity: tf.Tensor) -> tf.Tensor:
    """How much each candidate [B, C, T] says what the near captions [B, K, T] say: float32 [B, C].

    The mean over the near captions and over n = 1 to 4 of the cosine between counts of n-grams,
    each weighted by the rarity of its pieces; CIDEr (Vedantam et al., 2015) with the near captions
    for references and a weight that needs no table of n-grams. To choose by it is what Devlin et
    al. (2015) call the consensus caption. 0 to 1.
    """
    mine, theirs = _Runs(candidates, rarity), _Runs(near, rarity)
    both = _Alike(candidates[:, :, None], near[:, None])  # of [B, C, K]
    own, others = _Alike(candidates, candidates), _Alike(near, near)
    total = tf.zeros(tf.shape(candidates)[:2])
    for n in range(_LONGEST):
        if n:
            for one in (mine, theirs, both, own, others):
                one.lengthen()
        mine_alone, theirs_alone = own.products(mine.squares), others.products(theirs.squares)
        sizes = tf.sqrt(mine_alone[:, :, None] * theirs_alone[:, None])
        cosines = tf.math.divide_no_nan(both.products(mine.squares[:, :, None]), sizes)
        total += tf.reduce_mean(cosines, axis=-1)
    return total / _LONGEST


class _Runs:
    """The n-grams of texts [B, N, T], of a token first: one begins at each place, if there is room.

    Attributes:
        squares: float32 [B, N, T]. Each n-gram's weight, squared; 0 where none begins.
    """

    def __init__(self, tokens, rarity):
        self._pieces = self._there = tokens >= _FIRST_PIECE
        self._single = self._weights = tf.gather(rarity, tokens)
        self._length = 1
        self.squares = self._squares()

    def lengthen(self) -> None:
        """Makes them longer by a token."""
        self._weights += _shift(self._single, self._length)
        self._there &= _shift(self._pieces, self._length)
        self._length += 1
        self.squares = self._squares()

    def _squares(self) -> tf.Tensor:
        return tf.square(self._weights) * tf.cast(self._there, tf.float32)


class _Alike:
    """At which places of two texts [..., T] and [..., T'] the same n-gram begins."""

    def __init__(self, mine, theirs):
        self._single = self._same = mine[..., :, None] == theirs[..., None, :]
        self._length = 1

    def lengthen(self) -> None:
        """Compares n-grams that are longer by a token."""
        shifted = _shift(self._single, self._length, axes=2)
        self._same &= shifted
        self._length += 1

    def products(self, squares) -> tf.Tensor:
        """[...]: dot products of the weighted counts of n-grams, which are sums over the pairs of
        places that hold the same one, so that no bag of them is ever made. The weight is the
        n-gram's own: of equal ones, one text's [..., T] says enough."""
        return tf.reduce_sum(tf.reduce_sum(tf.cast(self._same, tf.float32), -1) * squares, -1)


def _shift(values: tf.Tensor, by: int, axes: int = 1) -> tf.Tensor:
    """Each place of the last axes with what stands `by` places on; zeros at the end."""
    whole = len(values.shape) - axes
    spare = [[0, 0]] * whole + [[0, by]] * axes
    return tf.pad(values[(..., *[slice(by, None)] * axes)], spare)
