"""Retrieval: how far down a list one has to read to find what belongs to the query.

Pure NumPy. Legend: N images, M captions, E width of embeddings.
"""

from collections.abc import Sequence

import numpy as np

KS = (1, 5, 10)

# Queries at a time: 1,000 x 25,000 similarities are 100 MB.
_CHUNK = 1000


def scores(images: np.ndarray, texts: np.ndarray, owner: Sequence[int]) -> dict[str, float]:
    """Recall at 1, 5 and 10, and the median rank, in both directions.

    A caption looks for its image among all images. An image looks for its captions among all
    captions, all of its own counted as right: its rank is that of the first of them, once per
    image. Equal similarities count against the right one, so that a model that says the same of
    everything finds nothing.

    Args:
        images: float32 [N, E], of length 1.
        texts: float32 [M, E], of length 1.
        owner: M positions of images: whose caption each is.

    Returns:
        `text_to_image_R@1`, `@5`, `@10` (shares of queries), `text_to_image_median_rank` (from 1),
        and the same for `image_to_text`.
    """
    owner = np.asarray(owner)
    to_image = np.concatenate(
        [_image_ranks(images, texts[part], owner[part]) for part in _parts(len(texts))]
    )
    to_text = np.concatenate(
        [_text_ranks(images, texts, owner, part) for part in _parts(len(images))]
    )
    found: dict[str, float] = {}
    for name, ranks in (("text_to_image", to_image), ("image_to_text", to_text)):
        found |= {f"{name}_R@{k}": float((ranks <= k).mean()) for k in KS}
        found[f"{name}_median_rank"] = float(np.median(ranks))
    return found


def mean_recall(found: dict[str, float]) -> float:
    """The mean of the six recalls."""
    recalls = [value for name, value in found.items() if "_R@" in name]
    return float(np.mean(recalls))


def _parts(count: int) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]


def _image_ranks(images, texts, owner) -> np.ndarray:
    """int [m]: the rank of each caption's image."""
    similar = texts @ images.T  # [m, N]
    right = similar[np.arange(len(texts)), owner]
    return (similar >= right[:, None]).sum(1)  # itself is one of them


def _text_ranks(images, texts, owner, part: slice) -> np.ndarray:
    """int [n]: the rank of the first of each image's captions; those without captions left out."""
    rows = np.arange(len(images))[part]
    rows = rows[np.isin(rows, owner)]
    similar = images[rows] @ texts.T  # [n, M]
    own = owner[None] == rows[:, None]
    best = np.where(own, similar, -np.inf).max(1)
    return 1 + ((similar >= best[:, None]) & ~own).sum(1)
