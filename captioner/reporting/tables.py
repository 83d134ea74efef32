"""An evaluation's figures as tables: the same rows for the terminal and for the page."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from captioner.metrics.assessment import FAULTS
from captioner.reporting import deleted

# What is counted of captions: name to words for people.
NAMES = {
    "words": "words a caption",
    "words_spread": "their standard deviation",
    "vocabulary": "different words used",
    "different_captions": "captions unlike the others",
    "novel": "captions not in the training data",
    "repeated_word": "a word twice in a row",
    "repeated_bigram": "two words in a row, twice",
    "repeated_trigram": "three words in a row, twice",
    "bad_ending": "end in an article, preposition, …",
    "hallucinated_objects": "objects that no reference names",
    "captions_with_hallucinations": "captions that name such an object",
}
_PLAIN = ("words", "words_spread", "vocabulary")  # the others are shares

SCORES = ("BLEU_1", "BLEU_2", "BLEU_3", "BLEU_4", "ROUGE_L", "CIDEr")


class Difference(NamedTuple):
    """A row of a comparison, ready to print."""

    name: str
    model: str
    other: str
    difference: str
    interval: str
    p: str
    better: str
    worse: str


def number(value: float | None, digits: int = 4) -> str:
    """A score; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def counted(name: str, value: float | int | None) -> str:
    """One of `NAMES`, shares in per cent."""
    if value is None:
        return "–"
    if name not in _PLAIN:
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.1f}"


def interval(bounds: list[float] | None, name: str = "CIDEr", signed: bool = False) -> str:
    """'0.36 to 0.50', as far as there is one."""
    if bounds is None:
        return "–"
    return " to ".join(_figure(name, value, signed) for value in bounds)


def differences(comparison: Mapping[str, Any]) -> list[Difference]:
    """The rows of a comparison (`captioner.evaluation.Outcome.scores["comparison"]`)."""
    rows = []
    for name, found in comparison["measures"].items():
        better, worse = found["higher"], found["lower"]
        if name in FAULTS:
            better, worse = worse, better
        elif name not in SCORES:
            better = worse = None
        rows.append(
            Difference(
                NAMES.get(name, name),
                _figure(name, found["model"]),
                _figure(name, found["other"]),
                _figure(name, found["difference"], signed=True),
                interval(found["interval"], name, signed=True),
                number(found["p"]),
                "–" if better is None else str(better),
                "–" if worse is None else str(worse),
            )
        )
    return rows


def _figure(name: str, value: float | None, signed: bool = False) -> str:
    if value is None:
        return "–"
    text = f"{abs(value):.3f}" if name in SCORES else counted(name, abs(value))
    sign = "-" if value < 0 else "+" if signed and value > 0 else ""
    return sign + text


def table(scores: Mapping[str, Any]) -> str:
    """All that scores.json has, as lines of text; scores are on the official scale."""
    return "\n".join(
        [
            *_scores(scores),
            *_captions(scores),
            *_prompts(scores.get("prompts")),
            *_comparison(scores.get("comparison")),
            *_deletion(scores.get("deletion")),
        ]
    )


def _scores(scores) -> list[str]:
    intervals = scores.get("intervals", {})
    lines = []
    for name, value in scores.items():
        if isinstance(value, float):
            bounds = intervals.get(name)
            lines.append(f"{name:8} {value:.4f}" + (f"  {interval(bounds)}" if bounds else ""))
        elif value is None:
            lines.append(f"{name:8} not measured (needs Java and captioner[java])")
        elif name == "images":
            lines.append(f"{name:8} {value}")
    return lines


def _captions(scores) -> list[str]:
    if "captions" not in scores:
        return []
    people, intervals = scores.get("captions_of_people", {}), scores.get("intervals", {})
    rows = [("captions", "model", "interval", "people")]
    for name, value in scores["captions"].items():
        bounds = interval(intervals.get(name), name)
        rows.append((NAMES[name], counted(name, value), bounds, counted(name, people.get(name))))
    return ["", *_aligned(rows)]


def _prompts(prompts) -> list[str]:
    if not prompts:
        return []
    used = "words_used" if "words_used" in prompts else "continued"
    share = prompts[used]
    says = {"words_used": "words used", "continued": "word for word"}[used]
    lines = [
        "",
        f"prompts: {prompts['kind']}, seed {prompts['seed']}, "
        f"{prompts['images_with_prompt']} images; {says}: "
        f"{'–' if share is None else format(share, '.1%')}",
    ]
    rows = [("CIDEr", "prompted", "unprompted", "change", "prompt alone")]
    for name, label in PROMPT_ROWS.items():
        if found := prompts[name]:
            rows.append(
                (
                    label,
                    number(found["prompted"]),
                    number(found["unprompted"]),
                    change(found["prompted"], found["unprompted"]),
                    number(found["prompt_alone"]),
                )
            )
    lines += _aligned(rows)
    return [*lines, *_comparison(prompts["comparison"])]


PROMPT_ROWS = {
    "CIDEr": "all references",
    "CIDEr_of_other_references": "without the prompt's own",
}


def change(value: float, before: float) -> str:
    """'+40.0%'; a dash from nothing."""
    return f"{value / before - 1:+.1%}" if before > 0 else "–"


def _comparison(comparison) -> list[str]:
    if not comparison:
        return []
    head = ("difference to", "model", "other", "difference", "interval", "p", "better", "worse")
    lines = ["", f"compared with {comparison['other']}, on {comparison['images']} images"]
    return [*lines, *_aligned([head, *differences(comparison)])]


def _deletion(found) -> list[str]:
    if not found:
        return []
    lines = ["", f"deletion: {deleted.heading(found)}"]
    lines += _aligned([deleted.HEAD, *deleted.rows(found)])
    return [*lines, "", *_aligned(deleted.shares(found))]


def _aligned(rows) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        numbers = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *numbers]))
    return lines
