"""The linear map of images to their captions' embeddings, in closed form, which models begin with.

Legend: N images, V views, M captions, D image encoder width, S text encoder width.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from captioner.config import Settings
from captioner.config.freezing import wholly_frozen
from captioner.errors import CaptionerError
from captioner.inputs.features import FeatureCache
from captioner.inputs.files import batches
from captioner.inputs.records import Record
from captioner.learning import sentences
from captioner.learning.data import Images
from captioner.learning.embeddings import embeddings

_BATCH = 256


class Retrieval(NamedTuple):
    """The closed-form map between the frozen encoders, with what it was fitted to.

    Attributes:
        kept: positions of the N images that can be read.
        features: float32 [N, V, D]. Their mean regions.
        vectors: float32 [M, S]. Their captions' embeddings.
        owner: int [M]. Which of the N each caption belongs to.
        fit: the map.
    """

    kept: np.ndarray
    features: np.ndarray
    vectors: np.ndarray
    owner: np.ndarray
    fit: sentences.Fit

    def placed(self, rows: np.ndarray, count: int) -> np.ndarray:
        """Rows [N, …] of these images at their positions among all: [count, …], zeros for images
        that can't be read."""
        whole = np.zeros((count, *rows.shape[1:]), np.float32)
        whole[self.kept] = rows
        return whole


def fitted(
    settings: Settings,
    built: Any,
    train: Images,
    how: tuple[str, str],
    tell: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Retrieval:
    """Fits the map of images to their captions' embeddings; nothing else is trained.

    Args:
        settings: the run's.
        built: has a `model` with both encoders, and a `prompt_tokenizer`.
        train: the training images.
        how: the setting that asks for it and one that doesn't, for messages.
        tell: told how well it fits.
        progress: told how many captions are embedded, and of how many.

    Raises:
        CaptionerError: the image encoder changes in training, or there are fewer than two images.
    """
    wanted, instead = how
    if not stays(settings):
        raise CaptionerError(
            f"{wanted} needs data.cache_features=true and the whole image encoder frozen "
            f"(train.freeze with image_encoder); or set {instead}"
        )
    kept, features, vectors, owner = frozen(settings, built, train, progress)
    if len(kept) < 2:
        raise CaptionerError(
            f"{wanted} needs two readable training images or more; or set {instead}"
        )
    targets = np.zeros((len(kept), vectors.shape[1]), np.float32)
    np.add.at(targets, owner, vectors)
    targets /= np.bincount(owner)[:, None]
    fit = sentences.fit(features, targets)
    tell(
        f"{wanted}: cosine {fit.cosine:.2f} between what images and their captions mean, each "
        "image left out in turn"
    )
    return Retrieval(kept, features, vectors, owner, fit)


def stays(settings: Settings) -> bool:
    """Whether image features are cached and no part of the image encoder is trained."""
    whole = wholly_frozen(settings.train.freeze, settings.model.image_encoder)
    return settings.data.cache_features and whole


def frozen(
    settings: Settings, built: Any, train: Images, progress: Callable[[int, int], None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The training data as the encoders see it before training.

    Returns:
        (kept, features, vectors, owner): positions of the N images that can be read; float32
        [N, V, D], their mean regions; float32 [M, S], their captions' embeddings; and int [M],
        which of the N each caption belongs to.
    """
    kept = np.array([at for at in range(len(train.records)) if at not in train.unreadable])
    captions, owner = captions_of([train.records[at] for at in kept])
    vectors = embeddings(settings, built, captions, progress)
    cache = train.source.cache
    features = np.stack([means(cache, kept, view) for view in range(cache.views)], axis=1)
    return kept, features, vectors, owner


def captions_of(records: Sequence[Record]) -> tuple[list[str], np.ndarray]:
    """All captions of some records, and the position of each one's record."""
    captions = [caption for record in records for caption in record.captions]
    return captions, np.repeat(np.arange(len(records)), [len(one.captions) for one in records])


def means(cache: FeatureCache, rows: np.ndarray, view: int) -> np.ndarray:
    """The mean region of each image in a view: float32 [n, D]."""
    parts = [
        cache.rows(rows[part], np.full(len(rows[part]), view)).astype(np.float32).mean(1)
        for part in batches(len(rows), _BATCH)
    ]
    return np.concatenate(parts)
