"""Measurements that are compared: taken in turns, so that whatever else a machine does hits all of
them alike, and summed up by their medians.

A *sample* is one measurement: seconds of a call, or bytes. A *figure* is what is printed of it.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

# A call that is shorter is repeated within a sample, as the clock and the scheduler would drown it.
_SHORTEST = 0.1  # seconds


class Unit(NamedTuple):
    """What samples are printed as."""

    name: str
    better: str
    """higher or lower."""
    figure: Callable[[float, float], float]
    """(sample, amount) -> figure."""


RATE = Unit("a second", "higher", lambda seconds, amount: amount / seconds)
MILLISECONDS = Unit("ms", "lower", lambda seconds, amount: 1000 * seconds / amount)
SECONDS = Unit("s", "lower", lambda seconds, amount: seconds / amount)
MEBIBYTES = Unit("MiB", "lower", lambda size, amount: size / amount / 2**20)


@dataclass(frozen=True)
class Contender:
    """One of those that are compared."""

    name: str
    sample: Callable[[], float]
    amount: float = 1.0
    """Images or captions of a sample."""


def timed(call: Callable[[], Any]) -> Callable[[], float]:
    """A sample of a call that ends when its work does: mean seconds of as many calls as take a
    tenth of a second, found out by the first sample."""
    count = 0

    def sample() -> float:
        nonlocal count
        if not count:
            count = max(1, math.ceil(_SHORTEST / max(seconds_of(call), 1e-9)))
        started = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - started) / count

    return sample


def seconds_of(call: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


class Row(NamedTuple):
    """A contender's figures."""

    name: str
    samples: int
    median: float
    quartiles: tuple[float, float]
    ratio: float
    """To the first contender, of the medians."""
    ratio_quartiles: tuple[float, float]
    """Of the ratios round by round: noise that lasts longer than a round is not in them. In few
    rounds the ratio of the medians may lie outside."""


class Comparison:
    """Contenders that are measured round by round, each once a round, in the order given.

    Args:
        name: str. By which scripts find it.
        title: str. What is measured, for people.
        unit: Unit.
        contenders: the first is what the others are compared with.
        notes: lines below the table.
        warm: int. Rounds before the first that counts: graphs are optimised in them.
        most: int or None. The most rounds, where a round takes long.
    """

    def __init__(
        self,
        name: str,
        title: str,
        unit: Unit,
        contenders: Sequence[Contender],
        *,
        notes: Iterable[str] = (),
        warm: int = 1,
        most: int | None = None,
    ):
        self.name, self.title, self.unit = name, title, unit
        self.contenders = tuple(contenders)
        self.notes = list(notes)
        self.samples: dict[str, list[float]] = {one.name: [] for one in self.contenders}
        self._warm, self._most = warm, most

    def measure(self, rounds: int) -> None:
        """Takes the samples; what an interrupt leaves is whole as far as it goes."""
        for _ in range(self._warm):
            for one in self.contenders:
                one.sample()
        for _ in range(min(rounds, self._most or rounds)):
            for one in self.contenders:
                self.samples[one.name].append(one.sample())

    def figures(self, one: Contender) -> list[float]:
        """A contender's samples as figures."""
        return [self.unit.figure(sample, one.amount) for sample in self.samples[one.name]]

    def rows(self) -> list[Row]:
        """The contenders that were measured, as far as the first was, too."""
        first = self.figures(self.contenders[0])
        found = []
        for one in self.contenders:
            mine = self.figures(one)
            if not mine or not first:
                continue
            median = statistics.median(mine)
            ratios = [a / b for a, b in zip(mine, first, strict=False)]
            found.append(
                Row(
                    one.name,
                    len(mine),
                    median,
                    quartiles(mine),
                    median / statistics.median(first),
                    quartiles(ratios),
                )
            )
        return found

    def lines(self) -> list[str]:
        """The table, or nothing where nothing was measured."""
        rows = self.rows()
        if not rows:
            return []
        head = ("", self.unit.name, "quartiles", f"× {short(rows[0].name)}")
        cells = [
            (one.name, number(one.median), span(one.quartiles), f"{one.ratio:.2f}") for one in rows
        ]
        count = rows[0].samples
        title = f"{self.title} ({self.unit.better} is better; median of {count})"
        return [title, *aligned([head, *cells]), *self.notes]

    def result(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "name": self.name,
            "title": self.title,
            "unit": self.unit.name,
            "better": self.unit.better,
            "compared_with": self.contenders[0].name,
            "rows": [one._asdict() for one in self.rows()],
            "notes": self.notes,
        }


def quartiles(figures: Sequence[float]) -> tuple[float, float]:
    """The first and the third quartile, between neighbours in proportion."""
    if len(figures) == 1:
        return figures[0], figures[0]
    low, _, high = statistics.quantiles(figures, n=4, method="inclusive")
    return low, high


def number(figure: float) -> str:
    """Three digits, or all of a large whole number."""
    if figure >= 100:
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"


def span(bounds: Sequence[float]) -> str:
    """'41.0 to 44.2'."""
    return " to ".join(map(number, bounds))


def short(name: str) -> str:
    """A name up to its first comma."""
    return name.partition(",")[0]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows in columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            ["  " + name.ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        ).rstrip()
        for name, *cells in rows
    ]
