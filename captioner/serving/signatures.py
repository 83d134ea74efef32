"""The graph that is served: from image files and prompts to captions.

The same object runs in Python (for a run folder) and is what `export` saves, so that both give the
same captions.

Legend: B batch, K beams, T tokens, R regions, H, W rows and columns of the image grid.
"""

from collections.abc import Callable

import tensorflow as tf

from captioner.config import Decode
from captioner.decoding.captions import check, search
from captioner.inputs.text import PAD, UNK
from captioner.models.build import Built
from captioner.serving.contract import NOTHING, SIGNATURES
from captioner.serving.folding import folded, looking
from captioner.serving.served import Served

_IMAGES = tf.TensorSpec([None], tf.string, name="image_bytes")
_PROMPTS = tf.TensorSpec([None], tf.string, name="prompt")

# What marks a prompt as the beginning of the caption.
_ELLIPSIS = "…"
_BEGINNING = r"\s*(…|\.\.\.)$"
_BLANK = r"[\p{Z}\p{Cc}]+"


class Functions:
    """The functions themselves, of a captioner that searches; no trackable object, so that Keras
    parts aren't saved by it.

    Args:
        built: the model and its tokenizers.
        look: as `folding.looking` gives it.
        decode: how captions are searched.
    """

    def __init__(self, built: Built, look: Callable, decode: Decode):
        self.check(built, decode)
        self.built = built
        self.decode = decode
        self._seen = look
        inputs = ([_IMAGES], [_IMAGES, _PROMPTS], [_IMAGES, _PROMPTS])
        self.functions = {
            name: tf.function(getattr(self, name), input_signature=signature, autograph=False)
            for name, signature in zip(SIGNATURES, inputs, strict=True)
        }
        # What they have in common is a function of its own: saved once, it is read once by
        # whoever loads it. It is inlined before it runs.
        self._look = tf.function(self.look, autograph=False)
        self._heard = tf.function(_heard, autograph=False)
        self._split = tf.function(self._beginnings, autograph=False)
        self._understood = tf.function(self._inputs, autograph=False)
        self._continued = tf.function(self._continuation, autograph=False)

    def check(self, built: Built, decode: Decode) -> None:
        """Raises `CaptionerError` where the settings can't be met."""
        check(decode, built.tokenizer)

    def serving_default(self, image_bytes):
        """Images [B] to their best captions."""
        return self._best(image_bytes, None)

    def caption_with_prompt(self, image_bytes, prompt):
        """Images and prompts [B] to their best captions."""
        return self._best(image_bytes, prompt)

    def caption_beams(self, image_bytes, prompt):
        """Images and prompts [B] to the K best captions, with the tokens' attention.

        A place [b, k, t] has a map exactly where it has a piece of the caption. The end token
        has neither, like the padding behind it; its probability is part of `log_probs`. Where the
        search finds fewer than K captions, the rest are empty, at a log-probability of -1e9.
        """
        found, captions, errors = self._search(image_bytes, prompt, attention=True)
        encoder = self.built.model.image_encoder
        beams, tokens = self.decode.beams, self.decode.max_tokens
        read = (errors == "")[:, None]
        pieces = self.built.tokenizer.pieces(found.tokens)
        # Only a beginning can hold a word that the vocabulary can't spell.
        pieces = tf.where(found.tokens == UNK, "[UNK]", pieces)
        pieces = tf.where(read[..., None], pieces, "")
        maps = tf.where((pieces != "")[..., None], found.trace, 0.0)
        return {
            "captions": captions,
            "log_probs": tf.where(read, found.log_probs, 0.0),
            "tokens": pieces,
            "attention": tf.reshape(maps, [-1, beams, tokens, encoder.rows, encoder.columns]),
            "error": errors,
        }

    def _best(self, image_bytes, prompt):
        found, captions, errors = self._search(image_bytes, prompt)
        return {
            "caption": captions[:, 0],
            "log_prob": tf.where(errors == "", found.log_probs[:, 0], 0.0),
            "error": errors,
        }

    def _read(self, image_bytes, prompt):
        """Requests as they are worked on, one for none: image_bytes [B], prompt [B] or None, and
        what `look` gives of them."""
        if prompt is not None:
            same = tf.debugging.assert_equal(
                tf.size(prompt), tf.size(image_bytes), "there must be a prompt for each image"
            )
            with tf.control_dependencies([same]):
                prompt = self._heard(filled(prompt))
        image_bytes = filled(image_bytes)
        return image_bytes, prompt, *self._look(image_bytes)

    def look(self, image_bytes):
        """Files [B] -> features [N, R, D], errors [B] and which of the features each file has,
        int32 [B] or None for N = B in order."""
        return *self._seen(image_bytes), None

    def _search(self, image_bytes, prompt, attention=False):
        """What was found, with captions [B, K] and errors [B]."""
        asked = tf.size(image_bytes)
        image_bytes, prompt, features, errors, rows = self._read(image_bytes, prompt)
        model, tokenizer = self.built.model, self.built.tokenizer
        # What is drawn depends on the request; no prompt draws what an empty one does.
        text = tf.fill(tf.shape(image_bytes), "") if prompt is None else prompt
        options = {"attention": attention, "tokenizer": tokenizer, "requests": [image_bytes, text]}
        if prompt is None:
            found = search(model, self.encode(features, rows), self.decode, **options)
            captions = tokenizer.decode(found.tokens)
        else:
            prompt, beginning, prefix = self._split(prompt)
            memory = self.encode(features, rows, prompt)
            found = search(model, memory, self.decode, prefix, **options)
            captions = self._continued(beginning, prefix, found.tokens)
        there = (errors == "")[:, None] & (found.log_probs > NOTHING / 2)
        found = found._replace(log_probs=tf.where(there, found.log_probs, NOTHING))
        return tf.nest.map_structure(
            lambda one: None if one is None else one[:asked],
            (found, tf.where(there, captions, ""), errors),
        )

    def encode(self, features, rows, prompt=None):
        """The decoder's memory; a model without a text encoder reads beginnings only."""
        if prompt is None or self.built.prompt_tokenizer is None:
            return self.built.model.encode(features, image_rows=rows)
        given = tf.where(prompt != "", tf.range(tf.shape(prompt)[0]), -1)
        return self.built.model.encode(
            features, self._understood(prompt), image_rows=rows, prompt_rows=given
        )

    def _inputs(self, prompt):
        """Prompts [B] as the text encoder takes them."""
        return self.built.prompt_tokenizer(prompt)

    def _beginnings(self, prompts):
        """Prompts [B] as the text encoder knows them from training; the beginnings among them
        without the ellipsis, '' for other prompts; and their tokens int32 [B, T]."""
        begun = tf.strings.regex_full_match(prompts, ".*" + _BEGINNING)
        text = tf.strings.regex_replace(prompts, _BEGINNING, "", replace_global=False)
        beginning = tf.where(begun, text, "")
        # An ellipsis alone begins nothing.
        known = tf.where(beginning == "", "", tf.strings.join([beginning, _ELLIPSIS]))
        room = self.decode.max_tokens - 1  # the end token needs the last place
        prefix = self.built.tokenizer.tokens(beginning)[:, :room].to_tensor(PAD)
        return tf.where(begun, known, prompts), beginning, prefix

    def _continuation(self, beginning, prefix, tokens):
        """Captions [B, K]: the beginning word for word as it was given, then what was found.

        The tokens repeat the beginning as the decoder reads it (lower case, unknown words as such),
        so that part of them is left out of the text.
        """
        length = tf.reduce_sum(tf.cast(prefix != PAD, tf.int32), axis=-1)  # [B]
        mine = tf.range(tf.shape(tokens)[-1])[None] >= length[:, None]  # [B, T]
        rest = self.built.tokenizer.decode(tf.where(mine[:, None], tokens, PAD))
        return tf.strings.strip(beginning[:, None] + " " + rest)


