"""A confusion matrix as a picture: which classes are taken for which.

Legend: C classes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

# More classes than these no picture shows legibly; those that are confused most are drawn.
MOST = 100
_NUMBERED = 30  # so many have room for numbers in the cells
_INCHES = 0.27  # a row's height
_NAME = 28  # characters


def draw(matrix: np.ndarray, names: Sequence[str], path: Path, title: str = "") -> None:
    """Draws a confusion matrix as a PNG.

    A row is a class, shaded by the share of its images that were taken for each column; numbers are
    images. Classes without an image and never found are left out.

    Args:
        matrix: int [C, C], as `metrics.classification.confusion` gives it.
        names: of the classes.
        path: where to; folders are made.
        title: stands above it.
    """
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    kept = shown(matrix)
    if len(kept) < (matrix.sum(0) + matrix.sum(1) > 0).sum():
        title += f"\nthe {len(kept)} classes of {len(names)} that are confused most"
    part = matrix[np.ix_(kept, kept)]
    labels = [_cut(names[row]) for row in kept]
    shares = part / np.maximum(matrix[kept].sum(1, keepdims=True), 1)
    margin = 0.075 * max(map(len, labels), default=0)
    size = max(3.0, _INCHES * len(kept))
    figure = Figure(figsize=(size + margin + 1.4, size + margin + 1.0), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = np.arange(len(kept))
    axes.set_xticks(places, labels, rotation=90, fontsize=8)
    axes.set_yticks(places, labels, fontsize=8)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)  # a $ in a class's name is a $
    axes.set_xticks(places[:-1] + 0.5, minor=True)
    axes.set_yticks(places[:-1] + 0.5, minor=True)
    axes.grid(which="minor", color="0.9", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    axes.set(xlabel="taken for", ylabel="is")
    axes.set_title(title, fontsize=9, parse_math=False)
    if len(kept) <= _NUMBERED:
        for row, column in zip(*np.nonzero(part), strict=True):
            dark = shares[row, column] > 0.5
            axes.text(
                column, row, str(part[row, column]), ha="center", va="center", fontsize=8,
                color="white" if dark else "black",
            )  # fmt: skip
    figure.colorbar(image, ax=axes, shrink=0.6, label="share of the class's images")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, format="png")


def shown(matrix: np.ndarray) -> np.ndarray:
    """Positions of the classes that are drawn, in order: of too many, those that are confused
    most."""
    there = np.flatnonzero(matrix.sum(0) + matrix.sum(1))
    if len(there) <= MOST:
        return there
    wrong = matrix.sum(0) + matrix.sum(1) - 2 * np.diag(matrix)
    order = there[np.argsort(-wrong[there], kind="stable")]
    return np.sort(order[:MOST])


def _cut(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
