"""Files as they are read everywhere: whole, bounded, with a reason where they can't be; and what
killed processes left of the folders they were writing."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

# The largest file that is read as an image: what phones and scanners write is well below.
MAX_FILE = 64 * 2**20

# The largest pictures read. A baseline JPEG is decoded at a reduced scale and never held whole;
# the others are (4 bytes a pixel for a PNG, 6 for a progressive JPEG's coefficients), so that
# decoding one image takes at most about 300 MB beside its file. 2**25 holds an 8K screen.
MAX_JPEG_PIXELS = 2**26
MAX_PIXELS = 2**25
MAX_SIDE = 2**16 - 1

# A folder being written to which nobody has written for so many seconds is a killed process's.
_ABANDONED = 24 * 3600


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


def remove_abandoned(folder: Path, prefix: str) -> None:
    """Removes what killed processes were writing: gigabytes that nobody would find.

    Args:
        folder: holds folders whose names begin with `prefix` while they are written.
        prefix: begins with a dot. Folders that somebody may still be writing to stay.
    """
    for left in folder.glob(f"{prefix}*"):
        try:
            newest = max(path.stat().st_mtime for path in (left, *left.rglob("*")))
        except OSError:  # gone meanwhile
            continue
        if newest < time.time() - _ABANDONED:
            shutil.rmtree(left, ignore_errors=True)
