"""A captioner that trains in a second: what the tests of training share.

As a program it trains in a process of its own:

    python tests/tiny_training.py kill RUN ENCODER STEP     and kills itself after that step
    python tests/tiny_training.py train ARGUMENT...         captioner.train with a tiny encoder
"""

import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from captioner.config import Train
from captioner.inputs.pipeline import Batches, CachedImages, Examples, NoImages
from captioner.inputs.text import END, START
from captioner.inputs.wordpiece import BertTokenizer
from captioner.learning.loop import Stage, Trainer
from captioner.models.build import load_bert_vocabulary
from captioner.models.captioner import Captioner
from captioner.models.decoder import Decoder
from captioner.models.encoders import TextEncoder

AS_THEY_ARE = "CAPTIONER_TESTS_GRAPHS_AS_THEY_ARE"
"""In the environment where tests/conftest.py has graphs run unoptimised."""

WORDS = "a red blue green dog cat bird kite sits runs flies sleeps on under near grass sky".split()
LENGTH = 6  # T
VIEWS, IMAGES, REGIONS, WIDTH = 3, 7, 4, 6


@keras.saving.register_keras_serializable("test")
class Grid(keras.layers.Layer):
    """An image encoder of one product: the mean colours of a picture's quarters."""

    rows = columns = 2
    regions = REGIONS
    width = WIDTH
    begun, begun_shape, levels = 5, (REGIONS, WIDTH), 1

    def __init__(self, side: int = 4, **kwargs):
        super().__init__(**kwargs)
        self.half = side // 2
        self.kernel = self.add_weight(shape=(3, WIDTH), name="kernel")

    def begin(self, pixels):
        return self(pixels)

    def call(self, images):
        return images if len(images.shape) == 3 else quarters(images, self.half, self.kernel)

    def folded(self, stages: int = 5, precision: str = "float32") -> tf.Module:
        return FoldedGrid(self, precision)


class FoldedGrid(tf.Module):
    """What `Grid.folded` gives: a copy of its weights."""

    def __init__(self, grid: Grid, precision: str):
        super().__init__()
        self.half = grid.half
        self.kernel = tf.Variable(tf.cast(grid.kernel, precision), trainable=False)

    def __call__(self, pixels):
        return quarters(pixels, self.half, tf.cast(self.kernel, tf.float32))


def quarters(images, half: int, kernel):
    pixels = tf.cast(images, tf.float32) / 255
    return tf.matmul(
        tf.reshape(tf.nn.avg_pool2d(pixels, half, half, "VALID"), [-1, REGIONS, 3]), kernel
    )


class Cache:
    """What `CachedImages` asks of a feature cache, in memory."""

    views = VIEWS

    def __init__(self):
        rng = np.random.default_rng(1)
        self.table = rng.normal(size=(VIEWS, IMAGES, REGIONS, WIDTH)).astype(np.float16)

    def rows(self, images, views=0):
        return self.table[views, images]


@dataclass
class Reports:
    """A report that remembers, and calls `at_step(step)` first."""

    at_step: object = lambda step: None
    rows: list = field(default_factory=list)
    validations: list = field(default_factory=list)

    def step(self, row):
        self.rows.append(row)
        self.at_step(row["step"])

    def validation(self, row):
        self.validations.append(row)


def captions(images: int = IMAGES, each: int = 2, seed: int = 0, images_shown: bool = True):
    """Random captions of the word list as `Examples`."""
    rng = np.random.default_rng(seed)
    count = images * each
    tokens = np.zeros((count, LENGTH + 1), np.int32)
    texts = []
    for row in tokens:
        chosen = rng.choice(len(WORDS), size=int(rng.integers(2, LENGTH)), replace=False)
        row[: len(chosen) + 2] = [START, *(4 + chosen), END]
        texts.append(" ".join(WORDS[i] for i in chosen))
    prompts = None if images_shown else [""] * count
    return Examples(np.repeat(np.arange(images), each), tokens, texts, prompts)


def model(
    strategy: tf.distribute.Strategy | None = None,
    encoder: Path | None = None,
    dropout: float = 0.0,
    tune: bool = False,
    precision: str = "float32",
) -> Captioner:
    """The same tiny captioner each time."""
    strategy = strategy or tf.distribute.get_strategy()
    keras.utils.set_random_seed(0)
    with strategy.scope():
        images = Grid(name="image_encoder")
        words = None
        if encoder is not None:
            words = TextEncoder(encoder, trainable=tune, dtype="float32", name="text_encoder")
        keras.config.set_dtype_policy(precision)
        try:
            decoder = Decoder(
                4 + len(WORDS), 8, 2, dropout=dropout, word_dropout=dropout / 2, name="decoder"
            )
            return Captioner(images, words, decoder, dropout, name="captioner")
        finally:
            keras.config.set_dtype_policy("float32")


