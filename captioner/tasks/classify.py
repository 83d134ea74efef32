"""Classification: an image to one of the classes that training has images of."""

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from captioner.classifying import Classifier
from captioner.config import Settings
from captioner.errors import CaptionerError
from captioner.evaluation import circumstances
from captioner.inputs.records import DataSet, Problems
from captioner.learning import classes
from captioner.learning.data import counting, prepare_images, read_data, tell
from captioner.models.classifier import Built, build
from captioner.serving import card_classes
from captioner.serving.classes import ServedClassifier
from captioner.serving.contract import CLASS_SIGNATURES
from captioner.tasks import Plan, Task, class_scores, names, take_no_options, teaching
from captioner.tasks.class_scores import Outcome
from captioner.tasks.printing import show

_CLASSES = "classes.txt"
_PICTURE = "confusion.png"
_DOES = "names classes of images"


class Classifying(Task):
    """See `captioner.tasks.Task`."""

    name = "classify"
    signatures = CLASS_SIGNATURES
    evaluate_options = frozenset(("confusion", "rows"))
    prompts = "classes"
    distils = True
    exports = "classifiers"

    # A run.

    def begin(self, settings: Settings, run: Path, data: DataSet) -> list[str]:
        teaching.check(settings)
        path, taught = run / _CLASSES, teaching.file(settings, _CLASSES)
        own = names.read(path, "classes") if path.is_file() else classes.names(data)
        if taught is not None and own != names.read(taught, "classes"):
            raise CaptionerError(f"{settings.train.teacher} has learned other classes than these")
        return own

    def build(self, settings: Settings, begun: list[str]) -> Built:
        return dataclasses.replace(build(settings, begun), teacher=teaching.load(settings))

    def plan(
        self, settings: Settings, built: Built, begun: list[str], data: DataSet, replicas: int
    ) -> Plan:
        problems = Problems()
        kept = classes.of_one_class(data.records, problems)
        if problems:
            tell(f"left out: {problems.summary()}")
        data = DataSet(data.name, tuple(kept), data.problems, data.labelled)
        train, dev = prepare_images(
            settings, built.model.image_encoder, data, built.teacher
        )
        stages = classes.stages(settings, built, train, replicas)
        accuracy = classes.Accuracy(built, dev)
        if not accuracy:
            return Plan(stages)
        return Plan(stages, accuracy.scores, curves=classes.CURVES)

    def files(self, built: Built, begun: list[str]) -> Mapping[str, Callable[[Path], None]]:
        return {_CLASSES: names.writer(begun)}

    def restore(self, settings: Settings, run: Path) -> Built:
        return build(settings, names.read(run / _CLASSES, "classes"), load=False)

    def score(
        self, settings: Settings, run: Path, data: DataSet, split: str
    ) -> tuple[dict[str, Any], Outcome]:
        tell(f"classifying {len(data.split(split))} {split} images")
        model = self.open_run(settings, run)
        outcome = _judged(model, data, split, settings.data.unreadable_limit)
        conditions = _conditions(model, settings.data.spec, split)
        scores = outcome.scores | {"settings": conditions}
        class_scores.picture(run / _PICTURE, scores)
        return scores, outcome

    def show(self, scores: dict[str, Any], seen: Outcome | None) -> str:
        lines = [class_scores.table(scores)]
        if seen:
            lines = ["Images that training never saw:\n", class_scores.shown(seen), "", *lines]
        return "\n".join(lines)

    # An export.

    def serve(
        self, settings: Settings, built: Built, storage: str = "float32", precision: str = "float32"
    ) -> ServedClassifier:
        side, top = settings.model.image_side, settings.classify.top
        return ServedClassifier(built, side, top, storage, precision)

    def card(self, facts: Mapping[str, Any]) -> list[str]:
        return card_classes.parts(facts)

    # Use.

    def open_run(self, settings: Settings, folder: Path, **options: Any) -> Classifier:
        from captioner.serving.trained import load_trained

        take_no_options(folder, _DOES, options)
        built = load_trained(folder)
        served = ServedClassifier(built, settings.model.image_side, settings.classify.top)
        return _classifier(folder, served.functions["classify"], built.classes, served)

    def open_export(
        self, folder: Path, saved: Any, about: dict[str, Any], **options: Any
    ) -> Classifier:
        take_no_options(folder, _DOES, options)
        known = about.get("classes")
        known = known if isinstance(known, list) else ()
        return _classifier(folder, saved.signatures["classify"], known, saved)

    def evaluate(self, arguments: argparse.Namespace, settings: Settings) -> None:
        from captioner.loading import load

        model = load(arguments.model)
        data = read_data(settings, self.prompts)
        limit = settings.data.unreadable_limit
        with counting("classifying") as progress:
            outcome = _judged(model, data, arguments.split, limit, progress)
        conditions = _conditions(model, settings.data.spec, arguments.split)
        scores = outcome.scores | {"settings": conditions}
        print(class_scores.table(scores))
        class_scores.write(arguments, outcome, scores)

    def predict(self, arguments: argparse.Namespace, images: Sequence[str]) -> int:
        from captioner.loading import load

        model = load(arguments.model)
        return show(
            images,
            lambda chunk: [class_scores.said(one, "probability") for one in model.classify(chunk)],
            arguments.json,
        )


def _classifier(folder: Path, function: Callable, known: Sequence[str], keep: Any) -> Classifier:
    def call(contents: list[bytes]) -> dict[str, Any]:
        found = function(image_bytes=tf.constant(contents, tf.string))
        return {name: one.numpy() for name, one in found.items()}

    return Classifier(folder, call, known, keep)


def _judged(
    model: Classifier,
    data: DataSet,
    split: str,
    unreadable_limit: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    problems = Problems()
    records = class_scores.of_known_class(data.split(split), model.classes, problems)
    found = model.classify([record.image for record in records], progress)
    training = () if "train" in split else data.split("train")
    outcome = class_scores.judged(
        records, found, model.classes, training, problems, unreadable_limit
    )
    if problems:
        tell(f"left out: {problems.summary()}")
    return outcome


def _conditions(model: Classifier, spec: str, split: str) -> dict[str, Any]:
    """What a reader must know to compare figures."""
    return {
        **circumstances(model, spec, split),
        "scorers": "captioner.metrics.classification: means over the classes that have images here "
        "or were found; 0 where there is nothing to divide by",
    }


TASK = Classifying()
