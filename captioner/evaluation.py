"""Scores of a captioner on a data set, from real decoding of image files."""

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from captioner import __version__
from captioner.captioning import Captioner
from captioner.errors import CaptionerError
from captioner.inputs.files import batches
from captioner.inputs.records import Problems, Record, check_unreadable
from captioner.metrics import bootstrap
from captioner.metrics.assessment import Assessment, Assessor
from captioner.reporting import prompted
from captioner.reporting.prompted import Prompt
from captioner.reporting.tables import table as table  # printed by train and evaluate

_BATCH = 32

# CIDEr_D is CIDEr here: its document frequencies are those of the references.
_TWICE = "CIDEr_D"


@dataclass(frozen=True)
class Outcome:
    """What an evaluation found."""

    scores: dict[str, Any]
    """What scores.json holds, but for its settings: `images`, the scores, and
    - `captions`: see `metrics.assessment.Assessment.captions`; `captions_of_people` likewise;
    - `intervals`: name to [low, high] of 95 % (see `metrics.bootstrap`), of scores and shares;
    - `comparison`, where there is another model: `other`, `images` and `measures`, name to
      `model`, `other`, `difference`, `interval`, `p`, `higher` and `lower` (images);
    - `prompts`, where prompts were made: see `reporting.prompted.follow_up`, with `kind`, `seed`
      and a `comparison` with the captions made without prompts.

    `captioner.evaluate --deletion` adds `deletion`: see `captioner.deletion.measure`."""

    captioned: list[tuple[Record, str]]
    """Images and their captions, in the data's order."""

    problems: Problems

    prompts: list[Prompt]
    """Those of `captioned`."""

    assessment: Assessment
    """Of `captioned`."""

    others: dict[str, tuple[list[str], Assessment]]
    """Other captions of the same images, judged: by `against`, another model, and `unprompted`."""


def evaluate(
    model: Captioner,
    records: Sequence[Record],
    unreadable_limit: float = 0.05,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    prompts: str = "data",
    seed: int = 0,
    against: Captioner | None = None,
    training: Sequence[str] = (),
) -> Outcome:
    """Captions every image and scores the captions against the records' own.

    Images that can't be read are left out and counted.

    Args:
        model: what captions.
        records: the images.
        unreadable_limit: the share of images that may be unreadable.
        progress: told how many captions are made, and of how many.
        prompts: one of `reporting.prompted.KINDS`. With `keywords` and `prefix`, the images are
            captioned without prompts, too. Defaults to `data`: a record that brings prompts is
            captioned with its first, any other without.
        seed: int. Of prompts, resamples and the people's captions that are judged.
        against: another model, to be compared on the same images with the same prompts.
        training: the captions of the training data, where they are at hand.

    Raises:
        CaptionerError: no images, or too many that can't be read.
    """
    if not records:
        raise CaptionerError("no images to evaluate on: the data set has none in this split")
    drawn = prompted.draw(records, prompts, seed)
    texts = [prompt.text for prompt in drawn]
    passes = {"model": (model, texts)}
    if prompts in ("keywords", "prefix"):
        passes["unprompted"] = (model, [""] * len(records))
    if against is not None:
        passes["against"] = (against, texts)
    made: dict[str, list[str | None]] = {}
    unreadable: dict[int, str] = {}
    for name, (captioner, asked) in passes.items():
        before = len(made) * len(records)
        made[name] = _captions(
            captioner, records, asked, unreadable,
            lambda done, before=before: progress(before + done, len(passes) * len(records)),
        )  # fmt: skip
    problems = Problems()
    check_unreadable(problems, list(unreadable.values()), len(records), unreadable_limit)
    kept = [row for row in range(len(records)) if row not in unreadable]
    if not kept:
        raise CaptionerError(f"none of the images could be read ({unreadable[0]})")
    records, drawn = [records[row] for row in kept], [drawn[row] for row in kept]
    captions = {name: [found[row] for row in kept] for name, found in made.items()}

    assessor = Assessor({record.id: record.captions for record in records}, training)
    judged = {
        name: assessor.assess(_by_id(records, texts), java=name == "model")
        for name, texts in captions.items()
    }
    mine = judged["model"]
    scores = {
        "images": len(records),
        **mine.scores,
        "captions": mine.captions,
        "captions_of_people": assessor.people(seed),
        "intervals": _intervals(mine, seed),
    }
    if against is not None:
        scores["comparison"] = _compared(mine, judged["against"], str(against.source), seed)
    if "unprompted" in captions:
        texts = (_by_id(records, captions[name]) for name in ("model", "unprompted"))
        scores["prompts"] = {
            "kind": prompts,
            "seed": seed,
            **prompted.follow_up(records, drawn, *texts, prompts),
            "comparison": _compared(mine, judged["unprompted"], "no prompts", seed),
        }
    others = {name: (captions[name], judged[name]) for name in captions if name != "model"}
    captioned = list(zip(records, captions["model"], strict=True))
    return Outcome(scores, captioned, problems, drawn, mine, others)


