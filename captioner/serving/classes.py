"""The graph that is served of a classifier: image files to the names of classes.

Legend: B batch, C classes, K classes given of an image.
"""

from collections.abc import Callable

import tensorflow as tf

from captioner.inputs.images import decode_images
from captioner.models.classifier import Built
from captioner.serving.compact import compacted
from captioner.serving.contract import CLASS_SIGNATURES
from captioner.serving.folding import folded
from captioner.serving.signatures import filled

_IMAGES = tf.TensorSpec([None], tf.string, name="image_bytes")


class ServedClassifier(tf.Module):
    """The signatures over a built classifier.

    Args:
        built: the classifier and the names of its classes.
        side: int. Pixels of the square that images are resized to.
        top: int. K, or as many as there are.
        storage: what matrices are stored in when this is saved, one of `compact.STORAGES`.
        precision: what the image encoder's convolutions compute in, one of `folded.PRECISIONS`.
    """

    def __init__(
        self,
        built: Built,
        side: int,
        top: int,
        storage: str = "float32",
        precision: str = "float32",
    ):
        super().__init__()
        # What tf.Module sees is saved; as in `signatures.ServedCaptioner`, that is the variables
        # alone.
        look, variables = folded(built.model, precision)
        self._hidden = _Hidden(built, look, side, min(top, len(built.classes)))
        self._variables = compacted(variables, storage)

    @property
    def functions(self) -> dict[str, Callable]:
        """The functions by signature name; traced when they are first called."""
        return dict.fromkeys(CLASS_SIGNATURES, self._hidden.function)

    def signatures(self) -> dict:
        """The concrete functions by signature name."""
        return {name: one.get_concrete_function() for name, one in self.functions.items()}


class _Hidden:
    """The function itself; no trackable object, so that Keras parts aren't saved by it."""

    def __init__(self, built: Built, look: Callable, side: int, top: int):
        self.built = built
        self.look = look
        self.side = side
        self.top = top
        self.function = tf.function(self.classify, input_signature=[_IMAGES], autograph=False)

    def classify(self, image_bytes):
        """Images [B] to the K most probable classes, the most probable first; empty names and a
        reason where one can't be read."""
        asked = tf.size(image_bytes)
        pixels, errors = decode_images(filled(image_bytes), self.side)
        logits = self.built.model(self.look(pixels))
        probabilities, places = tf.math.top_k(tf.nn.softmax(logits), self.top)
        read = (errors == "")[:, None]
        names = tf.where(read, tf.gather(tf.constant(self.built.classes), places), "")
        return {
            "classes": names[:asked],
            "probabilities": tf.where(read, probabilities, 0.0)[:asked],
            "error": errors[:asked],
        }
