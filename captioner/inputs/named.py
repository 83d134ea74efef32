"""Image files as a command line names them."""

import glob
from collections.abc import Iterator
from pathlib import Path

from captioner.errors import CaptionerError

ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp")
# What is converted on its way to a model server.
MORE_ENDINGS = (".webp", ".tif", ".tiff", ".avif", ".heic", ".heif")


def expand(words: list[str], endings: tuple[str, ...] = ENDINGS) -> Iterator[str]:
    """Files as they are named; of a folder its images, and what matches a pattern, by name."""
    for word in words:
        path = Path(word)
        if path.is_dir():
            found = sorted(
                str(one) for one in path.rglob("*")
                if one.suffix.lower() in endings and one.is_file()
            )
            if not found:
                raise CaptionerError(f"no images ({', '.join(endings)}) in the folder {word}")
            yield from found
        elif not path.exists() and glob.has_magic(word):
            found = sorted(glob.glob(word, recursive=True))
            if not found:
                raise CaptionerError(f"no file matches {word}")
            yield from found
        else:
            yield word


def printable(name: str) -> str:
    """A file name, which may hold anything, with escapes for what would break a line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
