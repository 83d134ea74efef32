"""Judgements of images and sentences, scored, and what the commands print of them.

Beside the model's stand those of a baseline of which nothing is trained but a linear map in closed
form: the cosine similarity that the retrieval model begins with, called a yes from the threshold on
that is best on the training images, one for each kind of wrong pairs.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner import config
from captioner.config import Settings
from captioner.errors import CaptionerError
from captioner.evaluation import circumstances, write_json, write_rows, write_text
from captioner.inputs.pairs import DRAWN, HARD, OWN, Pair, judged_pairs
from captioner.inputs.records import Problems, Record, check_unreadable
from captioner.learning.data import counting, read_data, tell
from captioner.learning.matching import BASELINE, figures
from captioner.matching import Matcher
from captioner.models import towers

FILE = "baseline.npz"

_MEASURES = ("accuracy", "precision", "recall", "F1", "ROC_AUC")
_KINDS = {DRAWN: "drawn captions", HARD: "hard captions"}


class Judged(NamedTuple):
    """Pairs of a split's images, judged.

    Attributes:
        model: what judged.
        records: the images that could be read.
        pairs: their `image` is a position in `records`.
        probabilities: float32 [P].
        seed: what pairs were drawn with.
        problems: what couldn't be read.
    """

    model: Matcher
    records: list[Record]
    pairs: list[Pair]
    probabilities: np.ndarray
    seed: int
    problems: Problems


def judge(
    model: Matcher,
    records: Sequence[Record],
    unreadable_limit: float,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Judged:
    """Asks the model about every image with its own captions and with wrong ones (`judged_pairs`);
    images that can't be read are left out.

    Raises:
        CaptionerError: no images, one image, or too many that can't be read.
    """
    if len(records) < 2:
        raise CaptionerError(
            f"{len(records)} images to evaluate on: wrong captions are those of others, so this "
            "split needs two or more"
        )
    drawn = judged_pairs([record.captions for record in records], seed)
    files = [records[one.image].image for one in drawn]
    probabilities, errors = model.match(files, [one.text for one in drawn], progress)
    bad = {one.image: why for one, why in zip(drawn, errors, strict=True) if why}
    problems = Problems()
    shown = [f"{records[at].image}: {why}" for at, why in bad.items()]
    check_unreadable(problems, shown, len(records), unreadable_limit)
    kept = [at for at in range(len(records)) if at not in bad]
    if not kept:
        raise CaptionerError(f"none of the images could be read ({shown[0]})")
    place = {at: row for row, at in enumerate(kept)}
    rows = [row for row, one in enumerate(drawn) if one.image in place]
    return Judged(
        model,
        [records[at] for at in kept],
        [drawn[row]._replace(image=place[drawn[row].image]) for row in rows],
        probabilities[rows],
        seed,
        problems,
    )


def scores_of(judged: Judged, run: Path) -> dict[str, Any]:
    """What scores.json holds, but for its settings.

    Args:
        judged: the pairs.
        run: the model's folder, which may have the baseline.

    Returns:
        `images`, `texts` and `pairs`; `accuracy`, `precision`, `recall`, `F1` and `ROC_AUC` of
        right pairs and as many drawn wrong ones; `hard`, the same with hard wrong ones; and
        `baseline`, both of the baseline, where the folder has it.
    """
    scores: dict[str, Any] = {
        "images": len(judged.records),
        "texts": sum(len(record.captions) for record in judged.records),
        "pairs": len(judged.pairs),
        **figures(judged.pairs, judged.probabilities),
    }
    if (run / FILE).is_file():
        scores["baseline"] = figures(judged.pairs, *_baseline(run, judged))
    return scores


def write_baseline(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes what `learning.matching.baseline` gave."""
    with path.open("wb") as file:
        np.savez(file, **arrays)


