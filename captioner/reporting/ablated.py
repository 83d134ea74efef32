"""The table of an ablation, in Markdown."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

# The variants that aren't named by the part they leave out.
FULL, PLAIN = "full", "plain"


class Row(NamedTuple):
    """What is known of a variant of a recipe, over its seeds."""

    name: str
    """The part left out, `FULL` or `PLAIN`."""
    about: str
    searched: bool
    """Whether it is the full model with another search, which needs no training."""
    wanted: int
    """Seeds that were asked for; the lists hold what is there of them."""
    ciders: list[float]
    bleus: list[float]
    minutes: list[float]
    errors: list[str]


def table(rows: Sequence[Row], split: str) -> str:
    """Markdown: the full recipe, what is left without each part by falling loss, the plain model;
    then what a reader must know to judge the differences."""
    full = next((one for one in rows if one.name == FULL), None)
    mean = statistics.fmean(full.ciders) if full and full.ciders else None
    ends = {FULL: 0, PLAIN: 2}

    def place(one: Row) -> tuple[int, float]:
        # What isn't scored yet stands last of its kind.
        score = statistics.fmean(one.ciders) if one.ciders else float("inf")
        return ends.get(one.name, 1), score

    head = ("left out", "", "CIDEr", "spread", "BLEU-4", "to full", "seeds", "minutes")
    lines = [head, ("---", "---", *["---:"] * 6)]
    lines += [_cells(one, mean) for one in sorted(rows, key=place)]
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    failed = [f"{one.name}: {error}" for one in rows for error in one.errors]
    return "\n\n".join([text, *_notes(full, split), *failed])


def _cells(one: Row, full: float | None) -> tuple[str, ...]:
    name = {FULL: "–", PLAIN: "everything"}.get(one.name, one.name)
    mean = statistics.fmean(one.ciders) if one.ciders else None
    spread = statistics.stdev(one.ciders) if len(one.ciders) > 1 else None
    gap = None if mean is None or full is None or one.name == FULL else mean - full
    about = _escaped(one.about) + (" (failed, see below)" if one.errors else "")
    done = len(one.ciders)
    minutes = statistics.fmean(one.minutes) if one.minutes else None
    return (
        name,
        about,
        _shown(mean),
        _shown(spread),
        _shown(statistics.fmean(one.bleus) if one.bleus else None),
        _shown(gap, "+.3f"),
        str(done) if done == one.wanted else f"{done} of {one.wanted}",
        "none" if one.searched else _shown(minutes, ".1f"),
    )


def _notes(full: Row | None, split: str) -> list[str]:
    notes = [f"CIDEr and BLEU-4 on {split}, means over the seeds; spread: standard deviation."]
    if full and len(full.ciders) > 1:
        spread, seeds = statistics.stdev(full.ciders), len(full.ciders)
        # Of one run minus the mean of several.
        noise = spread * (1 + 1 / seeds) ** 0.5
        notes.append(
            f"The difference of one run to the full recipe's {seeds} has a standard deviation of "
            f"{noise:.3f} by the seed alone: less than twice that means nothing."
        )
    elif full and full.ciders:
        notes.append("One run of the full recipe tells nothing of its spread.")
    return notes


def _shown(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None else format(value, form)


def _escaped(text: str) -> str:
    """Text for a cell."""
    return text.replace("\\", "\\\\").replace("|", "\\|")
