"""Captions, embeddings and judgements by one model, in Python, from a run folder or an export.

    import captioner
    model = captioner.load("runs/joint")
    model.caption("photo.jpg").text
    vectors, errors = model.images(["a.jpg", "b.jpg"])
    vectors @ model.texts(["a dog in the snow"]).T
    probabilities, errors = model.match(["a.jpg"], ["a dog in the snow"])

Legend: N images, M texts, E width of the space, P pairs of an image and a text.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner.captioning import Captioner
from captioner.embedding import Embedder, Progress
from captioner.matching import Matcher


class JointModel(Captioner):
    """A captioner that also embeds and judges; `captioner.load` makes one.

    Args:
        *given: as `Captioner` takes it; `call` knows all signatures.
        identity: str. Tells its vectors from those of other weights.
        **options: as `Captioner` takes them.

    Attributes:
        identity: as given.
    """

    def __init__(self, *given: Any, identity: str, **options: Any):
        super().__init__(*given, **options)
        self.identity = identity
        self._matcher = Matcher(self.source, functools.partial(self.call, "match"))

    @functools.cached_property
    def _embedder(self) -> Embedder:
        return Embedder(self.source, self.call, self.identity)

    @property
    def width(self) -> int:
        """E."""
        return self._embedder.width

    def images(
        self, pictures: Sequence[Path | str | bytes], progress: Progress = lambda done, total: None
    ) -> tuple[np.ndarray, list[str]]:
        """Vectors float32 [N, E] and N reasons; see `Embedder.images`."""
        return self._embedder.images(pictures, progress)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors float32 [M, E]; see `Embedder.texts`."""
        return self._embedder.texts(texts)

    def match(
        self,
        pictures: Sequence[Path | str | bytes],
        texts: Sequence[str],
        progress: Progress = lambda done, total: None,
    ) -> tuple[np.ndarray, list[str]]:
        """Probabilities float32 [P] and P reasons; see `Matcher.match`."""
        return self._matcher.match(pictures, texts, progress)
