"""The graph that is served of a classifier: image files to the names of classes.

Legend: B batch, C classes, K classes given of an image.
"""

from collections.abc import Callable

import tensorflow as tf

from captioner.inputs.images import decode_images
from captioner.models.classifier import Built
from captioner.serving.contract import CLASS_SIGNATURES
from captioner.serving.folding import folded
from captioner.serving.served import Served
from captioner.serving.signatures import filled

_IMAGES = tf.TensorSpec([None], tf.string, name="image_bytes")


class ServedClassifier(Served):
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
        look, variables = folded(built.model, precision)
        hidden = _Hidden(built, look, side, min(top, len(built.classes)))
        super().__init__(hidden, variables, [], storage)


class _Hidden:
    """The function itself; no trackable object, so that Keras parts aren't saved by it."""

    def __init__(self, built: Built, look: Callable, side: int, top: int):
        self.built = built
        self.look = look
        self.side = side
        self.top = top
        classify = tf.function(self.classify, input_signature=[_IMAGES], autograph=False)
        self.functions = dict.fromkeys(CLASS_SIGNATURES, classify)

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
