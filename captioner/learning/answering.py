"""What training on questions has of its own: examples for a classifier over answers, and
validation of answers.

Legend: N images, B questions.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set

import numpy as np
import tensorflow as tf

from captioner.config import Settings
from captioner.decoding.captions import search
from captioner.inputs.pipeline import CachedImages, Examples, ReadImages
from captioner.inputs.questions import asked
from captioner.inputs.records import Record
from captioner.metrics import vqa
from captioner.models.build import Built

# Images at once; each has a few questions.
_BATCH = 32

Answer = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def answer_by_search(settings: Settings, built: Built) -> Answer:
    """(images, image_rows int32 [B], questions string [B]) -> answers string [B], as a captioner
    says them."""

    def answer(images, image_rows, questions):
        prompts = built.prompt_tokenizer(questions)
        memory = built.model.encode(images, prompts, image_rows=image_rows)
        found = search(built.model, memory, settings.decode, tokenizer=built.tokenizer)
        return built.tokenizer.decode(found.tokens[:, 0])

    return answer


def answer_by_choice(built: Built) -> Answer:
    """The same, as a classifier chooses them."""

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


class AnswerValidation:
    """Answers the dev images' questions with the weights as they are, and scores that.

    Args:
        answer: gives the answers, as `answer_by_search` makes one.
        records: the dev images.
        images: gives them by position.
        skip: set of int. Positions of those that can't be read.
    """

    curves = ("accuracy", "yes_no", "number", "other")
    """The scores to draw."""

    samples = None

    def __init__(
        self,
        answer: Answer,
        records: Sequence[Record],
        images: CachedImages | ReadImages,
        skip: Set[int] = frozenset(),
    ):
        self._images = images
        self._questions = {
            row: known
            for row, record in enumerate(records)
            if row not in skip
            and (known := [one for one in asked(record) if one.known.answers])
        }
        signature = [
            images.spec["image"], tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.string)
        ]  # fmt: skip
        self._answer = tf.function(answer, input_signature=signature, autograph=False)

    def scores(self) -> dict[str, float]:
        """The accuracy, which training keeps the best of, and that of each kind of answer."""
        rows = list(self._questions)
        found, kinds = [], []
        for start in range(0, len(rows), _BATCH):
            part = np.array(rows[start : start + _BATCH])
            questions = [(at, one) for at, row in enumerate(part) for one in self._questions[row]]
            # Dev images have one view, so the generator decides nothing.
            answers = self._answer(
                self._images(part, np.random.default_rng(0))["image"],
                tf.constant([at for at, _ in questions], tf.int32),
                tf.constant([one.text for _, one in questions]),
            )
            for (_, one), answer in zip(questions, answers.numpy(), strict=True):
                found.append(vqa.accuracy(answer.decode(), one.known.answers))
                kinds.append(one.known.answer_kind)
        if not found:
            return {}
        means = vqa.summary(found, {"kind": kinds})
        by_kind = {kind.replace("/", "_"): score for kind, score in means["kind"].items()}
        return {"accuracy": means["accuracy"], **by_kind}
