"""Whether sentences describe images, in Python, from a run folder or an export.

    import captioner
    model = captioner.load("runs/matching")
    probabilities, errors = model.match(["a.jpg", "b.jpg"], ["a dog in the snow"] * 2)

Legend: P pairs of an image and a text.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner.inputs.files import batches, read_file

Call = Callable[[dict[str, list[bytes]]], dict[str, np.ndarray]]
Progress = Callable[[int, int], None]

_PAIRS = 32


class Matcher:
    """Judges pairs of an image and a text; `captioner.load` makes one.

    Args:
        source: Path. What it was loaded from.
        call: called with the inputs of the signature `match` by name, each a list of bytes [B];
            gives its outputs by name, arrays [B].
        keep: what must live as long as this.

    Attributes:
        source, call: as given.
    """

    def __init__(self, source: Path, call: Call, keep: Any = None):
        self.source = source
        self.call = call
        self._keep = keep

    def match(
        self,
        pictures: Sequence[Path | str | bytes],
        texts: Sequence[str],
        progress: Progress = lambda done, total: None,
    ) -> tuple[np.ndarray, list[str]]:
        """How probable it is that each text describes its image: float32 [P], 0 where an image
        can't be read; and P reasons, '' where one was read.

        Args:
            pictures: paths, or files' contents. Pairs of an image that stand together cost less.
            texts: as many.
            progress: told how many pairs are judged, and of how many.

        Raises:
            ValueError: not as many texts as pictures.
        """
        if len(pictures) != len(texts):
            raise ValueError(f"{len(pictures)} pictures and {len(texts)} texts are no pairs")
        found = np.zeros(len(texts), np.float32)
        errors: list[str] = []
        known: tuple[Any, tuple[bytes, str]] = (None, (b"", ""))
        for part in batches(len(texts), _PAIRS):
            read = []
            for one in pictures[part]:
                if known[0] is not one and known[0] != one:
                    known = one, (one, "") if isinstance(one, bytes) else read_file(one)
                read.append(known[1])
            out = self.call(
                {
                    "image_bytes": [contents for contents, _ in read],
                    "text": [text.encode("utf-8", "surrogatepass") for text in texts[part]],
                }
            )
            found[part] = out["probability"]
            errors += [
                reason or error.decode("utf-8", "replace")
                for (_, reason), error in zip(read, out["error"], strict=True)
            ]
            progress(part.stop, len(texts))
        return found, errors
