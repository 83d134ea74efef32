"""What may come next: the rules that beam search and sampling have in common.

A rule never speaks against a prefix: what the user began with is repeated as it is. What rules
need to know of a caption so far is a nest of [B, K] that follows the captions like their state.

Legend: B batch, K captions at once, T tokens, V vocabulary, S states of an automaton.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from captioner.decoding.phrases import CONTINUES, FIRST, Phrases
from captioner.decoding.results import keep

# Far below any log-probability, yet sums and quotients of it stay finite.
NEVER = -1e9

# Words are compared by a polynomial hash of their letters, modulo a Mersenne prime; products of
# two such numbers fit into int64.
_PRIME = 2**31 - 1
_BASE = 1_000_003

Spoken = dict[str, tf.Tensor]


@dataclass(frozen=True)
class Rules:
    """What captions may be like.

    Attributes:
        max_tokens: int. T; the last token is always the end token.
        end: int. Ends a caption.
        banned: sequence of int. Tokens that are never chosen.
        min_tokens: int. The end token is not chosen before it is the so-manieth.
        no_repeat: int. No caption holds the same run of so many tokens twice; 0 allows it.
        no_stutter: sequence of str or None. The vocabulary's pieces: no caption holds the same
            word twice in a row, nor a word after itself spelled as its beginning ("fire fire
            ##fighter"). None allows it.
        forbidden: `Phrases` or None. What no caption holds. Without lanes to wait in (`strict`),
            no caption holds a word that is spelled with such a phrase as its first pieces, either.
        strict: bool. See there.
    """

    max_tokens: int
    end: int
    banned: Sequence[int] = ()
    min_tokens: int = 1
    no_repeat: int = 0
    no_stutter: Sequence[str] | None = None
    forbidden: Phrases | None = None
    strict: bool = False

    def begin(self, batch, captions: int) -> Spoken:
        """What is known of captions before their first token."""
        spoken = {}
        if self.no_stutter is not None:
            spoken["word"] = spoken["before"] = tf.zeros([batch, captions], tf.int64)
        if self.forbidden is not None:
            spoken["phrase"] = tf.fill([batch, captions], FIRST)
        return spoken

    def follow(self, spoken: Spoken, token: tf.Tensor) -> Spoken:
        """What is known of them after a token each, int32 [B, K]."""
        known = {}
        if self.no_stutter is not None:
            times, plus, continues = (tf.gather(one, token) for one in self._hashes())
            word = spoken["word"]
            known["word"] = tf.where(continues, (word * times + plus) % _PRIME, plus)
            known["before"] = tf.where(continues, spoken["before"], word)
        if self.forbidden is not None:
            known["phrase"] = moved(self.forbidden.after, spoken["phrase"], token)
        return known

    def bars(
        self, t, tokens, prefix, spoken: Spoken, vocabulary, stutter: bool = True
    ) -> tf.Tensor:
        """float32 [B, 1 or K, V]: NEVER for tokens that may not be the next, 0 for the others.

        Args:
            t: int32 scalar. How many tokens there are.
            tokens: int32 [B, K, T]. The captions so far.
            prefix: int32 [B, T] or None. Tokens that captions must begin with, padded with 0.
            spoken: what is known of the captions.
            vocabulary: int or scalar. V.
            stutter: bool. Whether to bar what stutters, too; `stutters` says it of a few tokens
                at a small part of the cost. Defaults to True.
        """
        ids = tf.range(vocabulary)
        last = t == self.max_tokens - 1
        barred = _banned(vocabulary, self.banned)[None]  # [1, V]
        if self.min_tokens > 1:
            early = t < min(self.min_tokens, self.max_tokens) - 1
            barred += tf.where(early & (ids == self.end), NEVER, 0.0)[None]
        barred = tf.where(last, tf.where(ids == self.end, 0.0, NEVER)[None], barred)
        free = self._free(t, prefix)
        if free is not None:
            forced = tf.where(ids[None] == prefix[:, t][:, None], 0.0, NEVER)
            barred = tf.where(free, barred, forced)
            free = free[..., None]
        barred = barred[:, None]  # [B, 1, V]
        if 0 < self.no_repeat < self.max_tokens:  # a shorter caption can't repeat a run
            again = _repeats(tokens, t, self.no_repeat, vocabulary)
            barred += again if free is None else tf.where(free, again, 0.0)
        if self.no_stutter is not None and stutter:
            word, before = spoken["word"][..., None], spoken["before"][..., None]
            again = _again(self._hashes(), word, before)
            barred += tf.where(again if free is None else free & again, NEVER, 0.0)
        if self.forbidden is not None:
            said = tf.gather(self.forbidden.said, spoken["phrase"])
            if prefix is not None:
                # What the prefix ends with has not been said by the search.
                said &= (prefix[:, tf.maximum(t - 1, 0)] == 0)[:, None, None]
            if self.strict:
                automaton = self.forbidden
                said |= tf.gather(automaton.pending[automaton.after], spoken["phrase"])
            barred += tf.where(said if free is None else free & said, NEVER, 0.0)
        return barred

    @property
    def most_stutters(self) -> int:
        """The most tokens that a caption may not go on with as it would stutter: the word that
        it has just said, and what would make of that the word before."""
        return 0 if self.no_stutter is None else 2

    def stutters(self, t, prefix, spoken: Spoken, parent, token) -> tf.Tensor:
        """bool [B, C]: which of the captions `parent` stutter if they go on with `token`, both
        int32 [B, C]; the rest as for `bars`."""
        word, before = keep(spoken["word"], parent), keep(spoken["before"], parent)
        again = _again([tf.gather(one, token) for one in self._hashes()], word, before)
        free = self._free(t, prefix)
        return again if free is None else free & again

    def _free(self, t, prefix) -> tf.Tensor | None:
        """bool [B, 1]: whether the next token is for the search to choose; None: it always is."""
        if prefix is None:
            return None
        return (prefix[:, t][:, None] == 0) | (t == self.max_tokens - 1)

    def _hashes(self):
        """int64 [V], int64 [V], bool [V]: a piece makes of a word's hash h: h * times + plus."""
        times, plus, continues = [], [], []
        for piece in self.no_stutter:
            mark = piece.startswith("[")
            continues.append(piece.startswith(CONTINUES))
            value = 0
            for letter in piece.removeprefix(CONTINUES):
                value = (value * _BASE + ord(letter) + 1) % _PRIME
            times.append(pow(_BASE, len(piece.removeprefix(CONTINUES)), _PRIME))
            plus.append(-1 if mark else value)  # marks are no words
        return np.array(times), np.array(plus), np.array(continues)


def _again(hashes, word: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
    """Whether the last two words are the same after tokens of these `Rules._hashes`."""
    times, plus, continues = hashes
    longer = (word * times + plus) % _PRIME
    return tf.where(continues, longer == before, plus == word)


def moved(after: np.ndarray, state: tf.Tensor, token: tf.Tensor) -> tf.Tensor:
    """The states [B, K] of an automaton `after` [S, V] after a token each."""
    return tf.gather(after.ravel(), state * after.shape[1] + token)


def _banned(vocabulary: tf.Tensor, banned: Sequence[int]) -> tf.Tensor:
    """float32 [V]: 0, or NEVER for banned tokens."""
    if not banned:
        return tf.zeros([vocabulary])
    return tf.reduce_max(tf.one_hot(banned, vocabulary), axis=0) * NEVER


def _repeats(tokens, t, length: int, vocabulary):
    """float32 [B, K, V]: NEVER for tokens that would end a run of `length` tokens that the first
    t of `tokens` [B, K, T] hold already, else 0."""
    batch, beams, size = tf.unstack(tf.shape(tokens))
    windows = tf.range(size - length + 1)[:, None] + tf.range(length)[None]  # [W, length]
    runs = tf.gather(tokens, windows, axis=2)  # [B, K, W, length]
    now = tf.gather(tokens, tf.maximum(t - length + 1, 0) + tf.range(length - 1), axis=2)
    same = tf.reduce_all(runs[..., :-1] == now[:, :, None], axis=-1)
    # Only whole runs that have been said, the current one excluded, which lacks its end.
    same &= windows[:, -1] < t
    row = tf.repeat(tf.range(batch * beams), tf.shape(windows)[0])
    places = tf.stack([row, tf.reshape(runs[..., -1], [-1])], 1)
    counts = tf.scatter_nd(
        places, tf.reshape(tf.cast(same, tf.float32), [-1]), [batch * beams, vocabulary]
    )
    return tf.reshape(tf.where(counts > 0, NEVER, 0.0), [batch, beams, vocabulary])
