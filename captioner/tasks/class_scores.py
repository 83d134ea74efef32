"""Scores of classes that were found, by whatever model, and what is printed and written of them.

Legend: C classes, K classes given of an image.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from captioner.classifying import Found
from captioner.errors import CaptionerError
from captioner.evaluation import write_json, write_rows
from captioner.inputs.records import Problems, Record, check_unreadable
from captioner.learning.classes import labels, of_one_class
from captioner.learning.data import tell
from captioner.metrics import classification
from captioner.reporting import confusions
from captioner.tasks.printing import Said

_SHOWN = 6


@dataclass(frozen=True)
class Outcome:
    """What a classifier found of some images, and how right that is.

    Attributes:
        scores: what scores.json holds, but for its settings.
        records: the images that count.
        found: what was found of each.
    """

    scores: dict[str, Any]
    records: list[Record]
    found: list[Found]


def of_known_class(
    records: Sequence[Record], classes: Sequence[str], problems: Problems
) -> list[Record]:
    """The records of one class, one of these; the others are counted.

    Raises:
        CaptionerError: there are none.
    """
    if not records:
        raise CaptionerError("no images to evaluate on: the data set has none in this split")
    kept = of_one_class(records, problems)
    if classes:
        where = labels(kept, classes)
        for at in np.flatnonzero(where < 0):
            name = kept[at].captions[0]
            problems.add("images of classes that the model doesn't know", f"{kept[at].id}: {name}")
        kept = [kept[at] for at in np.flatnonzero(where >= 0)]
    if not kept:
        raise CaptionerError(
            "no images to evaluate on: none is of a class that the model knows "
            f"({problems.summary()})"
        )
    return kept


def judged(
    records: Sequence[Record],
    found: Sequence[Found],
    classes: Sequence[str],
    training: Sequence[Record],
    problems: Problems,
    unreadable_limit: float,
) -> Outcome:
    """Scores of what was found; images that can't be read are left out and counted.

    Args:
        records: images of one class each.
        found: what was found of each.
        classes: the names of all classes, or none to take those that there are.
        training: the training images, for the class that is most frequent; where there are none,
            those of `records`.
        problems: what is left out is added to it.
        unreadable_limit: the share of images that may be unreadable.

    Raises:
        CaptionerError: too many can't be read.
    """
    bad = [f"{record.image}: {one.error}" for record, one in zip(records, found) if one.error]
    check_unreadable(problems, bad, len(records), unreadable_limit)
    kept = [at for at, one in enumerate(found) if not one.error]
    if not kept:
        raise CaptionerError(f"none of the images could be read ({bad[0]})")
    records, found = [records[at] for at in kept], [found[at] for at in kept]
    if not classes:
        known = {record.captions[0] for record in records}
        classes = sorted(known.union(*(one.classes for one in found)))
    truth = labels(records, classes)
    places = {name: place for place, name in enumerate(classes)}
    first = [places[one.classes[0]] for one in found]
    matrix = classification.confusion(truth, first, len(classes))
    scores: dict[str, Any] = {"images": len(records)}
    scores |= classification.scores(matrix, classes)
    per_class = scores.pop("classes")
    given = len(found[0].classes)
    if 1 < given < len(classes):
        pairs = zip(records, found, strict=True)
        hits = [record.captions[0] in one.classes for record, one in pairs]
        scores[f"accuracy_top{given}"] = float(np.mean(hits))
    counted = Counter(
        one.captions[0]
        for one in (training or records)
        if len(one.captions) == 1 and one.captions[0] in places
    )
    usual = min(counted or classes, key=lambda name: (-counted[name], name))
    scores["always"] = {
        "class": usual,
        "most_frequent_in": "training" if training else "these images",
        **classification.always(truth, places[usual], classes),
    }
    scores["classes"] = per_class
    scores["confusion"] = {"classes": list(classes), "images": matrix.tolist()}
    return Outcome(scores, records, found)


def table(scores: dict[str, Any]) -> str:
    """The figures in lines: means, what the most frequent class alone would have, and the report
    of each class."""
    always, there = scores["always"], _there(scores)
    name = f"always {always['class']!r}"[:30]
    lines = [f"{scores['images']:,} images of {sum(one['images'] > 0 for one in there.values())} "
             f"classes", "", f"{'':30}{'accuracy':>10}{'macro F1':>10}"]  # fmt: skip
    for title, row in (("model", scores), (name, always)):
        lines.append(f"{title:30}{row['accuracy']:>10.3f}{row['macro_F1']:>10.3f}")
    for key in (key for key in scores if key.startswith("accuracy_top")):
        lines.append(f"{f'among the first {key[12:]}':30}{scores[key]:>10.3f}")
    lines += ["", f"{'class':30}{'images':>10}{'precision':>11}{'recall':>9}{'F1':>9}"]

    def line(name: str, images: int, row: Sequence[float]) -> str:
        precision, recall, f1 = row
        return f"{name[:29]:30}{images:>10,}{precision:>11.3f}{recall:>9.3f}{f1:>9.3f}"

    columns = ("precision", "recall", "F1")
    for name, one in there.items():
        lines.append(line(name, one["images"], [one[column] for column in columns]))
    for mean in ("macro", "weighted"):
        row = [scores[f"{mean}_{column}"] for column in columns]
        lines.append(line(f"({mean} mean)", scores["images"], row))
    return "\n".join(lines)


def _there(scores: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The classes that have images, or were found."""
    taken = np.sum(scores["confusion"]["images"], 0)
    pairs = zip(scores["classes"].items(), taken, strict=True)
    return {name: one for (name, one), count in pairs if one["images"] or count}


