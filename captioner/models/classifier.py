"""An image's class: the mean of an encoder's regions, and a softmax over classes.

Legend: N images, R regions, D image encoder width, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from captioner.config import Settings
from captioner.models import build as parts
from captioner.models.dropout import Dropout
from captioner.models.encoders import ImageEncoder


class Classifier(keras.Model):
    """An image encoder, the mean of its regions, dropout, and a linear layer.

    Args:
        image_encoder: gives [N, R, D].
        classes: int. C.
        dropout: float. Of the mean, in training. Defaults to 0.
        **kwargs: as every `keras.Model` takes them.
    """

    def __init__(
        self, image_encoder: ImageEncoder, classes: int, dropout: float = 0.0, **kwargs
    ):
        super().__init__(**kwargs)
        self.image_encoder = image_encoder
        self.dropout = Dropout(dropout)
        self.output_layer = keras.layers.Dense(classes, name="output")
        self.output_layer.build((None, image_encoder.width))
        self.built = True

    def call(self, images, training=False):
        """uint8 [N, H, W, 3] pixels, or what the image encoder made of them, float [N, R, D] or
        [N, r, d] -> logits float32 [N, C]."""
        features = tf.cast(self.image_encoder(images), tf.float32)
        mean = tf.reduce_mean(features, axis=1)
        return self.output_layer(self.dropout(mean, training=training))


@dataclass(frozen=True)
class Built:
    """A classifier with the names of its classes."""

    model: Classifier
    classes: tuple[str, ...]
    teacher: Any = None
    """`learning.distillation.Teacher`: the trained run that it learns from, while it does."""


def build(settings: Settings, classes: Sequence[str], load: bool = True) -> Built:
    """Builds the classifier that the settings describe.

    Args:
        settings: the run's.
        classes: their names.
        load: whether to start from pretrained image weights; False where a checkpoint is about to
            be restored.

    Raises:
        CaptionerError: the image encoder's weights can't be had.
    """
    if load:  # nothing random is left where a checkpoint is restored
        keras.utils.set_random_seed(settings.train.seed)
    keras.config.set_dtype_policy("float32")
    encoder = parts.image_encoder(settings, load)
    dropout = settings.model.feature_dropout
    return Built(Classifier(encoder, len(classes), dropout, name="classifier"), tuple(classes))
