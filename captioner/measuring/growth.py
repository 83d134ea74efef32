"""How time and memory grow with batch, beams, tokens, vocabulary, image side and data set.

Every size is measured in a process of its own, as memory that was once held is not given back.
"""

import functools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from captioner.measuring import vectors
from captioner.measuring.bench import Bench
from captioner.measuring.comparison import aligned, number
from captioner.measuring.processes import child
from captioner.photo_index import usearch_index

# What is measured where nothing else is said, and the sizes of what grows.
BASE = {"batch": 8, "beams": 5, "tokens": 24, "vocabulary": 2600, "side": 224}
SIZES = {
    "batch": (1, 2, 8, 32, 64),
    "beams": (1, 3, 5, 10, 20),
    "tokens": (12, 24, 48, 96),
    "vocabulary": (1300, 2600, 5200, 10_000),
    "side": (224, 320, 448),
}
RECORDS = VECTORS = (1000, 10_000, 100_000, 1_000_000)

_TITLES = {
    "batch": "photographs at once",
    "beams": "beams",
    "tokens": "tokens a caption",
    "vocabulary": "WordPieces",
    "side": "pixels of the image's side",
}


class Column(NamedTuple):
    """A figure of a size."""

    key: str
    """Of what `child.py` gives."""
    heading: str
    scale: float = 1.0


_MS, _MIB = 1000.0, 2.0**-20
_CAPTIONING = (
    Column("seconds", "ms a call", _MS),
    Column("peak_bytes", "peak MiB", _MIB),
    Column("call_bytes", "of it, for calls", _MIB),
)
_RECORDS = (
    Column("read_seconds", "s to tokenise"),
    Column("records_bytes", "MiB of records", _MIB),
    Column("held_bytes", "of captions", _MIB),
    Column("batches_bytes", "of an epoch", _MIB),
    Column("first_seconds", "s to its first batch"),
    Column("step_seconds", "ms a batch", _MS),
)
_SEARCH = (
    Column("search_seconds", "ms a search", _MS),
    Column("recall", "of the ten nearest, found"),
    Column("search_bytes", "MiB for searching", _MIB),
    Column("disk_bytes", "MiB on the disk", _MIB),
    Column("build_seconds", "s to build"),
)


class Growth:
    """A table of sizes.

    Args:
        name: str. By which scripts find it.
        title: str. For people.
        grows: str. What the sizes are of.
        sizes: the smallest first.
        columns: the figures of each. Of the first, growth is shown, too.
        measure: function. A size -> what was found, by the columns' keys.
        power: int. What linear means: 2 for the side of a square.
        notes: lines below the table.
    """

    def __init__(
        self,
        name: str,
        title: str,
        grows: str,
        sizes: Sequence[int],
        columns: Sequence[Column],
        measure: Callable[[int], dict[str, float]],
        *,
        power: int = 1,
        notes: Sequence[str] = (),
    ):
        self.name, self.title, self.notes = name, title, list(notes)
        self._grows, self._sizes, self._columns = grows, sizes, columns
        self._measure, self._power = measure, power
        self._found: list[tuple[int, dict[str, float]]] = []

    def measure(self, rounds: int) -> None:
        """A process for each size; `rounds` are for what is compared."""
        del rounds
        for size in self._sizes:
            self._found.append((size, self._measure(size)))

    def rows(self) -> list[dict[str, float]]:
        """The sizes that were measured. `growth` is 1 where the first column grew as much as the
        size did since the first row, and above 1 where it grew more."""
        rows = []
        for size, known in self._found:
            row = {self._grows: size}
            row |= {one.key: known[one.key] for one in self._columns}
            first_size, first = self._found[0]
            key = self._columns[0].key
            more = (size / first_size) ** self._power
            row["growth"] = known[key] / first[key] / more
            rows.append(row)
        return rows

    def lines(self) -> list[str]:
        """The table."""
        rows = self.rows()
        if not rows:
            return []
        square = "²" if self._power == 2 else ""
        head = ("", *(one.heading for one in self._columns), f"growth / {self._grows}{square}")
        cells = [
            (
                f"{row[self._grows]:,}",
                *(number(row[one.key] * one.scale) for one in self._columns),
                f"{row['growth']:.2f}",
            )
            for row in rows
        ]
        return [self.title, *aligned([head, *cells]), *self.notes]

    def result(self) -> dict[str, Any]:
        """All of it, as JSON has it: seconds and bytes."""
        return {
            "name": self.name,
            "title": self.title,
            "unit": "seconds and bytes",
            "better": "lower",
            "rows": self.rows(),
            "notes": self.notes,
        }


def growth(bench: Bench) -> Iterator[Growth]:
    """The tables."""
    common = ", ".join(f"{name} {size:,}" for name, size in BASE.items())
    for name, sizes in SIZES.items():
        yield Growth(
            f"growth, {name}",
            f"captioning by {_TITLES[name]}; otherwise {common}",
            name,
            sizes,
            _CAPTIONING,
            functools.partial(_captioning, name),
            power=2 if name == "side" else 1,
            notes=["  random weights, no text encoder, captions of the full length"],
        )
    yield Growth(
        "growth, records",
        "making training batches by data set: synthetic records, a caption each",
        "records",
        RECORDS,
        _RECORDS,
        lambda size: child("records", {"count": size}),
        notes=["  the growth is of the seconds to tokenise; features stay on the disk"],
    )


def search(bench: Bench) -> Iterator[Growth]:
    """The table of an index of photographs; it needs the extra `search`."""
    usearch_index()
    yield Growth(
        "growth, vectors",
        "an index of photographs by their number: synthetic vectors, one search at a time",
        "vectors",
        VECTORS,
        _SEARCH,
        functools.partial(_searching, bench.folder),
        notes=[f"  {vectors.ABOUT}"],
    )


def _searching(folder: Path, size: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        built = child("index", {"folder": place, "count": size})
        return built | child("find", {"folder": place})


def _captioning(name: str, size: int) -> dict[str, float]:
    known = child("caption", {**BASE, name: size})
    return known | {"call_bytes": known["peak_bytes"] - known["before_bytes"]}
