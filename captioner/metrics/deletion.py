"""What words lose when a part of the picture is covered: whether attention maps mean something.

A map claims that the model needed one part of the picture for a word. So that part is covered, and
the word should become less probable than with any other part covered that is as large: the
deletion test of Petsiuk et al. (2018, "RISE", section 4.1) in its smallest form, one block of the
grid, which is moved to every place that it fits. Every place is tried, so the figures of a place
chosen at random are exact means and no draws.

Legend: N images, W words of a caption, H, C rows and columns of the image grid, P places.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from captioner.metrics import bootstrap

# The block's share of a side: 3 of 7 cells, so that it covers a fifth of the picture.
_SHARE = 3 / 7
# The most places along a side: finer grids are stepped through.
_PLACES = 5

# Where a word's block may be put, and the figures formed of it.
CONTROLS = ("random", "middle", "other_words")
EQUAL = 1e-6  # nats: closer drops are the same but for rounding


@dataclass(frozen=True)
class Places:
    """A block of cells and the places of the grid that it is put to."""

    grid: tuple[int, int]
    """H, C."""
    block: tuple[int, int]
    """Its rows and columns."""
    corners: tuple[tuple[int, int], ...]
    """The first row and column of the block at each place; P of them."""

    @property
    def middle(self) -> int:
        """The place whose block is nearest the middle of the grid; the first of equals."""
        away = 2 * np.array(self.corners) + self.block - np.array(self.grid)
        return int(np.argmin((away**2).sum(1)))

    def looked_at(self, maps: np.ndarray) -> np.ndarray:
        """The place that holds most of each map: int [W] from [W, H, C]; the first of equals."""
        (rows, columns), maps = self.block, np.asarray(maps, np.float64)
        sums = [maps[:, r : r + rows, c : c + columns].sum((1, 2)) for r, c in self.corners]
        return np.argmax(np.round(sums, 12), axis=0)


def places(rows: int, columns: int) -> Places:
    """The block for a grid of this size: 3 by 3 cells and 25 places for 7 by 7."""
    block = tuple(max(1, round(_SHARE * cells)) for cells in (rows, columns))
    starts = [
        np.unique(np.rint(np.linspace(0, cells - size, _PLACES)).astype(int)).tolist()
        for cells, size in zip((rows, columns), block, strict=True)
    ]
    corners = tuple((row, column) for row in starts[0] for column in starts[1])
    return Places((rows, columns), block, corners)


@dataclass(frozen=True)
class Words:
    """The words of one image's caption that are tested."""

    words: tuple[str, ...]
    drops: np.ndarray
    """float [W, P]: nats by which each word's log-probability falls with the block at a place."""
    looked_at: np.ndarray
    """int [W]: the place of its map (`Places.looked_at`)."""
    middle: int
    """The place in the middle of the picture (`Places.middle`)."""


def figures(found: Sequence[Words], *, seed: int = 0) -> dict[str, Any]:
    """What covering the places looked at does to words, against other places.

    Args:
        found: of each image; those without words count for nothing.
        seed: int. Of the resamples of the images.

    Returns:
        `images` and `words` (those tested), and by name `value` and `interval` ([low, high] at
        `bootstrap.LEVEL` over the images; None of fewer than two images), means over words:

        - `looked_at`: nats that a word loses with the place covered that was looked at for it;
        - `random`: with any other place, all of them alike;
        - `middle`: with the middle of the picture, where photographers put what they mean;
        - `other_words`: with the places looked at for the caption's other words;
        - `over_random`, `over_middle`, `over_other_words`: the first minus each of these, over the
          words that have both;
        - `words_above_random`: the share of words that lose more than with a random place on
          average;
        - `places_below`: of all other places, the share that costs the word less (equal ones half);
          half without any relation between map and word.

        A figure that can't be formed (one place, captions of one word) is None.
    """
    found = [one for one in found if len(one.words)]
    names = ("looked_at", *CONTROLS, *(f"over_{name}" for name in CONTROLS))
    names += ("words_above_random", "places_below")
    above, below = np.zeros([2, len(found), len(names)])
    for row, one in enumerate(found):
        columns = _compared(one)
        for column, name in enumerate(names):
            values = columns[name][~np.isnan(columns[name])]
            above[row, column], below[row, column] = values.sum(), len(values)
    bounds = bootstrap.ratio_intervals(above, below, seed=seed)
    result: dict[str, Any] = {
        "images": len(found),
        "words": sum(len(one.words) for one in found),
    }
    for column, name in enumerate(names):
        count = below[:, column].sum()
        result[name] = {
            "value": float(above[:, column].sum() / count) if count else None,
            "interval": None if np.isnan(bounds[column]).any() else bounds[column].tolist(),
        }
    return result


def _compared(one: Words) -> dict[str, np.ndarray]:
    """Each figure word by word, [W], NaN where a word has none."""
    words, size = one.drops.shape
    drops = np.asarray(one.drops, np.float64)
    mine = drops[np.arange(words), one.looked_at]
    others = np.arange(size)[None] != one.looked_at[:, None]  # [W, P]
    lower = (drops < mine[:, None] - EQUAL) + 0.5 * (np.abs(drops - mine[:, None]) <= EQUAL)
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = {
            "looked_at": mine,
            "random": (drops * others).sum(1) / others.sum(1),
            "middle": drops[:, one.middle],
            "other_words": (drops[:, one.looked_at].sum(1) - mine) / (words - 1),
            "places_below": (lower * others).sum(1) / others.sum(1),
        }
    for name in CONTROLS:
        columns[f"over_{name}"] = mine - columns[name]
    gap = columns["over_random"]
    columns["words_above_random"] = np.where(np.isnan(gap), np.nan, gap > EQUAL)
    return columns
