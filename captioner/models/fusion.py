"""Fusions: an image's vector and a text's as one.

A fusion is a layer that is called with both, and with what it may look at beside them. `FUSIONS`
has them by the names that `matching.fusion` takes; to add one, write it here and name it there.

Legend: P pairs of an image and a text, R regions, D image encoder width, T text pieces, S text
encoder width, E width of both vectors, F of what is made of them, U units of attention.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from captioner.models.attention import CrossModalAttention


class Sides(NamedTuple):
    """What is known of P images and the P texts beside them.

    Attributes:
        image: float32 [P, E].
        text: float32 [P, E].
        memory: what the fusion's `prepare` made of the regions, spread to pairs; or None.
        pieces: float32 [P, T, S]. The text encoder's tokens.
        mask: bool [P, T]. Which of them are there.
    """

    image: tf.Tensor
    text: tf.Tensor
    memory: tuple[tf.Tensor, tf.Tensor] | None
    pieces: tf.Tensor
    mask: tf.Tensor


class Fusion(keras.layers.Layer):
    """What all fusions have.

    Args:
        width: int. E.
        regions: int. D.
        pieces: int. S.
        units: int. U. Ignored by those that don't attend.
        heads: int. Of attention, likewise.
        **kwargs: as every `keras.layers.Layer` takes them.
    """

    looks = False
    """Whether it asks the regions; the others go by their mean."""

    def __init__(
        self, width: int, regions: int, pieces: int, units: int = 128, heads: int = 1, **kwargs
    ):
        super().__init__(**kwargs)
        self.width = width
        self.regions = regions
        self.pieces = pieces
        self.units = units
        self.heads = heads
        self.make()
        self.built = True

    def make(self) -> None:
        """Makes the variables, where there are any."""

    @property
    def joined(self) -> int:
        """F."""
        return self.width

    def prepare(self, regions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor] | None:
        """float32 [N, R, D] -> what pairs look at, once for each image; None for nothing."""
        return None

    def call(self, sides: Sides, training=False) -> tf.Tensor:
        """float32 [P, F]."""
        raise NotImplementedError

    def get_config(self):
        names = ("width", "regions", "pieces", "units", "heads")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("captioner")
class Concatenation(Fusion):
    """One beside the other; what they have to do with each other is left to the layers behind."""

    @property
    def joined(self) -> int:
        """F = 2 E."""
        return 2 * self.width

    def call(self, sides, training=False):
        """float32 [P, 2 E]."""
        return tf.concat([sides.image, sides.text], axis=-1)


@keras.saving.register_keras_serializable("captioner")
class Product(Fusion):
    """Entry by entry. The sum of these entries would be the inner product of both."""

    def call(self, sides, training=False):
        """float32 [P, E]."""
        return sides.image * sides.text


@keras.saving.register_keras_serializable("captioner")
class WeightedSum(Fusion):
    """Each entry from the image with a learned weight between 0 and 1, the rest from the text (the
    gate of Arevalo et al., 2017, "Gated multimodal units", of its bias alone); half and half at
    first."""

    def make(self):
        self.weight = self.add_weight(shape=(self.width,), initializer="zeros", name="weight")

    def call(self, sides, training=False):
        """float32 [P, E]."""
        share = tf.sigmoid(tf.convert_to_tensor(self.weight))
        return share * sides.image + (1 - share) * sides.text


@keras.saving.register_keras_serializable("captioner")
class Attention(Fusion):
    """The text's pieces ask the image's regions; the mean of what they find is added to the image,
    and then it is the product. It adds nothing at first, and so begins as the product does."""

    looks = True

    def make(self):
        self.attention = CrossModalAttention(self.units, self.heads, name="attention")
        self.attention.build((None, None, self.pieces), (None, None, self.regions))
        self.found = keras.layers.Dense(
            self.width, use_bias=False, kernel_initializer="zeros", name="found"
        )
        self.found.build((None, self.units))

    def prepare(self, regions):
        """Keys and values [N, H, R, U / H]."""
        return self.attention.project(regions)

    def call(self, sides, training=False):
        """float32 [P, E]."""
        context, _ = self.attention.attend(sides.pieces, sides.memory, training=training)
        there = tf.cast(sides.mask, context.dtype)[..., None]  # (P, T, 1)
        mean = tf.math.divide_no_nan(
            tf.reduce_sum(context * there, axis=1), tf.reduce_sum(there, axis=1)
        )
        return (sides.image + self.found(mean)) * sides.text


FUSIONS: dict[str, type[Fusion]] = {
    "concatenation": Concatenation,
    "product": Product,
    "sum": WeightedSum,
    "attention": Attention,
}
