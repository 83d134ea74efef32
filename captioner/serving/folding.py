"""The encoders as they are served: the image encoder folded, in the place of the model's own, and
what reads files and texts for them.

Legend: B batch, R regions, D image encoder width, P pieces.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from captioner.inputs.images import decode_images
from captioner.inputs.wordpiece import BertTokenizer
from captioner.models.folded import Folded
from captioner.models.towers import trimmed
from captioner.serving.served import Hidden, Served

_STRINGS = [tf.TensorSpec([None], tf.string)]


def folded(model: keras.Model, precision: str) -> tuple[Folded, list[tf.Variable]]:
    """The folded image encoder of a model that has an `image_encoder`, and the variables that are
    served: its own, and the model's but for those of the encoder that it stands for.

    Args:
        model: with weights that are not trained any more.
        precision: what the convolutions compute in, one of `folded.PRECISIONS`.
    """
    look = model.image_encoder.folded(precision=precision)
    own = {id(variable) for variable in model.image_encoder.variables}
    # Keras variables don't survive a model server's restore; the tf.Variables they hold do.
    rest = [one.value for one in model.variables if id(one) not in own]
    return look, [*rest, *look.variables]


def looking(look: Folded, side: int) -> Callable:
    """A function from image files string [B] to what the image encoder sees, float32 [B, R, D], and
    reasons string [B], '' where a file could be read.

    Whatever signatures call it, it is saved once, as a function of its own.

    Args:
        look: the folded image encoder.
        side: pixels of the square that images are resized to.
    """

    def seen(image_bytes):
        pixels, errors = decode_images(image_bytes, side)
        return look(pixels), errors

    return tf.function(seen, input_signature=_STRINGS, autograph=False)


def reading(tokenizer: BertTokenizer) -> Callable:
    """A function from texts string [B] to what a text encoder takes of them, int32 [B, P] each,
    without the padding that all of them have; it is saved once, likewise."""
    return tf.function(
        lambda texts: trimmed(tokenizer(texts)), input_signature=_STRINGS, autograph=False
    )


class ServedTexts(Served):
    """The signatures of a model that reads a text as it is, in an image's place or beside it.

    Args:
        built: the model and its `prompt_tokenizer`.
        side: int. Pixels of the square that images are resized to.
        storage: what matrices are stored in when this is saved, one of `compact.STORAGES`.
        precision: what the image encoder's convolutions compute in, one of `folded.PRECISIONS`.
    """

    kind: Callable[[Any, Callable, Callable], Hidden]
    """Makes the functions of the model, what `looking` gives, and what `reading` gives."""

    def __init__(
        self, built: Any, side: int, storage: str = "float32", precision: str = "float32"
    ):
        look, variables = folded(built.model, precision)
        tokenizer = built.prompt_tokenizer
        hidden = self.kind(built.model, looking(look, side), reading(tokenizer))
        super().__init__(hidden, variables, [tokenizer], storage)
