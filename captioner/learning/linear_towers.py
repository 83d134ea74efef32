"""The baseline of two towers: a linear layer on each frozen encoder, and nothing else learned.

What a text encoder gains by being trained is the difference to this. It sees the same images, views
and captions, and minimises the same symmetric cross-entropy with a learned temperature.

Legend: N images, V views, M captions, D image encoder width, S text encoder width, E width.
"""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from captioner.errors import CaptionerError
from captioner.learning.contrastive import softmax
from captioner.models.towers import Towers

FILE = "baseline.npz"

_EPOCHS = 100
_BATCH = 128
_RATE = 1e-3
_DROPOUT = 0.3
_NAMES = ("image_kernel", "image_bias", "text_kernel", "text_bias")


def fit(
    features: np.ndarray, vectors: np.ndarray, owner: np.ndarray, width: int, seed: int = 0
) -> list[np.ndarray]:
    """Trains both layers: kernel [D, E] and bias of the images', kernel [S, E] and bias of the
    texts'.

    Args:
        features: float32 [N, V, D]. Each image's mean region, in each of its views.
        vectors: float32 [M, S]. The captions' embeddings by the frozen text encoder.
        owner: int [M]. Whose caption each is; every image has one or more.
        width: E.
        seed: of weights and order.
    """
    rng = np.random.default_rng(seed)
    count, views, depth = features.shape
    center = features.mean((0, 1))
    size = features.std() or 1.0
    starts = [keras.initializers.GlorotUniform(seed + i) for i in range(2)]
    kernels = [
        tf.Variable(start((rows, width)))
        for start, rows in zip(starts, (depth, vectors.shape[1]), strict=True)
    ]
    biases = [tf.Variable(tf.zeros(width)) for _ in kernels]
    log_scale = tf.Variable(-np.log(np.float32(0.07)))
    variables = [*kernels, *biases, log_scale]
    steps = _EPOCHS * -(-count // _BATCH)
    rate = keras.optimizers.schedules.CosineDecay(_RATE, steps)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.01)
    learned = [keras.Variable(one, name=f"v{i}") for i, one in enumerate(variables)]
    optimizer.build(learned)

    @tf.function(autograph=False, reduce_retracing=True)
    def step(images, texts):
        with tf.GradientTape() as tape:
            made = [one.value for one in learned]
            tape.watch(made)
            images = tf.nn.dropout(images, _DROPOUT)
            right, to_images, to_texts, wrong = _compared(images, texts, made)
            scale = _Scale(tf.exp(tf.minimum(made[4], np.log(100.0))))
            loss = tf.reduce_mean(softmax(scale, right, (to_images, wrong), (to_texts, wrong)))
        optimizer.apply(tape.gradient(loss, made), learned)

    order = np.argsort(owner, kind="stable")
    first = np.searchsorted(owner[order], np.arange(count))
    each = np.bincount(owner, minlength=count)
    tf.random.set_seed(seed)
    for _ in range(_EPOCHS):
        shuffled = rng.permutation(count)
        for at in range(0, count, _BATCH):
            rows = shuffled[at : at + _BATCH]
            images = (features[rows, rng.integers(views, size=len(rows))] - center) / size
            taken = order[first[rows] + rng.integers(each[rows])]
            step(tf.constant(images, tf.float32), tf.constant(vectors[taken]))
    image, text, image_bias, text_bias, _ = (one.numpy() for one in learned)
    return [image / size, image_bias - center @ image / size, text, text_bias]


class _Scale:
    """What `softmax` asks of a model."""

    def __init__(self, scale: tf.Tensor):
        self.scale = scale


def _compared(images, texts, made):
    """A pair's similarities with all others of the batch, in which every image is there once."""
    image, text, image_bias, text_bias, _ = made
    images = tf.math.l2_normalize(tf.matmul(images, image) + image_bias, axis=-1)
    texts = tf.math.l2_normalize(tf.matmul(texts, text) + text_bias, axis=-1)
    to_images = tf.matmul(texts, images, transpose_b=True)
    count = tf.shape(to_images)[0]
    wrong = ~tf.eye(count, dtype=tf.bool)
    return tf.linalg.diag_part(to_images), to_images, tf.transpose(to_images), wrong


def write(path: Path, layers: list[np.ndarray]) -> None:
    """Writes what `fit` gave, whole or not at all."""
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        np.savez(file, **dict(zip(_NAMES, layers, strict=True)))
    temporary.rename(path)


def put(path: Path, model: Towers) -> None:
    """Gives them to towers that are as wide.

    Raises:
        CaptionerError: the file is damaged.
    """
    projections = (model.image_projection, model.text_projection)
    variables = [one for dense in projections for one in (dense.kernel, dense.bias)]
    try:
        with np.load(path, allow_pickle=False) as file:
            for variable, name in zip(variables, _NAMES, strict=True):
                variable.assign(file[name])
    except Exception as error:  # of any kind: it may be damaged anywhere
        raise CaptionerError(
            f"{path} is damaged ({error}); remove it to score without the baseline"
        ) from None
