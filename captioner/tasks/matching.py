"""Image-text matching: whether a sentence describes an image, as a probability."""

import argparse
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from captioner.config import Settings
from captioner.errors import CaptionerError
from captioner.inputs.records import DataSet
from captioner.learning import matching
from captioner.learning.data import check_training, counting, prepare_images, tell
from captioner.matching import Matcher
from captioner.models.matching import Built, build
from captioner.serving import card_matching
from captioner.serving.contract import MATCHING_SIGNATURES
from captioner.serving.matching import ServedMatching
from captioner.tasks import Plan, Task, matching_scores, take_no_options
from captioner.tasks.calling import caller
from captioner.tasks.printing import Said, show

_DOES = "judges images and sentences"


class ImageTextMatching(Task):
    """See `captioner.tasks.Task`."""

    name = "matching"
    signatures = MATCHING_SIGNATURES
    evaluate_options = frozenset(("report", "rows", "seed"))
    predict_options = frozenset(("prompt",))
    example = "--prompt 'a dog in the snow' IMAGE..."
    exports = "matching"
    compared = ("ROC_AUC", "accuracy", "hard.ROC_AUC", "hard.accuracy")

    # A run.

    def begin(self, settings: Settings, run: Path, data: DataSet) -> None:
        check_training(settings, data.split("train"))

    def build(self, settings: Settings, begun: None) -> Built:
        return build(settings)

    def plan(
        self, settings: Settings, built: Built, begun: None, data: DataSet, replicas: int
    ) -> Plan:
        train, dev = prepare_images(settings, built.model.image_encoder, data)
        with counting("embedding captions", "caption") as progress:
            stages = matching.stages(settings, built, train, replicas, tell, progress)
        if not dev.readable:
            return Plan(stages)
        validation = matching.Validation(settings, built, dev)
        return Plan(stages, validation.scores, curves=matching.CURVES)

    def files(self, built: Built, begun: None) -> Mapping[str, Callable[[Path], None]]:
        if not built.baseline:
            return {}
        return {
            matching_scores.FILE: lambda path: matching_scores.write_baseline(built.baseline, path)
        }

    def restore(self, settings: Settings, run: Path) -> Built:
        return build(settings, load=False)

    def score(
        self, settings: Settings, run: Path, data: DataSet, split: str
    ) -> tuple[dict[str, Any], None]:
        records = data.split(split)
        tell(f"judging captions of {len(records)} {split} images")
        judged = matching_scores.judge(
            self.open_run(settings, run), records, settings.data.unreadable_limit
        )
        scores = matching_scores.scores_of(judged, run)
        conditions = matching_scores.conditions(judged, settings.data.spec, split)
        return scores | {"settings": conditions}, None

    def show(self, scores: dict[str, Any], seen: Any) -> str:
        return matching_scores.table(scores)

    # An export.

    def serve(
        self, settings: Settings, built: Built, storage: str = "float32", precision: str = "float32"
    ) -> tf.Module:
        return ServedMatching(built, settings.model.image_side, storage, precision)

    def card(self, facts: Mapping[str, Any]) -> list[str]:
        return card_matching.parts(facts)

    # Use.

    def open_run(self, settings: Settings, folder: Path, **options: Any) -> Matcher:
        from captioner.serving.trained import load_trained

        take_no_options(folder, _DOES, options)
        served = ServedMatching(load_trained(folder), settings.model.image_side)
        return _matcher(folder, served.functions["match"], served)

    def open_export(
        self, folder: Path, saved: Any, about: dict[str, Any], **options: Any
    ) -> Matcher:
        take_no_options(folder, _DOES, options)
        return _matcher(folder, saved.signatures["match"], saved)

    def evaluate(self, arguments: argparse.Namespace, settings: Settings) -> None:
        matching_scores.evaluate(arguments, settings)

    def predict(self, arguments: argparse.Namespace, images: Sequence[str]) -> int:
        from captioner.loading import load

        if not arguments.prompt.strip():
            raise CaptionerError(
                f"{arguments.model} judges whether a sentence describes an image: add "
                "--prompt TEXT"
            )
        model = load(arguments.model)

        def say(chunk: Sequence[str]) -> Iterator[Said]:
            found, errors = model.match(chunk, [arguments.prompt] * len(chunk))
            for probability, error in zip(found, errors, strict=True):
                row = {"probability": None if error else float(probability)}
                yield Said(row, f"{probability:.4f}", error)

        return show(images, say, arguments.json)


def _matcher(folder: Path, function: Callable, keep: Any) -> Matcher:
    call = functools.partial(caller({"match": function}), "match")
    return Matcher(folder, call, keep)


TASK = ImageTextMatching()
