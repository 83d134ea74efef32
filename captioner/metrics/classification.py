"""Scores of a classification: precision, recall and F1 of each class, and who is taken for whom.

Legend: N images, C classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np


def confusion(truth: Sequence[int], found: Sequence[int], classes: int) -> np.ndarray:
    """int64 [C, C]: how many images of a class (row) were taken for a class (column).

    Args:
        truth, found: int [N]. Classes as they are, and as they were found.
        classes: int. C.
    """
    truth, found = np.asarray(truth, np.int64), np.asarray(found, np.int64)
    counts = np.bincount(truth * classes + found, minlength=classes * classes)
    return counts.reshape(classes, classes)


def scores(matrix: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Figures of a confusion matrix.

    Precision is the share of right ones among the images that were taken for a class, recall among
    those that are of it, F1 their harmonic mean; each is 0 where there is nothing to divide by.
    Means over classes are of those that are there or were found: `macro` each alike, `weighted` by
    their images.

    Args:
        matrix: int [C, C], as `confusion` gives it.
        names: the C classes'.

    Returns:
        `accuracy`, `macro_precision`, `macro_recall`, `macro_F1`, `weighted_precision`,
        `weighted_recall`, `weighted_F1`, and `classes`: name to `images`, `precision`, `recall` and
        `F1`.
    """
    right = np.diag(matrix).astype(float)
    images, taken = matrix.sum(1), matrix.sum(0)
    precision, recall = _ratio(right, taken), _ratio(right, images)
    f1 = _ratio(2 * precision * recall, precision + recall)
    there = (images > 0) | (taken > 0)
    columns = {"precision": precision, "recall": recall, "F1": f1}
    made: dict[str, Any] = {"accuracy": float(_ratio(right.sum(), images.sum()))}
    for name, column in columns.items():
        made[f"macro_{name}"] = float(column[there].mean()) if there.any() else 0.0
    for name, column in columns.items():
        made[f"weighted_{name}"] = float(_ratio((column * images).sum(), images.sum()))
    made["classes"] = {
        name: {
            "images": int(images[row]),
            **{measure: float(column[row]) for measure, column in columns.items()},
        }
        for row, name in enumerate(names)
    }
    return made


def always(truth: Sequence[int], answer: int, names: Sequence[str]) -> dict[str, float]:
    """The figures of who takes every image for the same class: accuracy and macro F1."""
    found = scores(confusion(truth, np.full(len(truth), answer), len(names)), names)
    return {name: found[name] for name in ("accuracy", "macro_F1")}


def _ratio(above, below) -> np.ndarray:
    """above / below, 0 where that is 0 / 0."""
    above, below = np.asarray(above, float), np.asarray(below, float)
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
