"""Judgements of images and sentences as one HTML page: figures, curves, and the surest mistakes."""

from collections.abc import Mapping, Sequence
from typing import Any

from captioner.metrics.matching import confusion, roc_curve
from captioner.reporting import charts
from captioner.reporting.markup import escaped, pairs, table
from captioner.reporting.page import document
from captioner.reporting.pictures import photo, picture

Row = Mapping[str, Any]

# Photographs of each kind of mistake.
_EACH = 6

_MEASURES = ("accuracy", "precision", "recall", "F1", "ROC_AUC")
_WRONG = {"drawn": "Drawn captions", "hard": "Hard captions"}
_SECTIONS = (
    ("missed", "Its own captions, called wrong", "own", False),
    ("taken", "Drawn captions, called right", "drawn", True),
    ("fooled", "Hard captions, called right", "hard", True),
)


def page(
    scores: Mapping[str, Any],
    figures: Sequence[tuple[str, Mapping[str, float]]],
    rows: Sequence[Row],
) -> str:
    """The page of an evaluation.

    Args:
        scores: what scores.json holds, with its `settings`.
        figures: the rows of its table: what is scored, and its figures.
        rows: all pairs: `image`, `image_id`, `text`, `kind`, `right` and `probability`.

    Returns:
        str: the HTML document.
    """
    settings = scores["settings"]
    facts = {
        "model": settings["model"],
        "data": settings["data"],
        "split": settings["split"],
        "images": f"{scores['images']:,}",
        "pairs": f"{scores['pairs']:,}",
    }
    cells = [
        [escaped(name), *(f"{one[measure]:.3f}" for measure in _MEASURES)] for name, one in figures
    ]
    parts = [
        "<header><h1>What the matching model scores</h1>"
        + pairs((name, str(value)) for name, value in facts.items())
        + "</header>\n<main>",
        '<h2 id="scores">Scores</h2>',
        table("Right pairs and as many wrong ones", ("pairs", *_MEASURES), cells),
        '<p class="note">Drawn captions are those of any other image of the split; hard ones those '
        "of another image that share most content words. Some may fit all the same: nobody has "
        "looked.</p>",
        *(part for kind, title in _WRONG.items() for part in _kind(rows, kind, title)),
        *(part for one in _SECTIONS for part in _mistakes(rows, *one)),
    ]
    footer = escaped(f"Made by captioner {settings['captioner']}. Scored by {settings['scorers']}.")
    return document(f"captioner: {settings['model']}", parts, footer)


def _kind(rows: Sequence[Row], kind: str, title: str) -> list[str]:
    """The curve and the counts against one kind of wrong captions."""
    used = [row for row in rows if row["kind"] in ("own", kind)]
    scored, right = [row["probability"] for row in used], [row["right"] for row in used]
    found = confusion(scored, right)
    cells = [
        ["its own", str(found["true_positive"]), str(found["false_negative"])],
        ["another’s", str(found["false_positive"]), str(found["true_negative"])],
    ]
    drawn = charts.curve(*roc_curve(scored, right), ("false alarms", "found"))
    return [
        f"<h3>{escaped(title)}</h3>",
        table("Judgements at 0.5", ("caption is", "called right", "called wrong"), cells),
        f'<div class="wide">{drawn}</div>',
        '<p class="note">ROC curve: the share of its own captions that is called right (up) at the '
        "price of which share of others’ (across), from threshold 1 to 0.</p>",
    ]


def _mistakes(rows: Sequence[Row], key: str, title: str, kind: str, sure: bool) -> list[str]:
    """The surest mistakes of a kind, an image once."""
    found = [row for row in rows if row["kind"] == kind and (row["probability"] >= 0.5) == sure]
    found.sort(key=lambda row: -row["probability"] if sure else row["probability"])
    shown: dict[Any, Row] = {}
    for row in found:
        shown.setdefault(row["image_id"], row)
    if not shown:
        return []
    return [
        f'<h2 id="{key}">{escaped(title)}</h2>',
        f'<p class="note">{len(found):,} of them, the surest first.</p>',
        *(_example(row, rows) for row in list(shown.values())[:_EACH]),
    ]


def _example(row: Row, rows: Sequence[Row]) -> str:
    own = [one["text"] for one in rows if one["image_id"] == row["image_id"] and one["right"]]
    image = photo(row["image"])
    if image is None:
        shown = '<p class="lost">The photo can’t be shown.</p>'
    else:
        drawn = picture(image)
        shown = (
            f'<img src="{drawn.uri}" width="{drawn.width}" height="{drawn.height}" '
            f'alt="{escaped("Photo. A person wrote: " + own[0])}">'
        )
    people = "".join(f"<li>{escaped(text)}</li>" for text in own)
    return (
        f"<article>{shown}<div><h3>{escaped(row['text'])}</h3>"
        f'<p class="muted">probability {row["probability"]:.3f} · {escaped(row["image_id"])}</p>'
        f"<h4>People wrote</h4><ul>{people}</ul></div></article>"
    )
