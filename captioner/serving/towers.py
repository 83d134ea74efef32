"""The graph that is served of two towers: image files and texts to points of one space.

Legend: B batch, E width of the common space.
"""

from collections.abc import Callable

import tensorflow as tf

from captioner.models.towers import Towers
from captioner.serving.contract import EMBEDDING_SIGNATURES
from captioner.serving.folding import ServedTexts
from captioner.serving.signatures import filled

_INPUTS = (
    tf.TensorSpec([None], tf.string, name="image_bytes"),
    tf.TensorSpec([None], tf.string, name="text"),
)


class Functions:
    """The functions themselves; no trackable object, so that Keras parts aren't saved by it.

    Args:
        model: the towers.
        look: as `folding.looking` gives it.
        read: as `folding.reading` gives it.
    """

    def __init__(self, model: Towers, look: Callable, read: Callable):
        self._model = model
        self._look = look
        self._read = read
        self.functions = {
            name: tf.function(getattr(self, name), input_signature=[spec], autograph=False)
            for name, spec in zip(EMBEDDING_SIGNATURES, _INPUTS, strict=True)
        }

    def embed_image(self, image_bytes):
        """Images [B] to unit vectors [B, E]; zeros and a reason where one can't be read."""
        asked = tf.size(image_bytes)
        features, errors = self._look(filled(image_bytes))
        found = self._model.embed_images(features)
        found = tf.where((errors == "")[:, None], found, 0.0)
        return {"embedding": found[:asked], "error": errors[:asked]}

    def embed_text(self, text):
        """Texts [B] to unit vectors [B, E]."""
        asked = tf.size(text)
        return {"embedding": self._model.embed_texts(self._read(filled(text)))[:asked]}


class ServedTowers(ServedTexts):
    """The signatures over a built `models.towers.Built`."""

    kind = Functions
