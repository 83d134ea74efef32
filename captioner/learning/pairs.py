"""What two towers train on and are validated with: images, and the captions that belong to them.

Legend: N images, V views, M captions, D image encoder width, S text encoder width.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from captioner.config import Settings
from captioner.config.freezing import wholly_frozen
from captioner.errors import CaptionerError
from captioner.inputs.files import batches
from captioner.inputs.pipeline import Batches, Examples
from captioner.inputs.records import Record
from captioner.learning import sentences
from captioner.learning.contrastive import objective
from captioner.learning.data import Images
from captioner.learning.embeddings import embeddings
from captioner.learning.loop import Stage
from captioner.learning.stages import means
from captioner.metrics import retrieval
from captioner.models.towers import Built, begin_with, trimmed

_BATCH = 64


def stages(settings: Settings, built: Built, train: Images, replicas: int) -> list[Stage]:
    """One: the training images and their captions.

    Raises:
        CaptionerError: there are none, or a step would have a single image.
    """
    data = examples(train)
    if not len(data):
        raise CaptionerError(f"{settings.data.spec} has no readable training image")
    made = Batches(
        data,
        train.source,
        batch_size=settings.train.batch_size,
        captions_per_image=settings.train.captions_per_image,
        replicas=replicas,
        prompt_tokenizer=built.prompt_tokenizer,
        positions=True,
        seed=settings.train.seed,
    )
    return [
        Stage(
            "epoch",
            made,
            settings.train.epochs,
            objective=objective(settings.contrastive),
            unit="caption",
        )
    ]


def examples(train: Images) -> Examples:
    """Captions as what the text encoder reads; there is no decoder that would write them."""
    kept = [(at, one) for at, one in enumerate(train.records) if at not in train.unreadable]
    captions = [caption for _, record in kept for caption in record.captions]
    return Examples(
        image=np.array([at for at, record in kept for _ in record.captions], np.int64),
        tokens=np.zeros((len(captions), 1), np.int32),
        texts=captions,
        prompts=captions,
    )


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


def start(
    settings: Settings,
    built: Built,
    train: Images,
    tell: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> None:
    """Gives the projections the start that `contrastive.start=sentences` names: a map of images to
    their captions' embeddings in closed form (`learning.sentences`).

    Raises:
        CaptionerError: the image encoder changes in training, or there are fewer than two images.
    """
    how = ("contrastive.start=sentences", "contrastive.start=random")
    fit = retrieval_of(settings, built, train, how, tell, progress).fit
    begin_with(built.model, fit.kernel, fit.bias, fit.center)


def retrieval_of(
    settings: Settings,
    built: Any,
    train: Images,
    how: tuple[str, str],
    tell: Callable[[str], None],
    progress: Callable[[int, int], None],
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
        raise CaptionerError(f"{wanted} needs two readable training images or more")
    targets = np.zeros((len(kept), vectors.shape[1]), np.float32)
    np.add.at(targets, owner, vectors)
    targets /= np.bincount(owner)[:, None]
    fit = sentences.fit(features, targets)
    tell(
        f"start: cosine {fit.cosine:.2f} between what images and their captions mean, each image "
        "left out in turn"
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


class Recall:
    """Retrieval among the dev images with the weights as they are.

    Args:
        built: the towers being trained.
        dev: the dev images.
    """

    def __init__(self, built: Built, dev: Images):
        self._rows = np.array([at for at in range(len(dev.records)) if at not in dev.unreadable])
        self._source = dev.source
        self._captions, self._owner = captions_of([dev.records[at] for at in self._rows])
        model, tokenizer = built.model, built.prompt_tokenizer

        def texts(given):
            return model.embed_texts(trimmed(tokenizer(given)))

        spec = [tf.TensorSpec([None], tf.string)]
        self._texts = tf.function(texts, input_signature=spec, autograph=False)
        self._images = tf.function(
            model.embed_images, input_signature=[dev.source.spec["image"]], autograph=False
        )

    def scores(self) -> dict[str, float]:
        """The mean of the six recalls, which training keeps the best of, and some of them."""
        rng = np.random.default_rng(0)  # dev images have one view: it decides nothing
        images = [
            self._images(self._source(self._rows[part], rng)["image"]).numpy()
            for part in batches(len(self._rows), _BATCH)
        ]
        texts = [
            self._texts(tf.constant(self._captions[part])).numpy()
            for part in batches(len(self._captions), _BATCH)
        ]
        found = retrieval.scores(np.concatenate(images), np.concatenate(texts), self._owner)
        names = ("text_to_image_R@1", "text_to_image_R@10", "image_to_text_R@10")
        return {"mean_recall": retrieval.mean_recall(found)} | {one: found[one] for one in names}


def captions_of(records: Sequence[Record]) -> tuple[list[str], np.ndarray]:
    """All captions of some records, and the position of each one's record."""
    captions = [caption for record in records for caption in record.captions]
    return captions, np.repeat(np.arange(len(records)), [len(one.captions) for one in records])
