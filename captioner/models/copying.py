"""Words of the prompt, on their way into the caption.

A decoder that attends to a prompt must learn for every word by itself that it may be asked for.
Here it learns once that what is asked for belongs into the caption: the prompt's pieces get a score
of their own on top of their logits, as in pointer networks (Gu et al. 2016, "Incorporating Copying
Mechanism in Sequence-to-Sequence Learning"; See et al. 2017, "Get To The Point"). It depends on the
decoder's state, on the word as the prompt has it and the picture shows it, and on whether the
caption has said it.

Legend: B batch, T caption tokens (or beams), Q prompts, P prompt tokens, S pieces of the prompt as
captions spell them, D prompt width, O output width, W word width, d score width, V vocabulary.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

Pieces = dict[str, tf.Tensor]
Progress = dict[str, tf.Tensor]

_WIDTH = 32  # d

# The scalars are learned in units of so many nats, to keep up with the matrices.
_UNIT = 4.0


@keras.saving.register_keras_serializable("captioner")
class Copying(keras.layers.Layer):
    """Scores for the prompt's pieces, to be added to a decoder's logits.

    A piece that begins a word counts until the caption has said it; one that continues a word
    counts where the caption has just said the piece before it, and where a word has been said as
    the prompt has it, all pieces that would make another of it lose. The end of the caption loses
    by every word that has not been said. Without a prompt all of that is exactly zero.

    Args:
        vocabulary: int. V.
        continuing: sequence of int. The tokens that continue a word.
        end: int. The token that ends a caption.
        **kwargs: as every `keras.layers.Layer` takes them.
    """

    def __init__(self, vocabulary: int, continuing: Sequence[int], end: int, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary = vocabulary
        self.continuing = sorted(continuing)
        self._continues = np.isin(np.arange(vocabulary), self.continuing)
        self.end = end
        # Half of each for the words, half for the end.
        self._query = keras.layers.Dense(2 * _WIDTH, name="query")
        self._key = keras.layers.Dense(2 * _WIDTH, name="key")

    def build(self, output_width: int, prompt_width: int, word_width: int):
        """Args: int. O, D, W."""
        self._query.build((None, None, output_width))
        self._key.build((None, None, prompt_width + word_width))
        # Of pieces that begin a word, that continue one, that were said, of the end, and of pieces
        # that continue a word which is whole.
        self._gains = self.add_weight(shape=(5,), name="gains", initializer="zeros")
        self._gains.assign([0.5, 1.0, 0.0, 0.0, -0.5])
        self.built = True

    def prepare(self, pieces, places, prompt, words) -> Pieces:
        """What every step needs of the prompts, computed once.

        Args:
            pieces, places: int32 [Q, S] each, see `PromptTokenizer`.
            prompt: [Q, P, D].
            words: [V, W]. The word table.

        Returns:
            `pieces` int32 [Q, S], 0 where there is nothing to say; `before` int32 [Q, S], the
            piece that each continues, 0 where it begins a word; `last` bool [Q, S], whether it ends
            one; `keys` [Q, S, 2d].
        """
        continues = tf.gather(self._continues, pieces)
        before = tf.where(continues, tf.pad(pieces[:, :-1], [[0, 0], [1, 0]]), 0)
        seen = tf.gather(prompt, places, axis=1, batch_dims=1)  # [Q, S, D]
        spelled = tf.cast(tf.gather(words, pieces), seen.dtype)
        # A word that the prompt has twice is asked for once.
        same = (pieces[:, :, None] == pieces[:, None]) & (before[:, :, None] == before[:, None])
        at = tf.range(tf.shape(pieces)[1])
        again = tf.reduce_any(same & (at[None] < at[:, None]), axis=-1)
        return {
            "pieces": tf.where(again, 0, pieces),
            "before": before,
            "last": ~tf.pad(continues[:, 1:], [[0, 0], [0, 1]]),
            "keys": self._key(tf.concat([seen, spelled], -1)),
        }

    def progress(self, tokens: tf.Tensor, copied: Pieces) -> Progress:
        """For every token of a caption int32 [B, T]: bool [B, T, S], which pieces are said by
        then (`said`), and which may be the next (`ready`); bool [B, T], whether the token ends a
        word of the prompt (`whole`)."""
        ready = _ready(tokens, copied)
        now = _said_now(tokens, tf.pad(ready[:, :-1], [[0, 0], [1, 0], [0, 0]]), copied)
        said = tf.cumsum(tf.cast(now, tf.int32), axis=1) > 0
        return {"said": said, "ready": ready, "whole": _whole(now, copied)}

    def initial(self, copied: Pieces) -> Progress:
        """The progress of captions without tokens, [B, S] and [B]."""
        nothing = tf.zeros_like(copied["pieces"], tf.bool)
        return {"said": nothing, "ready": nothing, "whole": tf.reduce_any(nothing, axis=-1)}

    def step(self, tokens: tf.Tensor, progress: Progress, copied: Pieces) -> Progress:
        """The progress [B, K, S] and [B, K] after one token more for every beam, int32 [B, K]."""
        now = _said_now(tokens, progress["ready"], copied)
        return {
            "said": progress["said"] | now,
            "ready": _ready(tokens, copied),
            "whole": _whole(now, copied),
        }

    def call(self, out, progress: Progress, copied: Pieces):
        """Decoder outputs [B, T, O] and the progress [B, T, S] -> float32 [B, T, V]."""
        there = (copied["pieces"] > 0)[:, None]  # [B, 1, S]
        begins = (copied["before"] == 0)[:, None]
        said, ready = progress["said"], progress["ready"]
        # (B, T, 2, d) x (B, S, 2, d) -> (2, B, T, S)
        queries = tf.stack(tf.split(self._query(out), 2, axis=-1))
        keys = tf.stack(tf.split(copied["keys"], 2, axis=-1))
        fit = tf.cast(tf.matmul(queries, keys, transpose_b=True), tf.float32) * _WIDTH**-0.5
        first, later, again, ending, longer = tf.unstack(tf.cast(self._gains, tf.float32) * _UNIT)
        score = fit[0] + tf.where(begins, first, later)
        score = tf.where(said, again, score)
        score = tf.where(there & ready, score, 0.0)
        missing = tf.where(there & begins & ~said, tf.nn.softplus(fit[1] + ending), 0.0)
        columns = [
            score,
            -tf.reduce_sum(missing, -1, keepdims=True),
            longer * tf.cast(progress["whole"], tf.float32)[..., None],
        ]
        ids = tf.pad(copied["pieces"], [[0, 0], [0, 1]], constant_values=self.end)
        where = tf.one_hot(ids, self.vocabulary)
        others = tf.cast(self._continues, tf.float32)[None, None]
        where = tf.concat([where, tf.repeat(others, tf.shape(ids)[0], axis=0)], 1)
        # (B, T, S + 2) x (B, S + 2, V) -> (B, T, V)
        return tf.matmul(tf.concat(columns, -1), where)

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary": self.vocabulary,
            "continuing": self.continuing,
            "end": self.end,
        }


def _ready(tokens: tf.Tensor, copied: Pieces) -> tf.Tensor:
    """bool [B, T, S]: the pieces that may follow each token [B, T]."""
    before = copied["before"][:, None]
    return (before == 0) | (tokens[..., None] == before)


def _said_now(tokens: tf.Tensor, ready: tf.Tensor, copied: Pieces) -> tf.Tensor:
    """bool [B, T, S]: the piece that each token [B, T] is, of those that were ready for it."""
    return (tokens[..., None] == copied["pieces"][:, None]) & ready


def _whole(now: tf.Tensor, copied: Pieces) -> tf.Tensor:
    return tf.reduce_any(now & copied["last"][:, None], axis=-1)
