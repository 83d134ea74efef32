"""Classes of images, in Python, from a run folder or an export of a classifier.

    import captioner
    model = captioner.load("runs/classify")
    found, = model.classify(["photo.jpg"])
    found.classes[0], found.probabilities[0]

Legend: B batch, K classes given of an image.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner.inputs.files import batches, read_file

Call = Callable[[list[bytes]], dict[str, np.ndarray]]
Progress = Callable[[int, int], None]

_BATCH = 32


class Found(NamedTuple):
    """What an image shows.

    Attributes:
        classes: names, the most probable first; none where the image couldn't be read.
        probabilities: as many.
        error: why it couldn't be read, or None.
    """

    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    error: str | None


class Classifier:
    """Says which class an image is of; `captioner.load` makes one.

    Args:
        source: Path. What it was loaded from.
        call: called with files' contents, [B]; gives `classes` [B, K], `probabilities` [B, K] and
            `error` [B].
        classes: the names of all classes; empty where that isn't known.
        keep: what must live as long as this.

    Attributes:
        source, classes: as given.
    """

    def __init__(self, source: Path, call: Call, classes: Sequence[str] = (), keep: Any = None):
        self.source = source
        self.classes = tuple(classes)
        self._call = call
        self._keep = keep

    def classify(
        self, pictures: Sequence[Path | str | bytes], progress: Progress = lambda done, total: None
    ) -> list[Found]:
        """What each picture shows.

        Args:
            pictures: paths, or files' contents.
            progress: told how many are done, and of how many.
        """
        found: list[Found] = []
        for part in batches(len(pictures), _BATCH):
            read = [
                (one, "") if isinstance(one, bytes) else read_file(one) for one in pictures[part]
            ]
            out = self._call([contents for contents, _ in read])
            rows = zip(read, out["classes"], out["probabilities"], out["error"], strict=True)
            for (_, reason), names, chances, error in rows:
                why = reason or error.decode("utf-8", "replace")
                if why:
                    found.append(Found((), (), why))
                else:
                    named = tuple(name.decode("utf-8", "replace") for name in names)
                    found.append(Found(named, tuple(map(float, chances)), None))
            progress(part.stop, len(pictures))
        return found
