"""The graph that is served of image-text matching: an image file and a sentence to a probability.

Legend: B pairs, N different images among them.
"""

from collections.abc import Callable

import tensorflow as tf

from captioner.models.matching import Matching
from captioner.serving.contract import MATCHING_SIGNATURES
from captioner.serving.folding import ServedTexts
from captioner.serving.signatures import filled

_INPUTS = [tf.TensorSpec([None], tf.string, name=name) for name in ("image_bytes", "text")]


class Functions:
    """The functions themselves; no trackable object, so that Keras parts aren't saved by it.

    Args:
        model: what judges.
        look: as `folding.looking` gives it.
        read: as `folding.reading` gives it.
    """

    def __init__(self, model: Matching, look: Callable, read: Callable):
        self._model = model
        self._look = look
        self._read = read
        match = tf.function(self.match, input_signature=_INPUTS, autograph=False)
        self.functions = dict.fromkeys(MATCHING_SIGNATURES, match)

    def match(self, image_bytes, text):
        """Images and texts [B] to the probability [B] that the text describes the image; 0 and a
        reason where the image can't be read. An image that is there several times is looked at
        once."""
        asked = tf.size(image_bytes)
        different, rows = tf.unique(filled(image_bytes))
        features, errors = self._look(different)
        model = self._model
        logits = model.judge(
            model.see(features),
            model.read(self._read(filled(text))),
            rows,
            tf.range(tf.size(rows)),
        )
        errors = tf.gather(errors, rows)
        found = tf.where(errors == "", tf.sigmoid(logits), 0.0)
        return {"probability": found[:asked], "error": errors[:asked]}


class ServedMatching(ServedTexts):
    """The signatures over a built `models.matching.Built`."""

    kind = Functions
