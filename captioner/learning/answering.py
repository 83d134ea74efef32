"""What training on questions has of its own: examples for a classifier over answers, and the
accuracy that it keeps the best weights by.

Legend: B questions.
"""

from collections import Counter
from collections.abc import Iterable, Sequence, Set

import numpy as np
import tensorflow as tf

from captioner.inputs.pipeline import Examples
from captioner.inputs.questions import Asked, asked
from captioner.inputs.records import Record
from captioner.learning.prompted import Answer
from captioner.metrics import vqa
from captioner.models.build import Built

# Those of `accuracies`, to draw.
CURVES = ("accuracy", "yes_no", "number", "other")


def answerable(record: Record) -> list[Asked]:
    """The questions of which answers are known."""
    return [one for one in asked(record) if one.known.answers]


def accuracies(questions: Sequence[Asked], answers: Sequence[str]) -> dict[str, float]:
    """The VQA accuracy, and that of each kind of answer."""
    found = [
        vqa.accuracy(answer, one.known.answers)
        for one, answer in zip(questions, answers, strict=True)
    ]
    means = vqa.summary(found, {"kind": [one.known.answer_kind for one in questions]})
    by_kind = {kind.replace("/", "_"): score for kind, score in means["kind"].items()}
    return {"accuracy": means["accuracy"], **by_kind}


def answer_by_choice(built: Built) -> Answer:
    """(images, image_rows int32 [B], questions string [B]) -> answers string [B], as a classifier
    chooses them."""

    def answer(images, image_rows, questions):
        prompts = built.prompt_tokenizer(questions)
        logits, _ = built.model.decoder(built.model.encode(images, prompts, image_rows=image_rows))
        return tf.gather(tf.constant(built.answers), tf.argmax(logits, axis=-1))

    return answer


def frequent_answers(records: Iterable[Record], count: int) -> list[str]:
    """The most frequent answers, at most `count`, each as it is most often spelled; of equally
    frequent ones the first of the alphabet."""
    spelled: dict[str, Counter[str]] = {}
    for record in records:
        for one in asked(record):
            spelled.setdefault(vqa.normalised(one.answer), Counter())[one.answer] += 1
    spelled.pop("", None)  # nothing but marks and articles
    order = sorted(spelled, key=lambda answer: (-spelled[answer].total(), answer))
    return [
        min(spelled[answer], key=lambda one, found=spelled[answer]: (-found[one], one))
        for answer in order[:count]
    ]


def choices(records: Sequence[Record], answers: Sequence[str], skip: Set[int]) -> Examples:
    """The questions whose answer is among `answers`; `tokens` [questions, 1] say which it is."""
    places = {vqa.normalised(answer): place for place, answer in enumerate(answers)}
    found = [
        (row, places[answer], one.text)
        for row, record in enumerate(records)
        if row not in skip
        for one in asked(record)
        if (answer := vqa.normalised(one.answer)) in places
    ]
    rows, chosen, texts = zip(*found, strict=True) if found else ((), (), ())
    return Examples(
        image=np.array(rows, np.int64),
        tokens=np.array(chosen, np.int32)[:, None],
        texts=[answers[place] for place in chosen],
        prompts=list(texts),
    )
