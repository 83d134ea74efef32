"""What every task reads before it trains: the data set, and its images as the settings say."""

import contextlib
import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any, NamedTuple

import tensorflow as tf
from tqdm import tqdm

from captioner import pretrained
from captioner.config import Settings
from captioner.config.freezing import stages
from captioner.errors import CaptionerError
from captioner.inputs import readers
from captioner.inputs.features import FeatureCache, find_unreadable, open_features
from captioner.inputs.pipeline import CachedImages, ReadImages
from captioner.inputs.records import DataSet, Record, check_unreadable
from captioner.models.encoders import ImageEncoder


def tell(text: str) -> None:
    """Progress goes to standard error."""
    tqdm.write(text, file=sys.stderr)


@contextlib.contextmanager
def counting(label: str, unit: str = "image") -> Iterator[Callable[[int, int], None]]:
    """Gives a function (done, total) that shows a bar from its first call on, a new one for each
    total."""
    with contextlib.ExitStack() as stack:
        bars: list[tqdm] = []

        def progress(done: int, total: int) -> None:
            if not bars or bars[-1].total != total:  # of something else
                bars.append(stack.enter_context(tqdm(total=total, desc=label, unit=unit)))
            bars[-1].update(done - bars[-1].n)

        yield progress


def read_data(settings: Settings, prompts: str = "") -> DataSet:
    """The data set, with one line on standard error about what had to be left out; `prompts` as
    `readers.read` takes it."""
    with counting("drawing pictures") as progress:
        data = readers.read(
            settings.data.spec,
            images=settings.data.images,
            cache=settings.data.folder,
            progress=progress,
            prompts=prompts,
        )
    if data.problems:
        tell(f"left out: {data.problems.summary()}")
    return data


class Images(NamedTuple):
    """A split's images.

    Attributes:
        records: in order.
        source: gives the images by position.
        unreadable: positions of those that can't be read.
    """

    records: Sequence[Record]
    source: CachedImages | ReadImages
    unreadable: Set[int]

    @property
    def readable(self) -> bool:
        """Whether there is any that can be read."""
        return len(self.unreadable) < len(self.records)


def check_training(settings: Settings, records: Sequence[Record]) -> None:
    """Raises `CaptionerError` where there are no images to train on."""
    if not records:
        raise CaptionerError(
            f"{settings.data.spec} has no training images: its split column or lists must name "
            "some `train`"
        )


def prepare_images(
    settings: Settings, encoder: ImageEncoder, data: DataSet, teacher: Any = None
) -> tuple[Images, Images]:
    """The training images, and the dev images that validations look at.

    Args:
        settings: the run's.
        encoder: the model's.
        data: the data set.
        teacher: `distillation.Teacher`, or None. Cached training images then have what its encoder
            sees in them, too.

    Raises:
        CaptionerError: too many can't be read.
    """
    records, dev = data.split("train"), _dev_records(settings, data)
    images, unreadable = _images(settings, encoder, records, settings.data.views, "train")
    if teacher is not None and isinstance(images, CachedImages):
        theirs = teacher.settings.model_copy(update={"data": settings.data})
        look = teacher.built.model.image_encoder
        seed = settings.train.seed
        seen = _features(theirs, look, records, settings.data.views, "teacher's", seed)
        images = CachedImages(images.cache, teacher=CachedImages(seen))
    dev_images, dev_unreadable = _images(settings, encoder, dev, 1, "dev")
    bad = [
        f"{some[row].image.name}: {why}"
        for some, found in ((records, unreadable), (dev, dev_unreadable))
        for row, why in found.items()
    ]
    check_unreadable(data.problems, bad, len(records) + len(dev), settings.data.unreadable_limit)
    if bad:
        tell(f"left out: {data.problems.summary()}")
    return Images(records, images, set(unreadable)), Images(dev, dev_images, set(dev_unreadable))


def _dev_records(settings: Settings, data: DataSet) -> list[Record]:
    """The dev images that validations look at: the first by hash, so that adding images to a data
    set changes few of them."""
    records = data.split("dev")
    ordered = sorted(records, key=lambda one: hashlib.sha256(one.id.encode()).digest())
    return ordered[: settings.train.validation_images]


def _images(
    settings: Settings, encoder: ImageEncoder, records: Sequence[Record], views: int, what: str
) -> tuple[CachedImages | ReadImages, dict[int, str]]:
    """Images as the settings want them, and those that can't be read: position and reason."""
    if settings.data.cache_features:
        cache = _features(settings, encoder, records, views, what, settings.train.seed)
        return CachedImages(cache), cache.unreadable
    with counting(f"checking {what} images") as progress:
        unreadable = find_unreadable(records, settings.model.image_side, progress)
    augment = settings.data.augment and what == "train"
    return ReadImages(records, settings.model.image_side, augment), unreadable


def _features(
    settings: Settings,
    encoder: ImageEncoder,
    records: Sequence[Record],
    views: int,
    what: str,
    seed: int,
) -> FeatureCache:
    """The feature cache of these records; `seed` is that of the views."""
    side = settings.model.image_side
    kind = settings.model.image_encoder
    if kind == "resnet50":
        weights = pretrained.image_weights(settings.model.image_weights)
        fingerprint = pretrained.fingerprint(weights)
        if fingerprint == "none":  # random weights are those of the seed
            fingerprint = f"random {settings.train.seed}"
    else:
        fingerprint = f"{kind} {encoder.digest()}"
    if encoder.begun < len(stages(kind)):
        fingerprint += f", {encoder.begun} stages"
    elif encoder.levels > 1:
        fingerprint += f", {encoder.levels} levels"
    encode = tf.function(
        encoder.folded(encoder.begun),
        input_signature=[tf.TensorSpec([None, side, side, 3], tf.uint8)],
        autograph=False,
    )
    with counting(f"{what} features") as progress:
        return open_features(
            records,
            encode,
            folder=settings.data.folder / "cache" / "features",
            shape=encoder.begun_shape,
            side=side,
            fingerprint=fingerprint,
            views=views,
            seed=seed,
            progress=progress,
        )
