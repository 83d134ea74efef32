"""The deletion test's figures as tables: for the terminal and for the page."""

from collections.abc import Mapping
from typing import Any

from captioner.reporting.markup import escaped, table

HEAD = ("covered", "nats lost", "interval", "looked at: more by", "interval")
_COVERED = {
    "looked_at": "the place looked at",
    "random": "any other place",
    "middle": "the middle of the picture",
    "other_words": "places of other words",
}
_SHARES = {
    "words_above_random": "words that lose more than with any other place on average",
    "places_below": "other places that cost a word less (half by chance)",
}


def heading(found: Mapping[str, Any]) -> str:
    """What was done, in a line; `found` is `captioner.deletion.measure`'s."""
    block, grid = (" by ".join(map(str, found[name])) for name in ("block", "grid"))
    return (
        f"{block} of {grid} cells covered, at {found['places']} places; "
        f"{found['words']:,} words of {found['images']:,} captions"
    )


def rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Under `HEAD`: what is covered, what a word loses by it, and how much more it loses with the
    place covered that was looked at."""
    made = []
    for name, label in _COVERED.items():
        gap = found.get(f"over_{name}")
        made.append((label, *_shown(found[name]), *(_shown(gap, "+.3f") if gap else ("", ""))))
    return made


def shares(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Shares in words, with value and interval."""
    return [(label, *_shown(found[name], ".1%")) for name, label in _SHARES.items()]


def _shown(one: Mapping[str, Any], form: str = ".3f") -> tuple[str, str]:
    value, bounds = one["value"], one["interval"]
    return (
        "–" if value is None else format(value, form),
        "–" if bounds is None else " to ".join(format(bound, form) for bound in bounds),
    )


def section(found: Mapping[str, Any] | None) -> list[str]:
    """The page's part about the test, if there was one."""
    if not found:
        return []
    return [
        '<h2 id="deletion">Do the maps mean anything?</h2>',
        "<p>Each caption was read to the model again with a part of its photo covered, which cost "
        "each of its content words some log-probability. The maps are right as far as it costs "
        "most to cover the place that the model looked at for the word. "
        f"{escaped(heading(found).capitalize())}.</p>",
        table("What words lose", HEAD, _cells(rows(found))),
        table("How often", ("share", "value", "interval"), _cells(shares(found))),
        '<p class="note">What is covered takes ImageNet’s mean colour. “Any other place” is the '
        "mean of them all. The middle, where people put what they photograph, is the stricter "
        "comparison; the places of the caption’s other words tell whether a map belongs to its "
        "own word.</p>",
    ]


def _cells(lines) -> list[list[str]]:
    return [[escaped(cell) for cell in line] for line in lines]
