"""The graph that is served of image-text matching: an image file and a sentence to a probability.

Legend: B pairs, N different images among them.
"""

import tensorflow as tf

from captioner.inputs.images import decode_images
from captioner.models.folded import FoldedResNet50
from captioner.models.matching import Built
from captioner.models.towers import trimmed
from captioner.serving.contract import MATCHING_SIGNATURES
from captioner.serving.folding import folded
from captioner.serving.served import Served
from captioner.serving.signatures import filled

_INPUTS = [tf.TensorSpec([None], tf.string, name=name) for name in ("image_bytes", "text")]


class ServedMatching(Served):
    """The signatures over a built model.

    Args:
        built: the model and its tokenizer.
        side: int. Pixels of the square that images are resized to.
        storage: what matrices are stored in when this is saved, one of `compact.STORAGES`.
        precision: what the image encoder's convolutions compute in, one of `folded.PRECISIONS`.
    """

    def __init__(
        self, built: Built, side: int, storage: str = "float32", precision: str = "float32"
    ):
        look, variables = folded(built.model, precision)
        hidden = _Hidden(built, look, side)
        super().__init__(hidden, variables, [built.prompt_tokenizer], storage)


class _Hidden:
    """The functions themselves; no trackable object, so that Keras parts aren't saved by it."""

    def __init__(self, built: Built, look: FoldedResNet50, side: int):
        self.built = built
        self.look = look
        self.side = side
        match = tf.function(self.match, input_signature=_INPUTS, autograph=False)
        self.functions = dict.fromkeys(MATCHING_SIGNATURES, match)

    def match(self, image_bytes, text):
        """Images and texts [B] to the probability [B] that the text describes the image; 0 and a
        reason where the image can't be read. An image that is there several times is looked at
        once."""
        asked = tf.size(image_bytes)
        different, rows = tf.unique(filled(image_bytes))
        pixels, errors = decode_images(different, self.side)
        model = self.built.model
        inputs = trimmed(self.built.prompt_tokenizer(filled(text)))
        logits = model.judge(
            model.see(self.look(pixels)), model.read(inputs), rows, tf.range(tf.size(rows))
        )
        errors = tf.gather(errors, rows)
        found = tf.where(errors == "", tf.sigmoid(logits), 0.0)
        return {"probability": found[:asked], "error": errors[:asked]}
