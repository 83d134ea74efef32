"""Folders of classes whose pictures are easy to tell apart: what the tests of classes share."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"deep_blue": (40, 40, 200), "green $x$": (40, 200, 40), "red": (200, 40, 40)}


def write(folder: Path, each: int = 10, seed: int = 0) -> Path:
    """DIR/train, DIR/val and DIR/test with a class for each colour: `each`, 2 and 3 pictures."""
    rng = np.random.default_rng(seed)
    for split, count in {"train": each, "val": 2, "test": 3}.items():
        for name, colour in COLOURS.items():
            for number in range(count):
                path = folder / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = rng.normal(0, 20, (40, 40, 3))
                pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(path)
    return folder
