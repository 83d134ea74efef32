"""Fits the sentence head: from an image's features to its captions' embedding.

A few hundred photographs are enough for a linear map into a space that the text encoder has made
of much more text than anyone has captions, and the decoder can then learn from captions without
images what to say of a point of that space (as in CapDec: Nukrai et al., 2022, "Text-only training
for image captioning using noise-injected CLIP", there with an image encoder that was trained on
pairs). The map is ridge regression, in closed form.

What it says of an image that it was fitted with is truer than what it will say of another, and a
decoder that learned from the one would trust the other too much. So training sees each image
through the map of all the others (cross-fitting; Wolpert, 1992, "Stacked generalization").

Legend: N images, V views, D encoder width, S embedding width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Ridge penalties to choose among, per row and in units of the features' variance.
_PENALTIES = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)

# What is added to each direction's variance before it is whitened, as a share of their mean.
_FLOOR = 0.1


class Fit(NamedTuple):
    """A fitted sentence head.

    Attributes:
        kernel: float32 [D, S]. bias: float32 [S].
        center: float32 [S]. The captions' mean embedding, which targets are taken from.
        held_out: float32 [N, V, S]. Each image's embedding by the map of all the others.
        cosine: float. Of held-out embeddings with their targets, the mean.
        penalty: float. The ridge penalty that gave it.
    """

    kernel: np.ndarray
    bias: np.ndarray
    center: np.ndarray
    held_out: np.ndarray
    cosine: float
    penalty: float


def fit(features: np.ndarray, targets: np.ndarray) -> Fit:
    """Fits kernel and bias of a `SentenceHead`.

    Args:
        features: float32 [N, V, D]. Each image's mean region, in each of its views.
        targets: float32 [N, S]. Each image's mean caption embedding.

    Raises:
        ValueError: fewer than two images.
    """
    count, views, width = features.shape
    if count < 2:
        raise ValueError("a sentence head needs two images or more")
    mean = features.mean((0, 1), dtype=np.float64)
    size = float(np.sqrt(np.square(features - mean).mean(dtype=np.float64))) or 1.0
    center = targets.mean(0, dtype=np.float64)
    x, y = (features - mean) / size, targets - center
    # One decomposition serves every penalty and every image that is left out.
    rows = x.reshape(-1, width)
    values, vectors = np.linalg.eigh(rows.T @ rows)
    turned = vectors.T @ (x.sum(1).T @ y)
    turned_x = x @ vectors
    truth = unit(y)[:, None]
    best = None
    for penalty in _PENALTIES:
        inverse = 1 / (np.maximum(values, 0) + penalty * count * views)
        held_out = unit(_without(turned_x, inverse, turned, y))
        cosine = float((held_out * truth).sum(-1).mean())
        if best is None or cosine > best[0]:
            best = cosine, penalty, held_out, vectors @ (inverse[:, None] * turned) / size
    cosine, penalty, held_out, kernel = best
    return Fit(
        kernel=kernel.astype(np.float32),
        bias=(-mean @ kernel).astype(np.float32),
        center=center.astype(np.float32),
        held_out=held_out,
        cosine=cosine,
        penalty=penalty,
    )


def _without(turned_x, inverse, turned, y) -> np.ndarray:
    """What each image is told by the map of all the others: float64 [N, V, S].

    With an image's rows X, the whole map's answers XW and H = X(G + penalty)⁻¹Xᵀ, the others' map
    answers Y - (I - H)⁻¹(Y - XW): the leave-one-out identity of linear regression, by blocks.
    """
    weighted = turned_x * inverse
    hat = weighted @ np.swapaxes(turned_x, 1, 2)  # [N, V, V]
    targets = np.broadcast_to(y[:, None], (*turned_x.shape[:2], y.shape[1]))
    own = weighted @ turned
    return targets - np.linalg.solve(np.eye(hat.shape[1]) - hat, targets - own)


def noisy(sentences: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Sentence embeddings [B, S] off their mark as an image's are, of length 1.

    Args:
        sentences: float32 [B, S], of length 1.
        amount: the noise's length.
        rng: draws it.
    """
    width = sentences.shape[-1]
    noise = rng.standard_normal(sentences.shape, np.float32) * np.float32(amount / width**0.5)
    return unit(sentences + noise)


def of_others(embeddings: np.ndarray, groups: Sequence[str] | None, center: np.ndarray):
    """What each caption without an image is told of: float32 [B, S], of length 1.

    The mean of the other captions of its image, where it is known which belong together; that is
    what the sentence head aims at, and the caption itself would be too good. Its own embedding
    where it stands alone.

    Args:
        embeddings: float32 [B, S].
        groups: each caption's image, or None where that isn't known.
        center: float32 [S]. What embeddings are taken from.
    """
    own = embeddings - center
    if groups is None:
        return unit(own)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((group.max() + 1, own.shape[1]), np.float32)
    np.add.at(sums, group, own)
    others = np.bincount(group)[group] - 1
    rest = (sums[group] - own) / np.maximum(others, 1)[:, None]
    return unit(np.where(others[:, None] > 0, rest, own))


def whitened(vectors: np.ndarray, amount: float) -> np.ndarray:
    """Vectors [M, S] whose dot products with sentence embeddings compare in a whitened space.

    A few directions hold most of what differs between a BERT's sentence embeddings, and a cosine
    hears little else. Whitening (Su et al., 2021, "Whitening sentence representations for better
    semantics and faster retrieval") lets the others speak. With C the vectors' second moment and
    W = C^(-amount), what an embedding s and a vector v have in common is s·Wv / √(v·Wv): their
    cosine once both are multiplied by W^½, but for the length of s, which orders nothing. All of
    it but s is the vector's own, so a search costs what it did.

    Args:
        vectors: float32 [M, S], of length 1.
        amount: 0 leaves them as they are, 1 makes all directions alike.

    Returns:
        float32 [M, S], of a mean square length of 1.
    """
    if not amount:
        return vectors
    exact = vectors.astype(np.float64)
    values, axes = np.linalg.eigh(exact.T @ exact / len(exact))
    # Directions that hardly vary would count the most, and hold the least.
    values = np.maximum(values, 0) + _FLOOR * values.mean()
    turned = exact @ axes
    weighed = turned * values**-amount
    lengths = np.sqrt((turned * weighed).sum(-1, keepdims=True))
    found = np.divide(weighed, lengths, where=lengths > 0, out=np.zeros_like(weighed)) @ axes.T
    return (found / np.sqrt(np.square(found).sum(-1).mean())).astype(np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    """[..., S] -> float32 of length 1; zero stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, where=length > 0, out=np.zeros_like(vectors)).astype(
        np.float32
    )
