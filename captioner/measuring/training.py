"""Training and its feature cache, beside the image encoder that they are there to spare.

Training is the project's own loop, on what `made_up` draws at random.

Legend: N images, T tokens, R regions, D encoder width.
"""

import contextlib
import io
import itertools
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import tensorflow as tf

from captioner.config import Settings
from captioner.inputs.features import open_features
from captioner.inputs.pipeline import CachedImages, Examples, ReadImages
from captioner.inputs.records import Record
from captioner.learning.loop import Interrupted, Stage, Trainer
from captioner.learning.rewards import Reward
from captioner.learning.self_critical import SelfCritical
from captioner.measuring import machine, made_up
from captioner.measuring.bench import BARE, Bench
from captioner.measuring.comparison import MILLISECONDS, RATE, Comparison, Contender, timed
from captioner.measuring.subjects import WORDS, random_model
from captioner.models.build import Built

_STEPS = 8  # of a sample
WARM = 4  # steps before the first that counts
_FILES_BATCH = 32


def caching(bench: Bench) -> Iterator[Comparison]:
    """Writing the feature cache of photographs, and opening what was written."""
    side = bench.side
    numbers = itertools.count()
    records = _records(bench, made_up.CACHED)
    if bench.subject.built is not None:
        encoder = bench.subject.built.model.image_encoder
    else:
        from captioner.models.encoders import ImageEncoder

        encoder = ImageEncoder(side)
    signature = [tf.TensorSpec([None, side, side, 3], tf.uint8)]
    encode = tf.function(encoder.folded(), input_signature=signature, autograph=False)
    options = {"shape": (encoder.regions, encoder.width), "side": side, "fingerprint": "benchmark"}

    def write() -> float:
        where = bench.folder / f"cache-{next(numbers)}"
        started = time.perf_counter()
        open_features(records, encode, folder=where, **options)
        seconds = time.perf_counter() - started
        shutil.rmtree(where)
        return seconds

    there = bench.folder / "cache"

    def reopen():
        open_features(records, encode, folder=there, **options)

    reopen()
    yield Comparison(
        "caching",
        f"the feature cache of {made_up.CACHED} photographs, from their files to the disk",
        RATE,
        [
            bench.bare_contender(_FILES_BATCH, made_up.CACHED),
            Contender("write the cache", write, made_up.CACHED),
            Contender("open it, checking its sums", timed(reopen), made_up.CACHED),
        ],
    )


def training(bench: Bench) -> Iterator[Comparison]:
    """Steps of the training loop on cached features, reading these alone, and on the score."""
    settings = made_up.settings_in(bench.folder, bench.side)
    built = _built(bench, settings)
    cache = made_up.random_cache(bench.folder, bench.side, built)
    images, longest = CachedImages(cache), made_up.TOKENS
    for what, shortest in (("as long as Flickr8k's", 5), (f"all of {longest} tokens", longest)):
        yield Training(
            f"training, captions {what}",
            f"training on cached features, captions {what}",
            bench,
            settings,
            built,
            images,
            shortest,
            reading=True,
        )
    if machine.has_bfloat16():
        rounded = made_up.settings_in(bench.folder, bench.side, ["train.precision=bfloat16"])
        yield Training(
            f"training, captions all of {longest} tokens, bfloat16",
            f"training on cached features in bfloat16, captions all of {longest} tokens",
            bench,
            rounded,
            _built(bench, rounded),
            images,
            longest,
        )
    # Of its own: those above have taught theirs to end captions.
    yield Rewarded(bench, settings, _built(bench, settings), images)


def end_to_end(bench: Bench) -> Iterator[Comparison]:
    """Training on image files, with the image encoder frozen and trained."""
    plain = ["data.cache_features=false"]
    for what, overrides, steps in (
        ("the image encoder frozen", plain, 2),
        ("the image encoder trained, too", [*plain, 'train.freeze=["text_encoder"]'], 1),
    ):
        settings = made_up.settings_in(bench.folder, bench.side, overrides)
        yield Training(
            f"end to end, {what}",
            f"training on image files, {what}",
            bench,
            settings,
            _built(bench, settings),
            ReadImages(_records(bench, made_up.CACHED), bench.side, augmented=False),
            5,
            steps=steps,
        )


