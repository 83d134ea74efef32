"""Question answering: an image and a question, the prompt, to an answer, the caption.

The model is the captioner, and so are its run, its search and its export; what differs is the data
(questions with answers) and the scores.
"""

import argparse
from pathlib import Path
from typing import Any

from captioner.config import Settings
from captioner.errors import CaptionerError
from captioner.inputs.questions import asked
from captioner.inputs.records import DataSet
from captioner.learning.answering import AnswerValidation, answer_by_search
from captioner.learning.data import Images, counting, tell
from captioner.models.build import Built
from captioner.tasks import vqa_scores
from captioner.tasks.caption import Begun, Captioning


class Answering(Captioning):
    """See `captioner.tasks.Task`."""

    name = "vqa"
    evaluate_options = frozenset(("predictions", "rows"))
    questions = True
    exports = "answers"

    def begin(self, settings: Settings, run: Path, data: DataSet) -> Begun:
        if settings.model.text_encoder == "none":
            raise CaptionerError(
                "questions need a text encoder to read them: model.text_encoder is none"
            )
        train = data.split("train")
        if train and not any(any(asked(record)) for record in train):
            raise CaptionerError(
                f"{settings.data.spec} has no questions: the recipe vqa reads vqa:DIR, demo, or "
                "csv:FILE and jsonl:FILE with the columns image, prompt (the question) and caption "
                "(the answer)"
            )
        return super().begin(settings, run, data)

    def validation(self, settings: Settings, built: Built, dev: Images) -> AnswerValidation:
        answer = answer_by_search(settings, built)
        return AnswerValidation(answer, dev.records, dev.source, dev.unreadable)

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


TASK = Answering()
