"""What `captioner.predict` prints of images where it doesn't caption them: a line each, or JSON."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from captioner.inputs.named import printable

_BATCH = 16


class Said(NamedTuple):
    """What there is to say of an image.

    Attributes:
        row: of JSON, beside the image and the error.
        line: of text. Not printed where there is an error.
        error: why the image couldn't be read; None, or empty, where it could.
    """

    row: dict[str, Any]
    line: str
    error: str | None


def show(
    images: Sequence[str], say: Callable[[Sequence[str]], Iterable[Said]], as_json: bool
) -> int:
    """Prints the images in the order given.

    Args:
        images: files.
        say: (a few of the images) -> what to say of each.
        as_json: whether to print an object a line.

    Returns:
        1 if one of them couldn't be read, else 0.
    """
    failed = False
    for start in range(0, len(images), _BATCH):
        chunk = images[start : start + _BATCH]
        for image, said in zip(chunk, say(chunk), strict=True):
            failed |= bool(said.error)
            if as_json:
                row = {"image": image, **said.row, "error": said.error or None}
                print(json.dumps(row), flush=True)
            elif said.error:
                print(f"{printable(image)}: {said.error}", file=sys.stderr)
            else:
                print(f"{printable(image)}\t{said.line}", flush=True)
    return 1 if failed else 0
