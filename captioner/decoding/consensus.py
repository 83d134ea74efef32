"""What a search takes from captions that are known to be near: which words to expect, and which of
its own captions they agree with.

Legend: B batch, C candidates, K near captions, T tokens, V vocabulary.
"""

from collections.abc import Callable

import tensorflow as tf

from captioner.decoding.results import Found, keep
from captioner.inputs.text import SPECIAL

# Runs of one to so many tokens are compared, as CIDEr does.
_LONGEST = 4

# Tokens below it are marks, and no words.
_FIRST_PIECE = len(SPECIAL)


def expecting(step: Callable, evidence: tf.Tensor, weight: float) -> Callable:
    """A step whose log-probabilities [B, K, V] lean towards what evidence [B, V] makes likely."""

    shift = weight * evidence[:, None]  # once, and not at every step

    def leaning(tokens, state):
        log_probs, state = step(tokens, state)
        return tf.nn.log_softmax(log_probs + shift), state

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
    total = tf.zeros(tf.shape(candidates)[:2])
    for n in range(_LONGEST):
        if n:
            mine, theirs = mine.longer(), theirs.longer()
        both = mine.products(theirs)  # [B, C, K]
        sizes = mine.sizes()[:, :, None] * theirs.sizes()[:, None]
        total += tf.reduce_mean(tf.math.divide_no_nan(both, tf.sqrt(sizes)), axis=-1)
    return total / _LONGEST


class _Runs:
    """The n-grams of texts [B, N, T]: one begins at each place, if there is room.

    A dot product of two bags of n-grams is a sum over the pairs of places that hold the same one,
    so the bags themselves are never made.
    """

    def __init__(self, tokens, rarity, length: int = 1, weights=None, there=None):
        self._tokens, self._rarity, self._length = tokens, rarity, length
        pieces = tokens >= _FIRST_PIECE
        self.there = pieces if there is None else there
        first = tf.gather(rarity, tokens) * tf.cast(pieces, tf.float32)
        self._single = first
        self.weights = first if weights is None else weights  # each n-gram's, [B, N, T]

    def longer(self) -> "_Runs":
        """Of one token more."""
        n = self._length
        shifted = _shift(self._single, n)
        there = self.there & _shift(self._tokens >= _FIRST_PIECE, n)
        return _Runs(self._tokens, self._rarity, n + 1, self.weights + shifted, there)

    def products(self, other: "_Runs") -> tf.Tensor:
        """[B, N, N']: dot products of the weighted counts."""
        mine, theirs = self._masked(), other._masked()
        same = self._alike(self._tokens[:, :, None], other._tokens[:, None])  # [B, N, N', T, T']
        return _dot(same, mine[:, :, None], theirs[:, None])

    def sizes(self) -> tf.Tensor:
        """[B, N]: squared lengths of the weighted counts."""
        mine = self._masked()
        return _dot(self._alike(self._tokens, self._tokens), mine, mine)

    def _alike(self, mine: tf.Tensor, theirs: tf.Tensor) -> tf.Tensor:
        """bool [..., T, T']: whether the same n-gram begins at a place of each."""
        same = tf.constant(True)
        for at in range(self._length):
            same &= _shift(mine, at)[..., :, None] == _shift(theirs, at)[..., None, :]
        return same

    def _masked(self) -> tf.Tensor:
        return self.weights * tf.cast(self.there, tf.float32)


def _dot(same: tf.Tensor, mine: tf.Tensor, theirs: tf.Tensor) -> tf.Tensor:
    """[..., T, T'], [..., T], [..., T'] -> [...]: the products of the places that are the same."""
    weighed = tf.cast(same, tf.float32) * mine[..., :, None] * theirs[..., None, :]
    return tf.reduce_sum(weighed, axis=[-2, -1])


def _shift(values: tf.Tensor, by: int) -> tf.Tensor:
    """[..., T], each place with what stands `by` places on; zeros at the end."""
    spare = [[0, 0]] * (len(values.shape) - 1) + [[0, by]]
    return tf.pad(values[..., by:], spare) if by else values