def prompt_tokenizer(encoder: Path) -> BertTokenizer:
    vocabulary = load_bert_vocabulary(Path(encoder) / "assets" / "vocab.txt")
    return BertTokenizer(vocabulary, True, 8)


def batches(strategy=None, encoder: Path | None = None, **changes) -> Batches:
    """Two steps an epoch: 4 images, then 3."""
    strategy = strategy or tf.distribute.get_strategy()
    prompts = None if encoder is None else prompt_tokenizer(encoder)
    given = {"data": captions(), "images": CachedImages(Cache()), "batch_size": 8} | changes
    data, images = given.pop("data"), given.pop("images")
    return Batches(
        data,
        images,
        captions_per_image=given.pop("captions_per_image", 2),
        replicas=strategy.num_replicas_in_sync,
        prompt_share=0.5,
        prompt_tokenizer=prompts,
        **given,
    )


def text_stage(epochs: int = 2) -> Stage:
    """Captions without images, 4 steps an epoch."""
    data = captions(8, 1, seed=5, images_shown=False)
    made = Batches(data, NoImages(), batch_size=2, captions_per_image=1)
    return Stage("text", made, epochs, validate=False)


def figure(made: Captioner):
    """A validation whose score says everything about the weights and nothing else."""
    return lambda: {
        "CIDEr": float(sum(np.abs(v.numpy()).sum(dtype=float) for v in made.trainable_variables))
    }


def trainer(
    run: Path,
    *,
    strategy=None,
    encoder: Path | None = None,
    dropout: float = 0.0,
    tune: bool = False,
    precision: str = "float32",
    stages=None,
    validate=figure,
    report=None,
    warn=lambda text: None,
    data=None,
    **settings,
) -> Trainer:
    """A trainer of the tiny captioner; `settings` are of the section `train`."""
    strategy = strategy or tf.distribute.get_strategy()
    settings = {"epochs": 3, "label_smoothing": 0.0, "patience": 100} | settings
    if tune:
        settings.setdefault("freeze", ())
    made = model(strategy, encoder, dropout, tune, precision)
    if stages is None:
        stages = [Stage("epoch", data or batches(strategy, encoder), settings["epochs"])]
    run.mkdir(parents=True, exist_ok=True)
    train = Train(precision="bfloat16" if "bf" in precision else "float32", **settings)
    given = (made, train, strategy, stages, run)
    return Trainer(*given, validate and validate(made), report or Reports(), warn)


def quick_encoder(settings, load: bool = True) -> Grid:
    """In place of `captioner.models.build.image_encoder`: whole runs then take seconds."""
    return Grid(settings.model.image_side, name="image_encoder")


def weights(made: Trainer | Captioner) -> dict[str, np.ndarray]:
    """Every variable of a model by path, but for seeds."""
    made = made._model if isinstance(made, Trainer) else made
    return {v.path: v.numpy() for v in made.variables if "seed_generator" not in v.path}


def everything(made: Trainer) -> dict[str, np.ndarray]:
    """All that a checkpoint holds: weights, averages, moments, seeds."""
    return {name: variable.numpy() for name, variable in made._saved().items()}


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    """To the last bit."""
    assert one and sorted(one) == sorted(other)
    different = [name for name in one if not np.array_equal(one[name], other[name])]
    assert not different, different


def killed_run(run: Path, encoder: Path | None = None) -> Trainer:
    """What the resume tests train: dropout, drawn views, drawn prompts."""
    return trainer(run, encoder=encoder, dropout=0.4)


def _kill(run: Path, encoder: Path, last: int) -> None:
    if AS_THEY_ARE in os.environ:  # for the same weights to the last bit
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    made = killed_run(run, encoder)
    made._report.at_step = lambda step: step == last and os.kill(os.getpid(), signal.SIGKILL)
    made.fit()


def _train(arguments: list[str]) -> None:
    from captioner import commandline, train
    from captioner.models import build

    build.image_encoder = quick_encoder
    commandline.run(train.main, train.parser().parse_args(arguments))


if __name__ == "__main__":
    if sys.argv[1] == "kill":
        _kill(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    else:
        _train(sys.argv[2:])