def _baseline(run: Path, judged: Judged) -> tuple[np.ndarray, tuple[float, float]]:
    """The baseline's similarities of pairs, with the encoders as they were before training, and
    its thresholds."""
    from captioner.tasks.contrastive import embedder_of

    settings = config.load(run / "config.json")
    sentences = settings.contrastive.model_copy(update={"start": "sentences"})
    built = towers.build(settings.model_copy(update={"contrastive": sentences}))
    try:
        with np.load(run / FILE, allow_pickle=False) as file:
            kernel, bias, center, at = (file[name] for name in BASELINE)
            towers.begin_with(built.model, kernel, bias, center)
    except Exception as error:  # of any kind: it may be damaged anywhere
        raise CaptionerError(
            f"{run / FILE} is damaged ({error}); remove it to score without the baseline"
        ) from None
    model = embedder_of(settings, built, run)
    images, _ = model.images([record.image for record in judged.records])
    known = sorted({one.text for one in judged.pairs})
    texts = dict(zip(known, model.texts(known), strict=True))
    similar = np.array([images[one.image] @ texts[one.text] for one in judged.pairs])
    return similar, (float(at[0]), float(at[1]))


def conditions(judged: Judged, spec: str, split: str) -> dict[str, Any]:
    """What a reader must know to compare figures: the `settings` of scores.json."""
    return {
        **circumstances(judged.model, spec, split),
        "seed": judged.seed,
        "scorers": "captioner.metrics.matching: each image with its captions, and with as many "
        "drawn ones of other images; `hard`: with those that share most content words (TF-IDF); "
        "yes from 0.5 on; ROC AUC by ranks, ties half",
    }


def table(scores: Mapping[str, Any]) -> str:
    """The figures against both kinds of wrong captions, and those of the baseline beneath."""
    lines = [
        f"{scores['images']:,} images, {scores['texts']:,} captions of theirs, "
        f"{scores['pairs']:,} pairs judged",
        f"{'':38}" + "".join(f"{name:>11}" for name in _MEASURES),
    ]
    for name, row in rows_of(scores):
        lines.append(f"{name:38}" + "".join(f"{row[one]:>11.3f}" for one in _MEASURES))
    return "\n".join(lines)


def rows_of(scores: Mapping[str, Any]) -> list[tuple[str, Mapping[str, float]]]:
    """The rows of the table: what is scored, and its figures."""
    whose = {"model": scores} | (
        {"untrained similarity": scores["baseline"]} if "baseline" in scores else {}
    )
    return [
        (f"{name}, {title}", found if kind == DRAWN else found[HARD])
        for kind, title in _KINDS.items()
        for name, found in whose.items()
    ]


def evaluate(arguments: argparse.Namespace, settings: Settings) -> None:
    """Judges a split's pairs, prints the scores, and writes what was asked for."""
    from captioner.loading import load
    from captioner.tasks.caption_commands import report_file

    if arguments.report:  # where that can't be, it is better known before than after
        report_file(arguments.report).parent.mkdir(parents=True, exist_ok=True)
    model = load(arguments.model)
    data = read_data(settings)
    with counting("judging", "pair") as progress:
        judged = judge(
            model,
            data.split(arguments.split),
            settings.data.unreadable_limit,
            arguments.seed,
            progress,
        )
    if judged.problems:
        tell(f"left out: {judged.problems.summary()}")
    scores = scores_of(judged, arguments.model)
    scores["settings"] = conditions(judged, settings.data.spec, arguments.split)
    print(table(scores))
    if arguments.scores:
        write_json(arguments.scores, scores)
    if arguments.rows:
        write_rows(arguments.rows, rows(judged))
    if arguments.report:
        from captioner.reporting.matched import page

        path = report_file(arguments.report)
        tell(f"writing {path}")
        write_text(path, page(scores, rows_of(scores), rows(judged)))


def rows(judged: Judged) -> list[dict[str, Any]]:
    """All that is known of each pair, for other programs."""
    return [
        {
            "image_id": judged.records[one.image].id,
            "image": str(judged.records[one.image].image),
            "text": one.text,
            "kind": one.kind,
            "right": one.kind == OWN,
            "probability": float(probability),
        }
        for one, probability in zip(judged.pairs, judged.probabilities, strict=True)
    ]
