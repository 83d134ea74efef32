"""Image-text matching: does this sentence describe this image?

Legend: N images, B texts, P pairs of one of each, R regions, D image encoder width, T pieces,
S text encoder width, E width of what is joined.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from captioner.config import Settings
from captioner.inputs.wordpiece import BertTokenizer
from captioner.models import build as parts
from captioner.models.dropout import Dropout
from captioner.models.encoders import ImageEncoder, TextEncoder
from captioner.models.fusion import FUSIONS, Fusion, Sides
from captioner.models.sentences import SentenceHead, mean_embedding


class ImageSide(NamedTuple):
    """N images: vectors float32 [N, E], and the fusion's memory of them, or None."""

    vectors: tf.Tensor
    memory: tuple[tf.Tensor, tf.Tensor] | None


class TextSide(NamedTuple):
    """B texts: vectors float32 [B, E], the text encoder's tokens [B, T, S], their mask [B, T]."""

    vectors: tf.Tensor
    pieces: tf.Tensor
    mask: tf.Tensor


class Matching(keras.Model):
    """Two encoders, a projection each, a fusion, dense layers and a head that ends in a number.

    The dense layers of the head are those of an image-text classifier as it is usually drawn; the
    encoders, the fusion and both rows of layers are chosen one by one.

    Args:
        image_encoder: gives [N, R, D].
        text_encoder: gives [B, T, S].
        fusion: makes one vector of two.
        layers: widths of the dense layers on it, maybe none.
        head: widths of the head's dense layers, maybe none.
        sentence_head: what says of an image what sentence would describe it, [N, S]; None to have
            the mean region in its place. With it E must be S.
        dropout: float. Before each dense layer but the first, in training. Defaults to 0.
        feature_dropout: float. Of both vectors, in training. Defaults to 0.
        **kwargs: as every `keras.Model` takes them.
    """

    def __init__(
        self,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder,
        fusion: Fusion,
        layers: Sequence[int],
        head: Sequence[int],
        sentence_head: SentenceHead | None = None,
        dropout: float = 0.0,
        feature_dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.sentence_head = sentence_head
        self.fusion = fusion
        self.width = fusion.width
        self.feature_dropout = Dropout(feature_dropout)
        self.image_projection = keras.layers.Dense(self.width, name="image_projection")
        self.text_projection = keras.layers.Dense(self.width, name="text_projection")
        self.image_projection.build((None, self.image_width))
        self.text_projection.build((None, text_encoder.width))
        names = [f"layer_{number}" for number in range(len(layers))]
        names += [f"head_{number}" for number in range(len(head))]
        self.hidden = [
            keras.layers.Dense(width, activation="relu", name=name)
            for width, name in zip((*layers, *head), names, strict=True)
        ]
        self.drops = [Dropout(dropout) for _ in self.hidden]
        self.output_layer = keras.layers.Dense(1, name="output")
        depth = fusion.joined
        for dense in (*self.hidden, self.output_layer):
            dense.build((None, depth))
            depth = dense.units
        self.built = True

    @property
    def image_width(self) -> int:
        """Width of an image's vector before its projection: S with a sentence head, else D."""
        return self.sentence_head.width if self.sentence_head else self.image_encoder.width

    def see(self, images, sentences=None, training: bool = False) -> ImageSide:
        """uint8 [N, H, W, 3] pixels, or what the image encoder made of them -> the images' side.

        Args:
            images: float [N, R, D], [N, r, d] or pixels.
            sentences: float32 [N, S] in the place of what the sentence head would say, as training
                has it; or None.
            training: whether to drop entries.
        """
        features = tf.cast(self.image_encoder(images), tf.float32)
        if self.sentence_head is None:
            vectors = tf.reduce_mean(features, axis=1)
        else:
            vectors = self.sentence_head(features) if sentences is None else sentences
        vectors = self._scaled(self.image_projection(vectors))
        vectors = self.feature_dropout(vectors, training=training)
        return ImageSide(vectors, self.fusion.prepare(features))

    def read(self, inputs, training: bool = False) -> TextSide:
        """{input_word_ids, input_mask, input_type_ids} int32 [B, T], with what the text encoder has
        made of them or without -> the texts' side."""
        tokens, _ = self.text_encoder(inputs, training=training)
        vectors = self._scaled(
            self.text_projection(mean_embedding(tokens, inputs["input_mask"]))
        )
        vectors = self.feature_dropout(vectors, training=training)
        return TextSide(vectors, tokens, inputs["input_mask"] > 0)

    def _scaled(self, vectors):
        """Of length √E, so that the layers behind meet entries of the size they begin for."""
        return tf.math.l2_normalize(vectors, axis=-1) * float(self.width) ** 0.5

    def judge(self, images: ImageSide, texts: TextSide, image_rows, text_rows, training=False):
        """Pairs of them by position, int32 [P] each -> float32 [P]: the logarithm of the odds that
        the text describes the image."""
        memory = images.memory
        if memory is not None:
            memory = tuple(tf.gather(one, image_rows) for one in memory)
        made = self.fusion(
            Sides(
                tf.gather(images.vectors, image_rows),
                tf.gather(texts.vectors, text_rows),
                memory,
                tf.gather(texts.pieces, text_rows),
                tf.gather(texts.mask, text_rows),
            ),
            training=training,
        )
        for drop, dense in zip(self.drops, self.hidden, strict=True):
            made = dense(made)
            made = drop(made, training=training)
        return self.output_layer(made)[:, 0]

    def call(self, inputs, training=False):
        """{image, maybe sentences, what `read` takes, image_rows, text_rows} -> float32 [P]."""
        images = self.see(inputs["image"], inputs.get("sentences"), training=training)
        texts = self.read(inputs, training=training)
        return self.judge(
            images, texts, inputs["image_rows"], inputs["text_rows"], training=training
        )


@dataclass(frozen=True)
class Built:
    """The model with the tokenizer of its text encoder."""

    model: Matching
    prompt_tokenizer: BertTokenizer
    baseline: dict[str, np.ndarray] = field(default_factory=dict)
    """What a run is compared with, once its data has been looked at: see `learning.matching`."""


def build(settings: Settings, load: bool = True) -> Built:
    """Builds the model that the settings describe.

    Args:
        settings: the run's.
        load: whether to start from pretrained image weights; False where a checkpoint is about to
            be restored.

    Raises:
        CaptionerError: there is no text encoder, or a pretrained part can't be had.
    """
    images, texts = parts.encoders(settings, load)
    return Built(over(settings, images, texts), parts.text_tokenizer(settings, texts))


def over(
    settings: Settings,
    images: ImageEncoder,
    texts: TextEncoder,
    sentence_head: SentenceHead | None = None,
) -> Matching:
    """The model on encoders that are there, and on a sentence head if there is one."""
    own = settings.matching
    head, width = None, own.width
    if own.start == "sentences":
        head = sentence_head or SentenceHead(texts.width, images.width, name="sentence_head")
        width = texts.width
    sizes = (width, images.width, texts.width, settings.model.units, settings.model.heads)
    return Matching(
        images,
        texts,
        FUSIONS[own.fusion](*sizes, name="fusion"),
        own.layers,
        own.head,
        head,
        settings.model.dropout,
        settings.model.feature_dropout,
        name="matching",
    )


def begin_with(model: Matching, kernel: np.ndarray, bias: np.ndarray, center: np.ndarray) -> None:
    """Gives the vectors their start: the image's as the sentence head says, the text's as its own
    embedding, both as seen from the middle of the captions.

    Args:
        model: with a sentence head.
        kernel: float32 [D, S]. bias: float32 [S].
        center: float32 [S]. The captions' mean embedding.
    """
    model.sentence_head.kernel.assign(kernel)
    model.sentence_head.bias.assign(bias)
    identity = np.eye(model.width, dtype=np.float32)
    for projection in (model.image_projection, model.text_projection):
        projection.kernel.assign(identity)
    model.text_projection.bias.assign(-np.asarray(center))
