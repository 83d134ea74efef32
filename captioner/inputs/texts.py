"""Captions without images: `data.text`."""

from pathlib import Path
from typing import NamedTuple

from captioner.errors import CaptionerError
from captioner.inputs.readers_files import csv_rows, text_lines
from captioner.inputs.records import Gatherer, Problems


class Texts(NamedTuple):
    """Captions, and of which image each is where that is known (an image nobody has)."""

    captions: list[str]
    images: list[str] | None
    problems: Problems
    """What was left out."""


def read_texts(path: Path) -> Texts:
    """A CSV file with a column `caption` and, if wanted, `image`; or a caption a line.

    Raises:
        CaptionerError: no file, or no captions in it.
    """
    if not path.is_file():
        raise CaptionerError(f"data.text: no file {path}")
    gather = Gatherer()
    with path.open("rb") as file:
        header = file.readline(4096).decode("utf-8-sig", "replace").strip().lower()
    columns = [name.strip(' "') for name in header.split(",")]
    images = None
    if "caption" in columns:
        rows = [
            (row["caption"], row.get("image", ""))
            for row in csv_rows(path, ("caption",), gather)
            if row["caption"].strip() and row["caption"].isprintable()
        ]
        captions = [caption for caption, _ in rows]
        if "image" in columns:
            # A row without a name belongs with no other.
            images = [image.strip() or f"\0{at}" for at, (_, image) in enumerate(rows)]
    else:
        captions = list(text_lines(path, gather))
    if not captions:
        raise CaptionerError(f"data.text: {path} holds no captions")
    return Texts(captions, images, gather.problems)