def _captions(
    model: Captioner,
    records: Sequence[Record],
    prompts: Sequence[str],
    unreadable: dict[int, str],
    progress: Callable[[int], None],
) -> list[str | None]:
    """A caption for each record; those that can't be read are noted in `unreadable`."""
    captions: list[str | None] = []
    for part in batches(len(records), _BATCH):
        chunk = records[part]
        results = model.caption(
            [record.image for record in chunk], list(prompts[part]), batch_size=_BATCH
        )
        for row, (record, result) in enumerate(zip(chunk, results, strict=True), part.start):
            if result.error:
                unreadable.setdefault(row, f"{record.image}: {result.error}")
            captions.append(None if result.error else result.text)
        progress(part.stop)
    return captions


def _by_id(records: Sequence[Record], captions: Sequence[str]) -> dict[str, str]:
    return {record.id: caption for record, caption in zip(records, captions, strict=True)}


def _intervals(mine: Assessment, seed: int) -> dict[str, list[float]]:
    found = bootstrap.intervals(mine.measures, seed=seed)
    named = zip(mine.measures.names, map(_plain, found), strict=True)
    return {name: bounds for name, bounds in named if bounds is not None}


def _compared(mine: Assessment, other: Assessment, name: str, seed: int) -> dict[str, Any]:
    found = bootstrap.compare(mine.measures, other.measures, seed=seed)
    my, its = mine.measures.corpus(), other.measures.corpus()
    measures = {}
    for row, measure in enumerate(found.names):
        if measure == _TWICE:
            continue
        measures[measure] = {
            "model": _plain(my[measure]),
            "other": _plain(its[measure]),
            "difference": _plain(found.difference[row]),
            "interval": _plain(found.interval[row]),
            "p": _plain(found.p[row]),
            "higher": int(found.higher[row]),
            "lower": int(found.lower[row]),
        }
    return {"other": name, "images": len(mine.rows), "measures": measures}


def _plain(value: Any) -> Any:
    """A number or an array for JSON, which has no NaN: None where there is one."""
    value = np.asarray(value).tolist()
    wrong = any(map(math.isnan, value if isinstance(value, list) else [value]))
    return None if wrong else value


def circumstances(model: Any, spec: str, split: str) -> dict[str, Any]:
    """What scores of every kind are of, for the `settings` of scores.json.

    Args:
        model: has a `source`: what `captioner.load` gives.
        spec, split: the data.
    """
    return {
        "captioner": __version__,
        "model": str(model.source),
        "data": spec,
        "split": split,
    }


def conditions(
    model: Captioner, spec: str, split: str, prompts: str = "data", seed: int = 0
) -> dict[str, Any]:
    """What a reader must know to compare figures: the `settings` of scores.json."""
    return {
        **circumstances(model, spec, split),
        "decode": model.settings,
        "prompts": prompts,
        "tokenizer": "captioner.metrics.tokenize (as coco-caption's PTB tokenizer)",
        "scorers": "captioner.metrics (as coco-caption); document frequencies of these references",
        "intervals": f"{bootstrap.LEVEL:.0%}, percentiles of {bootstrap.RESAMPLES:,} resamples of "
        f"the images (seed {seed}); document frequencies fixed",
    }


def rows(spec: str, outcome: Outcome) -> list[dict[str, Any]]:
    """What is known of each image, for other programs: ids, captions and figures."""
    found = []
    for row, (record, caption) in enumerate(outcome.captioned):
        one = {
            "image_id": _own_id(spec, record),
            "image": str(record.image),
            "prompt": outcome.prompts[row].text,
            "caption": caption,
            "references": list(record.captions),
            **outcome.assessment.rows[row],
        }
        for name, (captions, assessment) in outcome.others.items():
            one[name] = {"caption": captions[row], **assessment.rows[row]}
        found.append(one)
    return found


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
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_rows(path: Path, values: Sequence[Any]) -> None:
    """Writes JSON lines, whole or not at all; in ASCII, whatever a file's name holds."""
    write_text(path, "".join(json.dumps(value) + "\n" for value in values))


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
