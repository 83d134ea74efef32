"""What is known of a run, for those who are given its export: data, pretrained parts, scores."""

import dataclasses
import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

from captioner import confidence
from captioner.config import Settings
from captioner.errors import CaptionerError
from captioner.inputs.records import SPLITS, DataSet
from captioner.pretrained.sources import BERT, IMAGENET

_LOG = logging.getLogger(__name__)


def trained_on(data: DataSet) -> dict[str, Any]:
    """A data set in figures: images and captions by split, and what had to be left out.

    Returns:
        {"images": {split: count}, "captions": {split: count}, "left_out": {kind: count}}; splits
        without images aren't named.
    """
    images = Counter(record.split for record in data.records)
    captions: Counter[str] = Counter()
    for record in data.records:
        captions[record.split] += len(record.captions)
    named = [split for split in SPLITS if images[split]]
    problems = data.problems
    return {
        "images": {split: images[split] for split in named},
        "captions": {split: captions[split] for split in named},
        "left_out": {kind: problems.count(kind) for kind in problems.kinds()},
    }


def of_run(
    run: Path, settings: Settings, scores: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What `serving.exporting.export` is told of a run.

    Args:
        run: the run folder.
        settings: the run's.
        scores: what its scores.json is going to hold. Defaults to what that file holds, if it is
            there.

    Returns:
        "run", its name; "weights", what tells them from others (`confidence.fingerprint`);
        "vocabulary", its WordPieces if it has any; "classes", their names if it has any;
        "pretrained", a list of {"part", "name"} and if known "what" and "licence"; where scored
        "scores" and "data" (see `trained_on`); where calibrated "calibration" (see
        `captioner.confidence.Calibration`), unless it is of other weights than the run has now,
        which is logged.

    Raises:
        CaptionerError: scores.json or calibration.json is damaged.
    """
    if scores is None:
        scores = _read_scores(run / "scores.json")
    about: dict[str, Any] = {"run": run.resolve().name}
    if (run / "vocabulary.txt").is_file():  # of a task that has one
        pieces = (run / "vocabulary.txt").read_text(encoding="utf-8").count("\n")
        about["vocabulary"] = pieces
    if (run / "classes.txt").is_file():
        about["classes"] = (run / "classes.txt").read_text("utf-8").removesuffix("\n").split("\n")
    if (run / "checkpoints").is_dir():
        about["weights"] = confidence.fingerprint(run)
    about["pretrained"] = _pretrained(settings)
    if scores:
        about["scores"] = scores
        # Absent from runs that were scored before it was noted.
        if "trained_on" in scores.get("settings", {}):
            about["data"] = scores["settings"]["trained_on"]
    if calibration := confidence.read(run / confidence.FILE):
        if calibration.weights == confidence.fingerprint(run):
            about["calibration"] = dataclasses.asdict(calibration)
        else:
            _LOG.warning(
                f"{run / confidence.FILE} is of other weights and left out: calibrate again"
            )
    return about


def _read_scores(path: Path) -> dict[str, Any]:
    """A run's scores; none where it hasn't been scored."""
    if not path.is_file():
        return {}
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(scores, dict):
            raise ValueError("it holds no scores")
    except ValueError as error:
        raise CaptionerError(
            f"{path} is damaged ({error}); remove it to export the run without its scores"
        ) from None
    return scores


def _pretrained(settings: Settings) -> list[dict[str, str]]:
    named = {
        "image encoder": settings.model.image_weights,
        "text encoder": settings.model.text_encoder,
    }
    images = IMAGENET.get(settings.model.image_encoder)
    known = {part.name: part for part in (images, BERT) if part}
    rows = []
    for where, name in named.items():
        if name == "none":
            continue
        row = {"part": where, "name": name}
        if part := known.get(name):
            row |= {"what": part.title, "licence": part.licence}
        rows.append(row)
    return rows
