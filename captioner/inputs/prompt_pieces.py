"""Prompts as the text encoder reads them and as captions would spell them.

Legend: B prompts, P the text encoder's pieces, S the captions' pieces, W words.
"""

from collections.abc import Sequence

import tensorflow as tf

from captioner.inputs.prompts import STOP_WORDS
from captioner.inputs.text import PAD, UNK, CaptionTokenizer, normalise
from captioner.inputs.wordpiece import BertTokenizer, clean

# What a copying decoder is given of a prompt, beside the text encoder's inputs.
COPIED = ("prompt_pieces", "prompt_places")

# Characters; neither vocabulary spells a word half as long.
_LONGEST = 256

_STOP_WORD = "|".join(sorted(STOP_WORDS))


class PromptTokenizer(BertTokenizer):
    """A `BertTokenizer` that also spells a prompt's content words in the captions' vocabulary.

    The two vocabularies split words differently (a word may be one piece here and four there), so
    that pieces of the one can't be looked up among those of the other.

    Args:
        captions: CaptionTokenizer. How captions are spelled.
        vocabulary, lower_case, length: see `BertTokenizer`.
    """

    def __init__(
        self,
        captions: CaptionTokenizer,
        vocabulary: Sequence[str],
        lower_case: bool = True,
        length: int = 16,
    ):
        super().__init__(vocabulary, lower_case, length)
        self._captions = captions

    def __call__(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """string [B] -> the entries of `BertTokenizer`, and int32 [B, length] each:

        prompt_pieces: the captions' pieces of the content words, in order, padded with 0; a word
            that can't be spelled is left out, and so is all that the text encoder doesn't read. A
            question has none: its words are not its answer's.
        prompt_places: where in `input_word_ids` the word of each piece begins.
        """
        # Captions split texts at blanks first, and so does the encoder: word by word they agree.
        lines = clean(texts)
        words = tf.strings.split(lines)[:, : self.length]
        # A hostile prompt may be one word that falls into thousands.
        words = words.with_values(tf.strings.substr(words.values, 0, _LONGEST, "UTF8_CHAR"))
        read = self.words(words.values)  # ragged [W, (BERT's words)]
        read = read.with_values(self._pieces.split(read.values)).merge_dims(1, 2)
        lengths = words.with_values(tf.cast(read.row_lengths(), tf.int32))
        places = 1 + tf.cumsum(lengths.to_tensor(0), axis=1, exclusive=True)  # after [CLS]
        places = tf.boolean_mask(places, tf.sequence_mask(words.row_lengths()))  # [W]
        known = ~tf.strings.regex_full_match(normalise(words.values), _STOP_WORD)
        known &= places < self.length - 1
        asks = tf.strings.regex_full_match(lines, r".*\?")
        known &= ~tf.repeat(asks, words.row_lengths())

        pieces = self._captions.tokens(words.values)  # ragged [W, (captions' pieces)]
        places, known = (tf.repeat(one, pieces.row_lengths()) for one in (places, known))
        pieces = words.with_values(pieces).merge_dims(1, 2)
        known &= pieces.values != UNK
        columns = {
            name: tf.ragged.boolean_mask(
                pieces.with_values(column), pieces.with_values(known)
            ).to_tensor(PAD, shape=[None, self.length])
            for name, column in zip(COPIED, (pieces.values, places), strict=True)
        }
        return super().__call__(texts) | columns
