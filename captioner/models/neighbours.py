"""Captions that are known, and which of them are nearest to what an image would be said to show.

Photographs are described in the same words over and over. The captions whose embeddings are nearest
to an image's (`SentenceHead`) say which words to expect; Devlin et al. (2015, "Exploring nearest
neighbor approaches for image captioning") describe images with nothing else.

A bank of tens of thousands is read twice: a third of each embedding picks out a few hundred, the
rest of it orders them; reading all of it, 60 MB, would cost a single image a tenth of its time. The
third is that of the directions in which what is looked for differs most (`leading_first`), not
the captions: those of a whitened bank are longest where the least is asked for. (Of 256
photographs and augmented views, the 20 nearest of 38,000 captions, whitened by 0.75, were among the
first 76 by it for 99 in 100, and among the first 158 for all.)

Legend: M known captions, B batch, K nearest captions, T tokens, S embedding width, V vocabulary,
s leading directions, P captions picked out.
"""

import zipfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from captioner.errors import CaptionerError
from captioner.inputs.files import batches
from captioner.inputs.text import SPECIAL

# Where a run folder keeps its bank.
FILE = "neighbours.npz"

# Tokens below it are marks, which say nothing of an image.
_FIRST_PIECE = len(SPECIAL)

# What keeps a word that no near caption has from being ruled out, and a rare one from being
# expected after one mention.
_FLOOR = 0.03

_LEADING = 128  # s
_PICKED = 256  # P

# What `leading_first` tries its directions with, how many at once, and how many may fail.
_TRIED = 256
_MISSED = 0.01
_BATCH = 32


