"""WordPiece in core TensorFlow ops, so that an exported graph needs no custom op to read a prompt.

tensorflow-text has faster kernels for the same thing, but a graph that holds them can't be loaded
where that package (or a server that links it) is missing. Prompts are short: what counts is that
the tokens are the same, which the tests check against tensorflow-text.

Legend: N words, L longest piece (characters), M pieces of the longest word, B texts.
"""

import collections
import unicodedata
from collections.abc import Sequence
from functools import cache

import tensorflow as tf

from captioner.errors import CaptionerError

# What a Hub's BERT reads.
BERT_INPUTS = ("input_word_ids", "input_mask", "input_type_ids")

# What it gives, for those who have it already.
READ = ("prompt_sequence", "prompt_pooled")

# BERT's own limit: a longer word is unknown.
_MAX_CHARACTERS = 100

_SPACE = r"[\t\n\r\p{Z}]+"
_CONTROL = r"[\p{Cc}\p{Cf}\x{FFFD}]"
# BERT calls every ASCII symbol punctuation, and beyond ASCII what Unicode calls so.
_PUNCTUATION = r"([\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e]|\p{P})"
_CJK = (
    r"([\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}"
    r"\x{2B740}-\x{2B81F}\x{2B820}-\x{2CEAF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}])"
)


def lookup_table(keys: Sequence[str], values: Sequence, default) -> tf.lookup.StaticHashTable:
    """A constant table; its values have the type of `default`."""
    dtype = tf.string if isinstance(default, str) else tf.int32
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant(keys), tf.constant(values, dtype)),
        default_value=default,
    )


def clean(texts: tf.Tensor) -> tf.Tensor:
    """Makes valid UTF-8 of anything, white space single blanks, and drops control characters."""
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    texts = tf.strings.regex_replace(texts, _SPACE, " ")
    return tf.strings.strip(tf.strings.regex_replace(texts, _CONTROL, ""))


@cache
def _folded() -> dict[str, str]:
    """Every character that BERT's uncased reading (lower case, accents stripped after NFD)
    changes, with what it becomes."""
    changed = {}
    # Beyond the first two planes only the compatibility ideographs decompose.
    for code in (*range(0xD800), *range(0xE000, 0x20000), *range(0x2F800, 0x2FA20)):
        character = chr(code)
        plain = "".join(
            c
            for c in unicodedata.normalize("NFD", character.lower())
            if unicodedata.category(c) != "Mn"
        )
        if plain != character:
            changed[character] = plain
    return changed