class ServedCaptioner(Served):
    """The signatures of the contract over a built captioner.

    Args:
        built: the model and its tokenizers.
        decode: beams, tokens, penalties, words; constants of the graph.
        side: int. Pixels of the square that images are resized to.
        storage: what matrices are stored in when this is saved, one of `compact.STORAGES`.
        precision: what the image encoder's convolutions compute in, one of `folded.PRECISIONS`.
        kind: the class of its functions.

    Raises:
        CaptionerError: words that can't be required, or forbidden.
    """

    def __init__(
        self,
        built: Built,
        decode: Decode,
        side: int,
        storage: str = "float32",
        precision: str = "float32",
        kind: type[Functions] = Functions,
    ):
        look, variables = folded(built.model, precision)
        if built.model.neighbours is not None:
            variables += built.model.neighbours.variables
        hidden = kind(built, looking(look, side), decode)
        super().__init__(hidden, variables, [built.tokenizer, built.prompt_tokenizer], storage)


def filled(rows):
    """A batch [B], one blank row for an empty one: convolutions of nothing fail in some graphs."""
    return tf.concat([rows, tf.fill([tf.maximum(1 - tf.size(rows), 0)], "")], 0)


def _heard(texts):
    """Makes valid UTF-8 of anything, on one line: a caption may repeat it."""
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    return tf.strings.strip(tf.strings.regex_replace(texts, _BLANK, " "))
