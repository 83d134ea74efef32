"""Which images a page shows: the best, the worst, some at random, and where two models differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Row = Mapping[str, Any]
"""An image as `captioner.evaluation.rows` describes it."""

# Images of each kind: a page of them is about two megabytes.
EACH = 6
FEWER = 3


@dataclass(frozen=True)
class Section:
    """Images that belong together."""

    key: str
    """For links."""
    title: str
    note: str
    rows: tuple[Row, ...]


def choose(rows: Sequence[Row], seed: int = 0) -> list[Section]:
    """The sections of a page; an image stands in one only, and a section without any is left out.

    Best and worst are by CIDEr, between equals by ROUGE_L, then by id. With another model, the
    images come first on which CIDEr of the two differs most.
    """
    left = sorted(rows, key=lambda row: (-row["CIDEr"], -row["ROUGE_L"], str(row["image_id"])))
    # Of few images, each kind gets its part: best first, worst last.
    each = min(EACH, -(-len(left) // 3))
    best, worst = left[:each], left[each:][-each:][::-1]
    left = left[each : len(left) - len(worst)]
    random = np.random.default_rng(seed).permutation(len(left))[:each]
    chance = [left[place] for place in sorted(random)]
    sections = [
        Section("best", "The best captions", "The highest CIDEr.", tuple(best)),
        Section("worst", "The worst captions", "The lowest CIDEr, the lowest first.", tuple(worst)),
        Section(
            "random",
            "Random captions",
            f"Drawn from all the other images (seed {seed}), the highest CIDEr first.",
            tuple(chance),
        ),
    ]
    left = [left[place] for place in sorted(set(range(len(left))) - set(random.tolist()))]
    if "against" in rows[0]:
        sections += _differing(left)
    return [section for section in sections if section.rows]


def _differing(rows: Sequence[Row]) -> list[Section]:
    gains = sorted(rows, key=lambda row: row["against"]["CIDEr"] - row["CIDEr"])
    won = [row for row in gains if row["CIDEr"] > row["against"]["CIDEr"]][:FEWER]
    lost = [row for row in gains[::-1] if row["CIDEr"] < row["against"]["CIDEr"]][:FEWER]
    note = "The largest differences of CIDEr among the images not shown above."
    return [
        Section("won", "Better than the other model", note, tuple(won)),
        Section("lost", "Worse than the other model", note, tuple(lost)),
    ]
