"""Files as they are read everywhere: whole, bounded, with a reason where they can't be."""

from collections.abc import Iterator
from pathlib import Path

# The largest file that is read as an image: what phones and scanners write is well below.
MAX_FILE = 64 * 2**20


def read_file(path: Path | str) -> tuple[bytes, str]:
    """A file's contents and '', or b'' and why they couldn't be read."""
    try:
        with open(path, "rb") as file:
            # Not by the size it claims: a device or a pipe has none.
            contents = file.read(MAX_FILE + 1)
    except OSError as error:
        return b"", (error.strerror or str(error)).lower()
    except ValueError:  # a NUL in the name
        return b"", "no file can have this name"
    if len(contents) > MAX_FILE:
        return b"", f"larger than {MAX_FILE // 2**20} MiB"
    return contents, ""


def batches(count: int, size: int) -> Iterator[slice]:
    """Slices that cover range(count)."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