def shown(outcome: Outcome) -> str:
    """What was found of a few images."""
    lines = []
    step = max(1, len(outcome.records) // _SHOWN)
    for at in range(0, len(outcome.records), step)[:_SHOWN]:
        record, one = outcome.records[at], outcome.found[at]
        right = "" if one.classes[0] == record.captions[0] else f"  (it is {record.captions[0]})"
        lines.append(f"{record.image}\n  {line_of(one)}{right}")
    return "\n".join(lines)


def line_of(one: Found, count: int = 3) -> str:
    """'dog 0.91, cat 0.05, bird 0.01'."""
    pairs = zip(one.classes[:count], one.probabilities, strict=False)
    return ", ".join(f"{name} {chance:.2f}" for name, chance in pairs)


def said(one: Found, measure: str) -> Said:
    """What there is to print of an image; in JSON each class has its `measure`."""
    pairs = zip(one.classes, one.probabilities, strict=True)
    row = {"classes": [{"name": name, measure: value} for name, value in pairs]}
    return Said(row, line_of(one), one.error)


def write(arguments: argparse.Namespace, outcome: Outcome, scores: dict[str, Any]) -> None:
    """What `captioner.evaluate` was asked for: scores, a picture, rows."""
    if arguments.scores:
        write_json(arguments.scores, scores)
    if arguments.confusion:
        picture(arguments.confusion, scores)
        tell(f"drew {arguments.confusion}")
    if arguments.rows:
        write_rows(
            arguments.rows,
            [
                {
                    "image_id": record.id,
                    "image": str(record.image),
                    "class": record.captions[0],
                    "classes": list(one.classes),
                    "probabilities": list(one.probabilities),
                }
                for record, one in zip(outcome.records, outcome.found, strict=True)
            ],
        )


def picture(path: Path, scores: dict[str, Any]) -> None:
    """Draws the confusion matrix."""
    found, how = scores["confusion"], scores["settings"]
    title = (
        f"{scores['images']:,} images ({how['split']}), accuracy {scores['accuracy']:.3f}, "
        f"macro F1 {scores['macro_F1']:.3f}"
    )
    confusions.draw(np.array(found["images"]), found["classes"], path, title)
