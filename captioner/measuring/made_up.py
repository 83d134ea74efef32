"""What the measured trainings train on: captions and features that are drawn at random.

Their model has 512 units and a vocabulary of 2,600; a step has 128 captions of at most 21 tokens,
and no prompts: what captioning models are usually compared at.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from captioner import config
from captioner.config import Settings
from captioner.inputs.features import FeatureCache, open_features
from captioner.inputs.pipeline import Batches, CachedImages, Examples, ReadImages
from captioner.inputs.records import Record
from captioner.inputs.text import START
from captioner.measuring import photos
from captioner.measuring.subjects import WORDS, random_tokens, text_encoder
from captioner.models.build import Built

TOKENS = 21
BATCH = 128  # captions of a step, on average
CAPTIONS = 130  # what it really is, as an image's five captions stay together
CACHED = 64  # images


def random_batches(
    images: CachedImages | ReadImages,
    built: Built,
    steps: int,
    shortest: int = TOKENS,
    *,
    replicas: int = 1,
    positions: bool = False,
) -> Batches:
    """Batches of random captions of `shortest` tokens or more, for an epoch of so many steps."""
    count = CAPTIONS * steps
    rng = np.random.default_rng(0)
    tokens = random_tokens(count, TOKENS, WORDS, rng, shortest)
    tokens = np.concatenate([np.full((count, 1), START, np.int32), tokens], 1)
    # Five captions of an image, and as many images as there are, again and again.
    shown = np.arange(count) // 5 % CACHED
    return Batches(
        Examples(shown, tokens, [""] * count, None),
        images,
        batch_size=BATCH,
        captions_per_image=5,
        prompt_tokenizer=built.prompt_tokenizer,
        replicas=replicas,
        positions=positions,
    )


def settings_in(folder: Path, side: int, overrides: Sequence[str] = ()) -> Settings:
    """Of the trainings that are measured.

    Args:
        folder: for what they read.
        side: pixels.
        overrides: what is different.
    """
    words = [
        f"model.text_encoder={text_encoder(folder)}",
        "model.image_weights=none",
        f"model.image_side={side}",
        "model.units=512",
        "model.heads=8",
        "train.distribution=none",
        f"train.batch_size={BATCH}",
        "train.captions_per_image=5",
        f"decode.max_tokens={TOKENS}",
        *overrides,
    ]
    return config.settings("demo", overrides=words)


def blank_records(files: Sequence[Path], count: int) -> list[Record]:
    """So many records of these images, again from the first where there are too few."""
    return [
        Record(str(at), files[at % len(files)], ("a photograph",), "train") for at in range(count)
    ]


def random_cache(folder: Path, side: int, built: Built) -> FeatureCache:
    """A cache of random features: what is in them doesn't matter to who reads them."""
    encoder = built.model.image_encoder
    rng = np.random.default_rng(0)

    def encode(pixels) -> np.ndarray:
        size = (len(pixels), encoder.regions, encoder.width)
        return rng.random(size, np.float32)

    return open_features(
        blank_records(photos.written(folder / "blank", photos.made(photos.WEB, 1)), CACHED),
        encode,
        folder=folder / "features",
        shape=(encoder.regions, encoder.width),
        side=side,
        fingerprint="random",
    )