class Training(Comparison):
    """A training, stopped every few steps to measure what it is compared with.

    Args:
        name, title: as `Comparison` has them.
        bench: where to measure.
        settings: of the training.
        built: the model to train.
        images: what the steps take images from.
        shortest: int. Tokens of the shortest caption.
        steps: int. Of a sample.
        reading: bool. Whether to measure, too, how fast batches are made alone.
    """

    def __init__(
        self,
        name: str,
        title: str,
        bench: Bench,
        settings: Settings,
        built: Built,
        images: CachedImages | ReadImages,
        shortest: int,
        *,
        steps: int = _STEPS,
        reading: bool = False,
    ):
        self._bench, self._settings, self._built = bench, settings, built
        self._images, self._shortest, self._steps = images, shortest, steps
        captions = made_up.CAPTIONS * steps
        bare = bench.bare_contender(made_up.CAPTIONS // 5)
        contenders = [
            Contender(f"{BARE}, images", bare.sample, bare.amount),
            Contender("training, captions", lambda: 0.0, captions),
        ]
        if reading:
            contenders.append(Contender("reading alone, captions", self._read, captions))
        notes = [f"  the ratio is captions for each image that {BARE} encodes in the same time"]
        super().__init__(name, title, RATE, contenders, notes=notes)

    def measure(self, rounds: int) -> None:
        """Trains; between its steps the others are measured."""
        count = WARM + rounds * self._steps
        self._made = made_up.random_batches(self._images, self._built, count, self._shortest)
        self._reading = itertools.cycle(range(100))
        stage = Stage("benchmark", self._made, 1, validate=False)
        _train(self._bench, self._built, self._settings, [stage], _Watch(self))

    def round(self, seconds: float | None) -> None:
        """A round's samples; None for one that doesn't count."""
        for one in self.contenders:
            sample = seconds if one.name.startswith("training") else one.sample()
            if seconds is not None:
                self.samples[one.name].append(sample)

    @property
    def steps(self) -> int:
        """Of a sample."""
        return self._steps

    def _read(self) -> float:
        """Seconds for the batches of a sample, as the loop's data set takes them."""
        started = time.perf_counter()
        batches = tf.data.Dataset.from_generator(
            lambda: itertools.chain.from_iterable(self._made.epoch(next(self._reading))),
            output_signature=self._made.signature(),
        )
        for _ in batches.take(self._steps):
            pass
        return time.perf_counter() - started


class Rewarded(Comparison):
    """Steps on what captions score and steps of teacher forcing: stages that take turns in one
    training, on the same images and as many captions. All have `made_up.TOKENS` tokens: a model
    that has learned nothing ends none that it draws, and the rate is too small to teach it.

    Args:
        bench: where to measure.
        settings: of the training, but for its rate.
        built: the model to train, with random weights.
        images: what the steps take images from.
    """

    def __init__(self, bench: Bench, settings: Settings, built: Built, images: CachedImages):
        train = settings.train.model_copy(update={"learning_rate": 1e-12})
        self._settings = settings.model_copy(update={"train": train})
        self._bench, self._built, self._images = bench, built, images
        super().__init__(
            "training on the score",
            f"a training step of {made_up.CAPTIONS} captions on cached features",
            MILLISECONDS,
            [Contender(name, lambda: 0.0, _STEPS) for name in ("cross-entropy", "self-critical")],
        )

    def measure(self, rounds: int) -> None:
        """Trains; each stage is a sample."""
        stages = []
        for label, rewarded in zip(self.samples, (False, True), strict=True):
            # The first step of a stage follows the checkpoint of the stage before it.
            made = made_up.random_batches(self._images, self._built, 1 + _STEPS, positions=rewarded)
            stage = Stage(label, made, 1, validate=False)
            if rewarded:
                stage = replace(stage, objective=self._objective(made.data))
            stages.append(stage)
        _train(self._bench, self._built, self._settings, stages * (1 + rounds), _Turns(self))

    def sample(self, label: str, seconds: float) -> None:
        """A stage's steps have taken so long, but for its first."""
        self.samples[label].append(seconds)

    def _objective(self, data: Examples) -> SelfCritical:
        texts = [text.decode() for text in self._built.tokenizer.decode(data.tokens[:, 1:]).numpy()]
        references: list[list[str]] = [[] for _ in range(made_up.CACHED)]
        for image, text in zip(data.image, texts, strict=True):
            references[image].append(text)
        train = self._settings.train
        draws = train.reward_samples, train.reward_baseline, made_up.TOKENS
        return SelfCritical(self._built.tokenizer, Reward(references), *draws)


class _Watch:
    """What the training loop reports to: times its steps, wall clock, with all that is between."""

    def __init__(self, comparison: Training):
        self._comparison = comparison
        self._begun = 0.0

    def step(self, row) -> None:
        """A step has ended."""
        steps, done = self._comparison.steps, row["step"] - WARM
        if done < 0:
            return
        if done == 0:
            self._comparison.round(None)
        elif done % steps:
            return
        else:
            self._comparison.round(time.perf_counter() - self._begun)
        self._begun = time.perf_counter()

    def validation(self, row) -> None:
        """There is none."""


class _Turns:
    """What a training of `Rewarded` reports to: times the steps of each stage after its first."""

    def __init__(self, comparison: Rewarded):
        self._comparison = comparison
        self._stage, self._steps, self._begun, self._stages = "", 0, 0.0, 0

    def step(self, row) -> None:
        """A step has ended."""
        if row["stage"] != self._stage:
            self._stage, self._steps, self._begun = row["stage"], 0, time.perf_counter()
            self._stages += 1
            return
        self._steps += 1
        # Graphs are made and optimised in the first stage of each kind.
        if self._steps == _STEPS and self._stages > 2:
            self._comparison.sample(self._stage, time.perf_counter() - self._begun)

    def validation(self, row) -> None:
        """There is none."""


def _train(
    bench: Bench, built: Built, settings: Settings, stages: Sequence[Stage], watch: Any
) -> None:
    """A training from beginning to end, told of to `watch`; an interrupt is one."""
    run = bench.folder / "training"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    where = tf.distribute.get_strategy()
    trainer = Trainer(
        built.model, settings.train, where, stages, run, None, watch, bench.tell
    )
    try:
        # Its progress bar would count steps of a training that nobody asked for.
        with contextlib.redirect_stderr(io.StringIO()):
            trainer.fit()
    except Interrupted:
        raise KeyboardInterrupt from None
    finally:
        shutil.rmtree(run, ignore_errors=True)


def _built(bench: Bench, settings: Settings) -> Built:
    bench.tell("making a model to train")
    return random_model(settings, WORDS)


def _records(bench: Bench, count: int) -> list[Record]:
    return made_up.blank_records(bench.files, count)