class Neighbours(tf.Module):
    """A bank of captions, to be searched by embedding.

    Args:
        vectors: float32 [M, S]. Embeddings, of length 1, or whitened ones, of about that.
        tokens: int32 [M, T]. Their pieces, padded with 0.
        vocabulary: int. V.
        nearest: int. K.
        turn: float32 [S, S], from `leading_first`, or None to read all of the bank at once.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        tokens: np.ndarray,
        vocabulary: int,
        nearest: int,
        turn: np.ndarray | None = None,
    ):
        super().__init__(name="neighbours")
        self.nearest = min(nearest, len(vectors))
        # Half precision orders neighbours as well, in half the space.
        self._stored = vectors.astype(np.float16)
        vectors = self._stored.astype(np.float32)
        self._picked = min(_picked(self.nearest), len(vectors))
        self._turn = None
        if turn is not None:
            # Rounded again, an export that is stored in float16 has the same.
            vectors = (vectors @ turn).astype(np.float16).astype(np.float32)
            self._turn = tf.Variable(turn, trainable=False, name="turn")
            rest = vectors[:, _LEADING:]
            self._rest = tf.Variable(rest, trainable=False, name="rest")
            vectors = vectors[:, :_LEADING]
        # Lying down: TensorFlow's product of a few rows with what must be turned takes twice as
        # long.
        vectors = np.ascontiguousarray(vectors.T)
        self._vectors = tf.Variable(vectors, trainable=False, name="vectors")
        self._tokens = tf.Variable(tokens, trainable=False, name="tokens")
        shares = _shares(tokens, vocabulary)
        self._usual = tf.Variable(shares, trainable=False, name="usual")
        count = len(tokens)
        rarity = np.log((count + 1) / (shares * count + 1)).astype(np.float32)
        rarity[:_FIRST_PIECE] = 0
        self._rarity = tf.Variable(rarity, trainable=False, name="rarity")

    def __call__(self, sentences, whole: bool = False) -> dict[str, tf.Tensor]:
        """float32 [B, S] -> what a search goes by (`decoding.consensus`). What is unlike that which
        the bank was made for, a prompt's embedding, is to be looked for in the `whole` bank.

        tokens: int32 [B, K, T]. The nearest captions.
        evidence: float32 [B, V]. Log of how much likelier than usual they make each piece.
        rarity: float32 [V]. Log of one in how many captions has a piece.
        """
        tokens = tf.gather(self._tokens, self._nearest(sentences, whole))
        batch, nearest, length = tf.unstack(tf.shape(tokens))
        vocabulary = self._usual.shape[0]
        places = tf.stack([tf.repeat(tf.range(batch * nearest), length), tf.reshape(tokens, [-1])])
        counts = tf.scatter_nd(
            tf.transpose(places),
            tf.ones([batch * nearest * length]),
            [batch * nearest, vocabulary],
        )
        said = tf.reshape(tf.minimum(counts, 1.0), [batch, nearest, vocabulary])
        evidence = tf.math.log(tf.reduce_mean(said, 1) + _FLOOR) - tf.math.log(self._usual + _FLOOR)
        evidence *= tf.cast(tf.range(vocabulary) >= _FIRST_PIECE, tf.float32)
        return {"tokens": tokens, "evidence": evidence, "rarity": self._rarity.value()}

    def _nearest(self, sentences, whole: bool) -> tf.Tensor:
        """float32 [B, S] -> int32 [B, K]: the nearest captions, the nearest first."""
        if self._turn is None:
            likeness = tf.matmul(sentences, self._vectors)
            return tf.math.top_k(likeness, self.nearest).indices
        sentences = tf.matmul(sentences, self._turn)
        leading, rest = sentences[:, :_LEADING], sentences[:, _LEADING:]
        likeness = tf.matmul(leading, self._vectors)
        if whole:
            likeness += tf.matmul(rest, self._rest, transpose_b=True)
            return tf.math.top_k(likeness, self.nearest).indices
        likeness, picked = tf.math.top_k(likeness, self._picked)  # [B, P]
        likeness += tf.reduce_sum(tf.gather(self._rest, picked) * rest[:, None], -1)
        order = tf.math.top_k(likeness, self.nearest).indices
        return tf.gather(picked, order, batch_dims=1)

    def save(self, path: Path) -> None:
        """Writes the bank; `load` reads it."""
        with path.open("wb") as file:
            turn = {} if self._turn is None else {"turn": self._turn.numpy()}
            np.savez(file, vectors=self._stored, tokens=self._tokens.numpy(), **turn)

    @classmethod
    def load(cls, path: Path, vocabulary: int, nearest: int) -> "Neighbours":
        """Reads what `save` wrote.

        Raises:
            CaptionerError: missing, damaged, or of another vocabulary.
        """
        try:
            with np.load(path, allow_pickle=False) as bank:
                vectors, tokens = bank["vectors"].astype(np.float32), bank["tokens"]
                turn = bank["turn"] if "turn" in bank else None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise CaptionerError(f"{path} is damaged or missing ({error})") from None
        if tokens.ndim != 2 or len(tokens) != len(vectors) or tokens.max(initial=0) >= vocabulary:
            raise CaptionerError(f"{path} doesn't belong to this run's vocabulary")
        if turn is not None and turn.shape != 2 * vectors.shape[1:]:
            raise CaptionerError(f"{path} is damaged (its turn has the shape {turn.shape})")
        return cls(vectors, tokens, vocabulary, nearest, turn)


def leading_first(vectors: np.ndarray, asked: np.ndarray, nearest: int) -> np.ndarray | None:
    """What turns embeddings so that those asked for have most of their length in the first places.

    Args:
        vectors: float32 [M, S]. The bank's.
        asked: float32 [Q, S]. What is looked for, or the like of it, by the hundreds.
        nearest: int. K.

    Returns:
        float32 [S, S], orthogonal, by which likenesses stay as they are; None for a bank so small
        that all is read at once, and where for more than one in a hundred of those asked the K
        nearest aren't all among the first P / 2 by the leading directions.
    """
    picked = _picked(nearest)
    if len(vectors) <= 4 * picked or vectors.shape[1] <= 2 * _LEADING:
        return None
    moment = asked.astype(np.float64)
    _, directions = np.linalg.eigh(moment.T @ moment)
    turn = np.ascontiguousarray(directions[:, ::-1], np.float32)
    turned = vectors @ turn
    asked = asked[:: -(-len(asked) // _TRIED)] @ turn
    missed = 0
    for part in batches(len(asked), _BATCH):
        whole = asked[part] @ turned.T
        leading = asked[part, :_LEADING] @ turned[:, :_LEADING].T
        true = np.argpartition(-whole, nearest, axis=1)[:, :nearest]
        last = np.take_along_axis(leading, true, axis=1).min(1, keepdims=True)
        missed += int(((leading > last).sum(1) >= picked // 2).sum())
    return turn if missed <= _MISSED * len(asked) else None


def _picked(nearest: int) -> int:
    return max(_PICKED, 4 * nearest)


def _shares(tokens: np.ndarray, vocabulary: int) -> np.ndarray:
    """float32 [V]: the share of captions that have each piece."""
    counts = np.zeros(vocabulary, np.int64)
    for row in tokens:
        counts[np.unique(row)] += 1
    return (counts / max(1, len(tokens))).astype(np.float32)
