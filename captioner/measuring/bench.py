"""What the measurements share: photographs, the model, and the bare ResNet50 beside it.

Legend: B batch, S side of the square in pixels, R regions, D encoder width.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from captioner.measuring import photos
from captioner.measuring.comparison import Contender, timed
from captioner.measuring.subjects import Subject, Tell, subject

BARE = "bare ResNet50"


class Bench:
    """A place to measure in.

    Args:
        model: a run folder or an export; None for a model of our own.
        images: a folder of photographs to measure with; None for those of our own.
        folder: for temporary files.
        tell: told of what takes long.
    """

    def __init__(self, model: Path | None, images: Path | None, folder: Path, tell: Tell):
        self._model, self.folder, self.tell = model, folder, tell
        self._given = None if images is None else photos.of_folder(images)

    @functools.cached_property
    def subject(self) -> Subject:
        """The model."""
        return subject(self._model, self.folder, self.tell)

    @property
    def side(self) -> int:
        """S, of the model and of the bare ResNet50."""
        return self.subject.side

    @functools.cached_property
    def _web(self) -> list[bytes]:
        return self._given or photos.made(photos.WEB, 8)

    @functools.cached_property
    def _phone(self) -> list[bytes]:
        return photos.made(photos.PHONE, 2)

    @property
    def about_photos(self) -> str:
        """What the photographs are."""
        if self._given:
            several = "s" if len(self._given) > 1 else ""
            return f"{len(self._given)} photograph{several} of --images"
        return "made photographs, {}x{} pixels, 6 bits a pixel".format(*photos.WEB)

    def photos(self, count: int) -> list[bytes]:
        """So many photographs, the user's or of the size that web sites and data sets have."""
        return photos.cycled(self._web, count)

    def phone_photos(self, count: int) -> list[bytes]:
        """So many as phones take them; none where the user gave photographs."""
        return [] if self._given else photos.cycled(self._phone, count)

    @functools.cached_property
    def files(self) -> list[Path]:
        """The photographs as files."""
        return photos.written(self.folder / "photos", self._web)

    @functools.cached_property
    def bare(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """ResNet50 (`keras.applications`) without its top, float32 [B, S, S, 3] -> grid."""
        return resnet(self.side)

    def bare_contender(self, batch: int, count: int | None = None) -> Contender:
        """The bare network on so many images at once, until `count` are done; their pixels are in
        memory already."""
        count = count or batch
        shape = (batch, self.side, self.side, 3)
        pixels = tf.constant(np.random.default_rng(0).uniform(-120, 130, shape), tf.float32)

        def call():
            for _ in range(count // batch):
                self.bare(pixels).numpy()

        return Contender(f"{BARE}, float32", timed(call), count)


def resnet(side: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """A traced ResNet50 with random weights, which cost what trained ones do."""
    net = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(side, side, 3)
    )
    return tf.function(
        lambda pixels: net(pixels, training=False),
        input_signature=[tf.TensorSpec([None, side, side, 3], tf.float32)],
        autograph=False,
    )
