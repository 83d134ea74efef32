"""Question answering: an image and a question, the prompt, to an answer, the caption.

The model is the captioner, and so are its run, its search and its export; what differs is the data
(questions with answers) and the scores. With model.answers=N a classifier over the N most frequent
answers stands in the decoder's place, and chooses where the decoder would speak.
"""

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from captioner.config import Settings
from captioner.errors import CaptionerError
from captioner.inputs.pipeline import Examples
from captioner.inputs.records import DataSet, Record
from captioner.learning.answering import (
    CURVES,
    accuracies,
    answer_by_choice,
    answerable,
    choices,
    frequent_answers,
)
from captioner.learning.data import Images, counting, tell
from captioner.learning.objectives import answer_loss
from captioner.learning.prompted import PromptedValidation, answer_by_search
from captioner.models.build import Built, build
from captioner.serving import card_answers
from captioner.serving.answer_signatures import ChosenAnswers, SharedImages
from captioner.serving.signatures import ServedCaptioner
from captioner.tasks import Plan, names, prompted, teaching, vqa_scores
from captioner.tasks.caption import Begun, Captioning

_ANSWERS = "answers.txt"


class Answering(Captioning):
    """See `captioner.tasks.Task`."""

    name = "vqa"
    evaluate_options = frozenset(("predictions", "rows"))
    prompts = "questions"
    exports = "answers"
    example = "IMAGE --prompt 'what is this?'"

    def begin(self, settings: Settings, run: Path, data: DataSet) -> Begun:
        kinds = (
            "vqa:DIR, demo, or csv:FILE and jsonl:FILE with the columns image, prompt (the "
            "question) and caption (the answer)"
        )
        prompted.check(settings, data, "questions", kinds)
        if settings.model.answers:
            teaching.check(settings)
            return Begun(_answers(run, settings, data.split("train")), None)
        return super().begin(settings, run, data)

    def plan(
        self, settings: Settings, built: Built, begun: Begun, data: DataSet, replicas: int
    ) -> Plan:
        plan = super().plan(settings, built, begun, data, replicas)
        if not built.answers:
            return plan
        stages = [
            dataclasses.replace(stage, objective=answer_loss, unit="question")
            for stage in plan.stages
        ]
        return plan._replace(stages=stages)

    def examples(self, settings: Settings, built: Built, train: Images) -> Examples:
        if not built.answers:
            return super().examples(settings, built, train)
        made = choices(train.records, built.answers, train.unreadable)
        every = sum(len(record.captions) for record in train.records)
        tell(
            f"{len(made):,} of {every:,} training questions have one of the "
            f"{len(built.answers):,} answers to choose among"
        )
        return made

    def files(self, built: Built, begun: Begun) -> Mapping[str, Callable[[Path], None]]:
        if not built.answers:
            return super().files(built, begun)
        return {_ANSWERS: names.writer(begun.vocabulary)}

    def restore(self, settings: Settings, run: Path) -> Built:
        if not settings.model.answers:
            return super().restore(settings, run)
        return build(settings, names.read(run / _ANSWERS, "answers"), load=False)

    def serve(
        self, settings: Settings, built: Built, storage: str = "float32", precision: str = "float32"
    ) -> ServedCaptioner:
        kind = ChosenAnswers if built.answers else SharedImages
        side = settings.model.image_side
        return ServedCaptioner(built, settings.decode, side, storage, precision, kind)

    def card(self, facts: Mapping[str, Any]) -> list[str]:
        return card_answers.parts(facts)

    def validation(self, settings: Settings, built: Built, dev: Images) -> PromptedValidation:
        answer = answer_by_choice(built) if built.answers else answer_by_search(settings, built)
        questions = [answerable(record) for record in dev.records]
        return PromptedValidation(
            answer, accuracies, CURVES, questions, dev.source, dev.unreadable
        )

    def score(
        self, settings: Settings, run: Path, data: DataSet, split: str
    ) -> tuple[dict[str, Any], Any]:
        tell(f"answering the questions about {len(data.split(split))} {split} images")
        model = self.open_run(settings, run)
        training = () if split == "train" else data.split("train")
        with counting("answering", "question") as progress:
            answered, _ = vqa_scores.answer_all(
                model, data.split(split), training, settings.data.unreadable_limit, progress
            )
        conditions = vqa_scores.conditions(model, settings.data.spec, split)
        return vqa_scores.scores_of(answered) | {"settings": conditions}, answered

    def show(self, scores: dict[str, Any], seen: Any) -> str:
        return vqa_scores.summary(scores, seen)

    def evaluate(self, arguments: argparse.Namespace, settings: Settings) -> None:
        vqa_scores.evaluate(arguments, settings)


def _answers(run: Path, settings: Settings, train: Sequence[Record]) -> list[str]:
    """The run's answers to choose among, counted where it has none yet."""
    path, taught = run / _ANSWERS, teaching.file(settings, _ANSWERS)
    theirs = None if taught is None else names.read(taught, "answers")
    if path.is_file():
        own = names.read(path, "answers")
        return own if theirs is None else teaching.same(settings, path, own, theirs)
    if theirs is not None:
        return theirs
    found = frequent_answers(train, settings.model.answers)
    if not found:
        raise CaptionerError(f"{settings.data.spec} has no training questions to take answers from")
    return found


TASK = Answering()
