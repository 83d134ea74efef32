"""Two towers: images and texts as points of one space, near where they belong together.

Legend: N images, B texts, R regions, D image encoder width, S text encoder width, P pieces,
E width of the common space.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from captioner.config import Settings
from captioner.inputs.wordpiece import BERT_INPUTS, BertTokenizer
from captioner.models import build as parts
from captioner.models.dropout import Dropout
from captioner.models.encoders import ImageEncoder, TextEncoder
from captioner.models.sentences import mean_embedding

# CLIP's bound: similarities are never multiplied by more (Radford et al., 2021, section 2.5).
_MOST = float(np.log(100.0))

# Zhai et al. (2023), section 3.2: nearly all pairs are wrong ones, and this begins by saying so.
_BIAS = -10.0


class Towers(keras.Model):
    """An image encoder and a text encoder with a linear projection each.

    With the image encoder frozen and the text encoder trained this is locked-image tuning (Zhai et
    al., 2022, "LiT").

    Args:
        image_encoder: gives [N, R, D].
        text_encoder: gives [B, P, S].
        width: int. E.
        temperature: float. What similarities are divided by at first. Defaults to 0.07.
        dropout: float. Of image features, in training. Defaults to 0.
        **kwargs: as every `keras.Model` takes them.

    Attributes:
        log_scale: variable []. The logarithm of 1 / temperature.
        bias: variable []. What the sigmoid loss adds to scaled similarities.
    """

    def __init__(
        self,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder,
        width: int,
        temperature: float = 0.07,
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.width = width
        self.feature_dropout = Dropout(dropout)
        self.image_projection = keras.layers.Dense(width, name="image_projection")
        self.text_projection = keras.layers.Dense(width, name="text_projection")
        self.image_projection.build((None, image_encoder.width))
        self.text_projection.build((None, text_encoder.width))
        start = keras.initializers.Constant(-np.log(temperature))
        self.log_scale = self.add_weight(shape=(), initializer=start, name="log_scale")
        start = keras.initializers.Constant(_BIAS)
        self.bias = self.add_weight(shape=(), initializer=start, name="bias")
        self.built = True

    @property
    def scale(self) -> tf.Tensor:
        """float32 []: what cosine similarities are multiplied by."""
        return tf.exp(tf.minimum(tf.convert_to_tensor(self.log_scale), _MOST))

    def embed_images(self, images, training: bool = False) -> tf.Tensor:
        """uint8 [N, H, W, 3] pixels, or what the image encoder made of them, float [N, R, D] or
        [N, r, d] -> float32 [N, E], of length 1."""
        features = tf.cast(self.image_encoder(images), tf.float32)
        mean = tf.reduce_mean(features, axis=1)
        mean = self.feature_dropout(mean, training=training)
        return tf.math.l2_normalize(self.image_projection(mean), axis=-1)

    def embed_texts(self, inputs, training: bool = False) -> tf.Tensor:
        """{input_word_ids, input_mask, input_type_ids} int32 [B, P] -> float32 [B, E], of
        length 1."""
        tokens, _ = self.text_encoder(inputs, training=training)
        mean = mean_embedding(tokens, inputs["input_mask"])
        return tf.math.l2_normalize(self.text_projection(mean), axis=-1)

    def call(self, inputs, training=False):
        """{image, and what `embed_texts` takes} -> (float32 [N, E], float32 [B, E])."""
        images = self.embed_images(inputs["image"], training=training)
        return images, self.embed_texts(inputs, training=training)


def trimmed(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """A text encoder's inputs [B, P] without the padding that all of them have."""
    longest = tf.reduce_max(tf.reduce_sum(inputs["input_mask"], axis=1))
    return {name: inputs[name][:, :longest] for name in BERT_INPUTS}


@dataclass(frozen=True)
class Built:
    """The towers with the tokenizer of the one for texts."""

    model: Towers
    prompt_tokenizer: BertTokenizer


def build(settings: Settings, load: bool = True) -> Built:
    """Builds the towers that the settings describe.

    Args:
        settings: the run's.
        load: whether to start from pretrained image weights; False where a checkpoint is about to
            be restored.

    Raises:
        CaptionerError: there is no text encoder, or a pretrained part can't be had.
    """
    images, texts = parts.encoders(settings, load)
    return Built(over(settings, images, texts), parts.text_tokenizer(settings, texts))


def over(settings: Settings, images: ImageEncoder, texts: TextEncoder) -> Towers:
    """The towers on encoders that are there."""
    own = settings.contrastive
    return Towers(
        images,
        texts,
        texts.width if own.start == "sentences" else own.width,
        own.temperature,
        settings.model.feature_dropout,
        name="towers",
    )


def begin_with(model: Towers, kernel: np.ndarray, bias: np.ndarray, center: Sequence[float]):
    """Gives the projections their start: images are taken to sentence embeddings, and texts are
    their own, both as seen from the middle of the captions.

    Args:
        model: E = S.
        kernel: float32 [D, S]. bias: float32 [S].
        center: float32 [S]. The captions' mean embedding.
    """
    model.image_projection.kernel.assign(kernel)
    model.image_projection.bias.assign(bias)
    model.text_projection.kernel.assign(np.eye(model.width, dtype=np.float32))
    model.text_projection.bias.assign(-np.asarray(center))
