"""Scores of a captioner on a data set, from real decoding of image files."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner import __version__
from captioner.captioning import Captioner
from captioner.errors import CaptionerError
from captioner.inputs.files import batches
from captioner.inputs.records import Problems, Record, check_unreadable
from captioner.metrics import Scorer

_BATCH = 32


@dataclass(frozen=True)
class Outcome:
    """What an evaluation found."""

    scores: dict[str, Any]
    captioned: list[tuple[Record, str]]
    problems: Problems


def evaluate(
    model: Captioner,
    records: Sequence[Record],
    unreadable_limit: float = 0.05,
    progress: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Captions every image and scores the captions against the records' own.

    Images that can't be read are left out and counted. A record that brings prompts is captioned
    with its first.

    Raises:
        CaptionerError: no images, or too many that can't be read.
    """
    if not records:
        raise CaptionerError("no images to evaluate on: the data set has none in this split")
    problems = Problems()
    captioned: list[tuple[Record, str]] = []
    unreadable = []
    for part in batches(len(records), _BATCH):
        chunk = records[part]
        prompts = [record.prompts[0] if record.prompts else "" for record in chunk]
        results = model.caption([record.image for record in chunk], prompts, batch_size=_BATCH)
        for record, result in zip(chunk, results, strict=True):
            if result.error:
                unreadable.append(f"{record.image}: {result.error}")
            else:
                captioned.append((record, result.text))
        progress(part.stop)
    check_unreadable(problems, unreadable, len(records), unreadable_limit)
    if not captioned:
        raise CaptionerError(f"none of the images could be read ({unreadable[0]})")
    scorer = Scorer({record.id: record.captions for record, _ in captioned})
    scores = scorer.score({record.id: caption for record, caption in captioned})
    return Outcome({"images": len(captioned), **scores}, captioned, problems)


def conditions(model: Captioner, spec: str, split: str) -> dict[str, Any]:
    """What a reader must know to compare figures: the `settings` of scores.json."""
    return {
        "captioner": __version__,
        "model": str(model.source),
        "data": spec,
        "split": split,
        "decode": model.settings,
        "tokenizer": "captioner.metrics.tokenize (as coco-caption's PTB tokenizer)",
        "scorers": "captioner.metrics (as coco-caption); document frequencies of these references",
    }


def predictions(spec: str, captioned: Sequence[tuple[Record, str]]) -> list[dict[str, Any]]:
    """Captions in the COCO results format. Ids are the data set's own: numbers where COCO's are."""
    return [
        {"image_id": _own_id(spec, record), "caption": caption} for record, caption in captioned
    ]


def _own_id(spec: str, record: Record) -> int | str:
    kind = spec.partition(":")[0]
    numbered = kind == "coco" or spec == "tfds:coco_captions"
    # A Karpathy file without COCO's ids is of a data set that goes by file names.
    numbered |= kind == "karpathy" and record.id != record.image.stem
    return int(record.id) if numbered and record.id.isdecimal() else record.id


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(
            json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def table(scores: dict[str, Any]) -> str:
    """The scores as lines of text, on the official scale."""
    rows = []
    for name, value in scores.items():
        if isinstance(value, float):
            rows.append(f"{name:8} {value:.4f}")
        elif value is None:
            rows.append(f"{name:8} not measured (needs Java and captioner[java])")
        elif name == "images":
            rows.append(f"{name:8} {value}")
    return "\n".join(rows)
