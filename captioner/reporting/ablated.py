"""The table of an ablation, in Markdown."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

# The variants that aren't named by the part they leave out.
FULL, PLAIN = "full", "plain"

# Scores that the table calls otherwise than scores.json.
_NAMES = {
    "BLEU_4": "BLEU-4",
    "text_to_image_R@10": "text to image R@10",
    "image_to_text_R@10": "image to text R@10",
    "ROC_AUC": "ROC AUC",
    "hard.ROC_AUC": "hard ROC AUC",
    "hard.accuracy": "hard accuracy",
}


class Row(NamedTuple):
    """What is known of a variant of a recipe, over its seeds."""

    name: str
    """The part left out, `FULL` or `PLAIN`."""
    about: str
    searched: bool
    """Whether it is the full model with another search, which needs no training."""
    wanted: int
    """Seeds that were asked for; the lists hold what is there of them."""
    scores: dict[str, list[float]]
    """By name, what the table shows; by the first, variants are compared."""
    minutes: list[float]
    errors: list[str]
    instead: bool = False
    """Whether it puts something in a part's place, and leaves none out."""

    @property
    def first(self) -> list[float]:
        """The scores that variants are compared by."""
        return next(iter(self.scores.values()))


def table(rows: Sequence[Row], split: str) -> str:
    """Markdown: the full recipe, what is left without each part by falling loss, the plain model;
    then what a reader must know to judge the differences."""
    full = next((one for one in rows if one.name == FULL), None)
    mean = statistics.fmean(full.first) if full and full.first else None
    ends = {FULL: 0, PLAIN: 2}

    def place(one: Row) -> tuple[int, float]:
        # What isn't scored yet stands last of its kind.
        score = statistics.fmean(one.first) if one.first else float("inf")
        return ends.get(one.name, 1), score

    first, *others = (_NAMES.get(name, name) for name in rows[0].scores)
    what = "changed" if any(one.instead for one in rows) else "left out"
    head = (what, "", first, "spread", *others, "to full", "seeds", "minutes")
    lines = [head, ("---", "---", *["---:"] * (len(head) - 2))]
    lines += [_cells(one, mean) for one in sorted(rows, key=place)]
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    failed = [f"{one.name}: {error}" for one in rows for error in one.errors]
    return "\n\n".join([text, *_notes(full, (first, *others), split), *failed])


def _cells(one: Row, full: float | None) -> tuple[str, ...]:
    name = {FULL: "–", PLAIN: "everything"}.get(one.name, one.name)
    mean, *others = (statistics.fmean(found) if found else None for found in one.scores.values())
    spread = statistics.stdev(one.first) if len(one.first) > 1 else None
    gap = None if mean is None or full is None or one.name == FULL else mean - full
    about = _escaped(one.about) + (" (failed, see below)" if one.errors else "")
    done = len(one.first)
    minutes = statistics.fmean(one.minutes) if one.minutes else None
    return (
        name,
        about,
        _shown(mean),
        _shown(spread),
        *map(_shown, others),
        _shown(gap, "+.3f"),
        str(done) if done == one.wanted else f"{done} of {one.wanted}",
        "none" if one.searched else _shown(minutes, ".1f"),
    )


def _notes(full: Row | None, names: Sequence[str], split: str) -> list[str]:
    said = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    notes = [f"{said} on {split}, means over the seeds; spread: standard deviation."]
    if full and len(full.first) > 1:
        spread, seeds = statistics.stdev(full.first), len(full.first)
        # Of one run minus the mean of several.
        noise = spread * (1 + 1 / seeds) ** 0.5
        notes.append(
            f"The difference of one run to the full recipe's {seeds} has a standard deviation of "
            f"{noise:.3f} by the seed alone: less than twice that means nothing."
        )
    elif full and full.first:
        notes.append("One run of the full recipe tells nothing of its spread.")
    return notes


def _shown(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None else format(value, form)


def _escaped(text: str) -> str:
    """Text for a cell."""
    return text.replace("\\", "\\\\").replace("|", "\\|")
