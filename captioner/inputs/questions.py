"""Questions about images, with what people answered.

A data set for question answering brings questions as prompts and answers as captions, one of each
to train on; what an answer is scored by is a `Question`, several people's answers among it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

YES_NO, NUMBER, OTHER = "yes/no", "number", "other"

# As many as people were asked for VQA.
PEOPLE = 10


@dataclass(frozen=True, slots=True)
class Question:
    """What belongs to a question beside its text and the answer to train on."""

    id: str
    """The data set's own id; unique in the data set."""

    kind: str
    """What sort of question it is, such as `what color is the`."""

    answer_kind: str
    """`yes/no`, `number` or `other`."""

    answers: tuple[str, ...]
    """What each person answered; () where that was not published."""


class Asked(NamedTuple):
    """A question of an image, to be answered.

    Attributes:
        text: the question.
        answer: the answer to train on, '' where there is none.
        known: what else is known of it.
    """

    text: str
    answer: str
    known: Question


def asked(record) -> Iterator[Asked]:
    """The questions of a `Record`.

    A record that has prompts and captions but no `questions` (a user's own table) has one for each
    of its prompts, the captions of that prompt being what people answered.
    """
    if record.questions:
        rows = zip(record.prompts, record.captions, record.questions, strict=True)
        yield from (Asked(*row) for row in rows if row[0])
        return
    answers: dict[str, list[str]] = {}
    for text, answer in zip(record.prompts, record.captions, strict=False):
        if text:
            answers.setdefault(text, []).append(answer)
    for number, (text, found) in enumerate(answers.items()):
        common = Counter(found).most_common(1)[0][0]
        kind = " ".join(text.lower().split()[:2]).rstrip("?")
        known = Question(f"{record.id}#{number}", kind, answer_kind(found), tuple(found))
        yield Asked(text, common, known)


def answer_kind(answers: Sequence[str]) -> str:
    """`yes/no`, `number` or `other`, by what most answers are."""

    def one(answer: str) -> str:
        answer = answer.lower().strip(" .!")
        if answer in ("yes", "no"):
            return YES_NO
        return NUMBER if answer.isdecimal() else OTHER

    return Counter(map(one, answers)).most_common(1)[0][0]