class WordPiece(tf.Module):
    """Greedy longest match of words against a vocabulary, continuing pieces marked `##`.

    Args:
        vocabulary: sequence of str. A piece's position is its id.
        unknown: str. The piece that stands for a word that can't be spelled.

    Raises:
        CaptionerError: a piece is there twice, or `unknown` not at all.
    """

    def __init__(self, vocabulary: Sequence[str], unknown: str = "[UNK]"):
        super().__init__()
        self.vocabulary = tuple(vocabulary)
        repeated = [piece for piece, n in collections.Counter(self.vocabulary).items() if n > 1]
        if repeated:
            raise CaptionerError(f"the vocabulary holds a piece twice: {repeated[0]!r}")
        self._unknown = self.position(unknown)
        self._longest = max(len(piece.removeprefix("##")) for piece in self.vocabulary)
        self._ids = lookup_table(self.vocabulary, list(range(len(self.vocabulary))), -1)

    def position(self, piece: str) -> int:
        """A piece's id.

        Raises:
            CaptionerError: it isn't in the vocabulary.
        """
        try:
            return self.vocabulary.index(piece)
        except ValueError:
            raise CaptionerError(f"the vocabulary has no {piece}: is it a BERT's?") from None

    def split(self, words: tf.Tensor) -> tf.RaggedTensor:
        """string [N], clean UTF-8 without blanks -> int32 ragged [N, (M)], piece ids."""
        lengths = tf.strings.length(words, unit="UTF8_CHAR")
        unknown = lengths > _MAX_CHARACTERS
        lengths = tf.where(unknown, 0, lengths)
        count = tf.shape(words)[0]
        spans = tf.range(1, self._longest + 1)

        def step(start, pieces, unknown):
            left = (lengths - start)[:, None]
            fits = spans[None] <= left  # [N, L]
            # substr raises where the span leaves the word, so such places ask for nothing.
            candidates = tf.strings.substr(
                tf.repeat(words[:, None], self._longest, axis=1),
                tf.where(fits, start[:, None], 0),
                tf.where(fits, spans[None], 0),
                unit="UTF8_CHAR",
            )
            mark = tf.where(start > 0, "##", "")[:, None]
            ids = tf.where(fits, self._ids.lookup(mark + candidates), -1)
            span = tf.reduce_max(tf.where(ids >= 0, spans[None], 0), axis=1)  # [N]
            stuck = (span == 0) & (start < lengths)
            chosen = tf.gather(ids, tf.maximum(span - 1, 0), axis=1, batch_dims=1)
            chosen = tf.where(span > 0, chosen, -1)
            start = tf.where(stuck, lengths, start + span)
            return start, tf.concat([pieces, chosen[:, None]], 1), unknown | stuck

        _, pieces, unknown = tf.while_loop(
            lambda start, *_: tf.reduce_any(start < lengths),
            step,
            (tf.zeros([count], tf.int32), tf.zeros([count, 0], tf.int32), unknown),
            shape_invariants=(
                tf.TensorShape([None]),
                tf.TensorShape([None, None]),
                tf.TensorShape([None]),
            ),
        )
        # A word that got stuck is unknown as a whole, whatever its first pieces were.
        whole = tf.concat([tf.fill([count, 1], self._unknown), tf.fill(tf.shape(pieces), -1)], 1)
        pieces = tf.concat([pieces, tf.fill([count, 1], -1)], 1)
        pieces = tf.where(unknown[:, None], whole, pieces)
        return tf.ragged.boolean_mask(pieces, pieces >= 0)


class BertTokenizer(tf.Module):
    """Prompts to the three inputs of a TensorFlow Hub BERT.

    Args:
        vocabulary: sequence of str. The encoder's own `vocab.txt`.
        lower_case: bool. Whether the encoder is uncased.
        length: int. Pieces per prompt, [CLS] and [SEP] included; longer prompts are cut.

    Raises:
        CaptionerError: the vocabulary is no BERT's.
    """

    def __init__(self, vocabulary: Sequence[str], lower_case: bool = True, length: int = 16):
        super().__init__()
        self.lower_case = lower_case
        self.length = length
        self._pieces = WordPiece(vocabulary)
        self._first, self._last, self._pad = (
            self._pieces.position(mark) for mark in ("[CLS]", "[SEP]", "[PAD]")
        )
        if lower_case:
            folded = _folded()
            # A character that isn't in the table folds to itself: the marker is no character.
            self._folded = lookup_table(list(folded), list(folded.values()), "\0")

    def words(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """string [B] -> string ragged [B, (words)]: BERT's split before WordPiece."""
        texts = clean(texts)
        if self.lower_case:
            characters = tf.strings.unicode_split(texts, "UTF-8")
            folded = self._folded.lookup(characters.values)
            folded = tf.where(folded == "\0", characters.values, folded)
            texts = tf.strings.reduce_join(characters.with_values(folded), axis=-1)
        texts = tf.strings.regex_replace(texts, _PUNCTUATION, r" \1 ")
        texts = tf.strings.regex_replace(texts, _CJK, r" \1 ")
        return tf.strings.split(texts)

    def __call__(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """string [B] -> {input_word_ids, input_mask, input_type_ids}, int32 [B, length]."""
        # No more words than pieces can be read: bounds the work that a hostile prompt makes.
        words = self.words(texts)[:, : self.length]
        pieces = self._pieces.split(words.values)
        pieces = words.with_values(pieces).merge_dims(1, 2)[:, : self.length - 2]
        rows = pieces.nrows(out_type=tf.int64)
        ids = tf.concat(
            [tf.fill([rows, 1], self._first), pieces, tf.fill([rows, 1], self._last)], axis=1
        ).to_tensor(self._pad, shape=[None, self.length])
        mask = tf.cast(tf.sequence_mask(pieces.row_lengths() + 2, self.length), tf.int32)
        return {
            "input_word_ids": ids,
            "input_mask": mask,
            "input_type_ids": tf.zeros_like(ids),
        }
