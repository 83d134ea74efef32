"""Classes known by their names alone: an image is of the class whose name is nearest to it in two
towers' space (Radford et al., 2021, section 3.1).

Legend: N images, C classes, T templates, E width of the space.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner.classifying import Found
from captioner.config import Settings
from captioner.embedding import Embedder
from captioner.errors import CaptionerError
from captioner.evaluation import circumstances
from captioner.inputs.records import DataSet, Problems
from captioner.learning.classes import of_one_class
from captioner.learning.data import counting, tell
from captioner.tasks import class_scores


def embedded(model: Embedder, classes: Sequence[str], templates: Sequence[str]) -> np.ndarray:
    """float32 [C, E], of length 1: each class by its name, the mean over the templates."""
    texts = [one.replace("{}", _spoken(name)) for name in classes for one in templates]
    vectors = model.texts(texts).reshape(len(classes), len(templates), -1).mean(1)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _spoken(name: str) -> str:
    """A folder's name as one would say it."""
    return " ".join(name.replace("_", " ").split())


def ranked(
    model: Embedder,
    images: Sequence[Path | str],
    classes: Sequence[str],
    vectors: np.ndarray,
    count: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Found]:
    """The `count` classes nearest to each image; their cosine similarities stand where a classifier
    has probabilities."""
    found, errors = model.images(images, progress)
    similar = found @ vectors.T
    order = np.argsort(-similar, axis=1, kind="stable")[:, :count]
    return [
        Found((), (), error)
        if error
        else Found(
            tuple(classes[place] for place in places), tuple(map(float, row[places])), None
        )
        for places, row, error in zip(order, similar, errors, strict=True)
    ]


def evaluate(
    arguments: argparse.Namespace, settings: Settings, model: Embedder, data: DataSet
) -> None:
    """Classifies a split by the names of the data's classes, and prints and writes what
    `captioner.evaluate` does of a classifier.

    Raises:
        CaptionerError: there are fewer than two classes.
    """
    problems = Problems()
    classes = sorted({one.captions[0] for one in of_one_class(data.records, Problems())})
    if len(classes) < 2:
        raise CaptionerError(f"{data.name} has fewer than two classes to choose among")
    templates = settings.classify.templates
    vectors = embedded(model, classes, templates)
    records = class_scores.of_known_class(data.split(arguments.split), classes, problems)
    images, count = [record.image for record in records], settings.classify.top
    with counting("classifying") as progress:
        found = ranked(model, images, classes, vectors, count, progress)
    # Nothing was learned from the training images; what is most frequent there is known all the
    # same to who would always say so.
    training = () if "train" in arguments.split else data.split("train")
    limit = settings.data.unreadable_limit
    outcome = class_scores.judged(records, found, classes, training, problems, limit)
    if problems:
        tell(f"left out: {problems.summary()}")
    conditions: dict[str, Any] = {
        **circumstances(model, settings.data.spec, arguments.split),
        "zero_shot": list(templates),
        "scorers": "captioner.metrics.classification, of the class whose name is nearest",
    }
    scores = outcome.scores | {"settings": conditions}
    print(class_scores.table(scores))
    class_scores.write(arguments, outcome, scores)
