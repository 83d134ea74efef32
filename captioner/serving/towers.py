"""The graph that is served of two towers: image files and texts to points of one space.

Legend: B batch, E width of the common space.
"""

import tensorflow as tf

from captioner.inputs.images import decode_images
from captioner.models.folded import FoldedResNet50
from captioner.models.towers import Built, trimmed
from captioner.serving.contract import EMBEDDING_SIGNATURES
from captioner.serving.folding import folded
from captioner.serving.served import Served
from captioner.serving.signatures import filled

_INPUTS = (
    tf.TensorSpec([None], tf.string, name="image_bytes"),
    tf.TensorSpec([None], tf.string, name="text"),
)


class ServedTowers(Served):
    """The signatures over built towers.

    Args:
        built: the towers and their tokenizer.
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
        self.functions = {
            name: tf.function(getattr(self, name), input_signature=[spec], autograph=False)
            for name, spec in zip(EMBEDDING_SIGNATURES, _INPUTS, strict=True)
        }

    def embed_image(self, image_bytes):
        """Images [B] to unit vectors [B, E]; zeros and a reason where one can't be read."""
        asked = tf.size(image_bytes)
        pixels, errors = decode_images(filled(image_bytes), self.side)
        found = self.built.model.embed_images(self.look(pixels))
        found = tf.where((errors == "")[:, None], found, 0.0)
        return {"embedding": found[:asked], "error": errors[:asked]}

    def embed_text(self, text):
        """Texts [B] to unit vectors [B, E]."""
        asked = tf.size(text)
        inputs = trimmed(self.built.prompt_tokenizer(filled(text)))
        return {"embedding": self.built.model.embed_texts(inputs)[:asked]}
