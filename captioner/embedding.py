"""Images and texts as points of one space, in Python, from a run folder or an export of two towers.

    import captioner
    model = captioner.load("runs/lit")
    vectors, errors = model.images(["a.jpg", "b.jpg"])
    vectors @ model.texts(["a dog in the snow"]).T            # cosine similarities

Legend: N images, M texts, E width of the space.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner.inputs.files import batches, read_file

Call = Callable[[str, dict[str, list[bytes]]], dict[str, np.ndarray]]
Progress = Callable[[int, int], None]

_IMAGES = 32
_TEXTS = 64


class Embedder:
    """Embeds images and texts; `captioner.load` makes one.

    Args:
        source: Path. What it was loaded from.
        call: called with a signature's name and its inputs by name, each a list of bytes [B];
            gives its outputs by name, arrays [B, ...].
        identity: str. Tells its vectors from those of other weights.
        keep: what must live as long as this.

    Attributes:
        source, call, identity: as given.
        width: int. E.
    """

    def __init__(self, source: Path, call: Call, identity: str, keep: Any = None):
        self.source = source
        self.call = call
        self.identity = identity
        self.width = self.texts([""]).shape[1]
        self._keep = keep

    def images(
        self, pictures: Sequence[Path | str | bytes], progress: Progress = lambda done, total: None
    ) -> tuple[np.ndarray, list[str]]:
        """float32 [N, E], of length 1, and N reasons, '' where an image was read; the vectors of
        those that weren't are zero.

        Args:
            pictures: paths, or files' contents.
            progress: told how many are done, and of how many.
        """
        vectors = np.zeros((len(pictures), self.width), np.float32)
        errors: list[str] = []
        for part in batches(len(pictures), _IMAGES):
            read = [
                (one, "") if isinstance(one, bytes) else read_file(one) for one in pictures[part]
            ]
            out = self.call("embed_image", {"image_bytes": [contents for contents, _ in read]})
            vectors[part] = out["embedding"]
            errors += [
                reason or error.decode("utf-8", "replace")
                for (_, reason), error in zip(read, out["error"], strict=True)
            ]
            progress(part.stop, len(pictures))
        return vectors, errors

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [M, E], of length 1."""
        coded = [text.encode("utf-8", "surrogatepass") for text in texts]
        if not coded:
            return np.zeros((0, self.width), np.float32)
        # Texts of a length together: the graph reads as many pieces as the longest has.
        order = np.argsort([len(text) for text in coded], kind="stable")
        found: np.ndarray | None = None
        for part in batches(len(coded), _TEXTS):
            rows = order[part]
            made = self.call("embed_text", {"text": [coded[row] for row in rows]})["embedding"]
            if found is None:
                found = np.zeros((len(coded), made.shape[1]), np.float32)
            found[rows] = made
        return found
