"""Answers to a data set's questions, scored, and what the commands print of it.

Beside the model's stand two baselines that see no picture, and what they get right the questions
give away: the training answers most often given to the same question, and the model itself, asked
of a blank picture.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from captioner.captioning import Captioner
from captioner.config import Settings
from captioner.errors import CaptionerError
from captioner.evaluation import circumstances, write_json, write_rows
from captioner.inputs.files import batches
from captioner.inputs.images import blank_file
from captioner.inputs.questions import Asked, asked
from captioner.inputs.records import Problems, Record, check_unreadable
from captioner.metrics import vqa
from captioner.tasks import caption_commands

_BATCH = 32
_SHOWN = 8

# Kinds of questions in what is printed; VQA has 65.
_KINDS_PRINTED = 12

# The baselines by what their figures are called, to what is printed above them.
_BLIND = {"question_only": "question only", "blank_image": "blank image"}


@dataclass(frozen=True)
class Answered:
    """A question, an image's, and what the model says.

    Attributes:
        record, question: what was asked.
        answer: the model's.
        accuracy: its, None where nothing is known to score by.
        blind: what the baselines say, by their names; `question_only` needs training data.
        blind_accuracy: theirs, where there is anything to score by.
    """

    record: Record
    question: Asked
    answer: str
    accuracy: float | None
    blind: dict[str, str]
    blind_accuracy: dict[str, float] = field(default_factory=dict)


def answer_all(
    model: Captioner,
    records: Sequence[Record],
    training: Iterable[Record],
    unreadable_limit: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Answered], Problems]:
    """Asks every question of every image; those of images that can't be read are left out.

    Args:
        model: what answers.
        records: the images.
        training: those that the baseline `question_only` learns from; maybe none.
        unreadable_limit: the share of images that may be unreadable.
        progress: told how many questions are answered, and of how many.

    Raises:
        CaptionerError: no questions, or too many images that can't be read.
    """
    rows = [(record, one) for record in records for one in asked(record)]
    if not rows:
        raise CaptionerError(
            "no questions to answer: the data set has none in this split (prompts that are "
            "questions, in a column `prompt`)"
        )
    baselines = {"blank_image": _blank(model, [one.text for _, one in rows])}
    pairs = [(one.text, one.answer) for record in training for one in asked(record)]
    if pairs:
        baselines["question_only"] = vqa.QuestionOnly(pairs)
    found, unreadable = [], {}
    for part in batches(len(rows), _BATCH):
        chunk = rows[part]
        results = model.caption(
            [record.image for record, _ in chunk],
            [one.text for _, one in chunk],
            batch_size=_BATCH,
        )
        for (record, one), result in zip(chunk, results, strict=True):
            if result.error:
                unreadable.setdefault(record.id, f"{record.image}: {result.error}")
                continue
            blind = {name: baselines[name](one.text) for name in _BLIND if name in baselines}
            answered = Answered(record, one, result.text, None, blind)
            if people := one.known.answers:
                scores = {name: vqa.accuracy(answer, people) for name, answer in blind.items()}
                mine = vqa.accuracy(result.text, people)
                answered = replace(answered, accuracy=mine, blind_accuracy=scores)
            found.append(answered)
        progress(min(part.stop, len(rows)), len(rows))
    problems = Problems()
    images = len({record.id for record, _ in rows})
    check_unreadable(problems, list(unreadable.values()), images, unreadable_limit)
    if not found:
        raise CaptionerError("none of the images could be read")
    return found, problems


def _blank(model: Captioner, questions: Sequence[str]) -> Callable[[str], str]:
    """What the model says to each of these questions about a blank picture."""
    texts = sorted(set(questions))
    results = model.caption([blank_file()] * len(texts), texts, batch_size=_BATCH)
    return {text: result.text for text, result in zip(texts, results, strict=True)}.get


def scores_of(answered: Sequence[Answered]) -> dict[str, Any]:
    """What scores.json holds, but for its settings.

    Returns:
        `images` and `questions` that are scored; `accuracy`; `accuracy_question_only` (with
        training data) and `accuracy_blank_image`, those of the baselines; `by_answer_type` and
        `by_question_type`, each kind with `questions` and these figures. Without published answers,
        the numbers of images and questions only.
    """
    scored = [one for one in answered if one.accuracy is not None]
    if not scored:
        images = len({one.record.id for one in answered})
        return {"images": images, "questions": len(answered)}
    kinds = {
        "by_answer_type": [one.question.known.answer_kind for one in scored],
        "by_question_type": [one.question.known.kind for one in scored],
    }
    figures = {"accuracy": vqa.summary([one.accuracy for one in scored], kinds)}
    for name in scored[0].blind_accuracy:
        blind = vqa.summary([one.blind_accuracy[name] for one in scored], kinds)
        figures[f"accuracy_{name}"] = blind
    made: dict[str, Any] = {
        "images": len({one.record.id for one in scored}),
        "questions": len(scored),
        **{name: found["accuracy"] for name, found in figures.items()},
    }
    for name, column in kinds.items():
        made[name] = {
            kind: {
                "questions": column.count(kind),
                **{figure: found[name][kind] for figure, found in figures.items()},
            }
            for kind in sorted(set(column))
        }
    return made


def conditions(model: Captioner, spec: str, split: str) -> dict[str, Any]:
    """What a reader must know to compare figures: the `settings` of scores.json."""
    return {
        **circumstances(model, spec, split),
        "decode": model.settings,
        "scorers": "captioner.metrics.vqa: min(people who said it / 3, 1), averaged over leaving "
        "each of ten out, of answers processed alike",
        "question_only": "most frequent training answer to the very question, else to those that "
        "share its longest beginning",
        "blank_image": "the model's answers to the questions about a picture of one colour",
    }


def table(scores: dict[str, Any]) -> str:
    """The figures in lines: the model's, and beside it those of the baselines."""
    if "accuracy" not in scores:
        return f"{scores['questions']:,} questions answered, none of which can be scored"
    names = {f"accuracy_{name}": title for name, title in _BLIND.items()}
    names = {name: title for name, title in names.items() if name in scores}
    lines = [f"{'':24}{'questions':>10}{'accuracy':>10}"]
    lines[0] += "".join(f"{title:>15}" for title in names.values())

    def line(name: str, row: dict[str, Any]) -> str:
        shown = "".join(f"{row[name]:>15.3f}" for name in names)
        return f"{name[:23]:24}{row['questions']:>10,}{row['accuracy']:>10.3f}{shown}"

    lines.append(line("all", scores))
    lines += [line(kind, row) for kind, row in scores["by_answer_type"].items()]
    kinds = sorted(scores["by_question_type"].items(), key=lambda item: -item[1]["questions"])
    lines.append("")
    lines += [line(f"{kind} …", row) for kind, row in kinds[:_KINDS_PRINTED]]
    if len(kinds) > _KINDS_PRINTED:
        lines.append(f"and {len(kinds) - _KINDS_PRINTED} more kinds of questions")
    return "\n".join(lines)


def summary(scores: dict[str, Any], answered: Sequence[Answered] | None) -> str:
    """A few answers, if there are any, and the scores."""
    lines = []
    if answered:
        lines.append("Questions about images that training never saw:\n")
        for one in answered[:: max(1, len(answered) // _SHOWN)][:_SHOWN]:
            lines.append(
                f"{one.record.image}\n  {one.question.text}  {one.answer}"
                + (f"  (a person: {one.question.answer})" if one.question.answer else "")
            )
        lines.append("")
    return "\n".join([*lines, table(scores)])


def predictions(answered: Sequence[Answered]) -> list[dict[str, Any]]:
    """Answers in VQA's results format; ids are numbers where VQA's are."""
    return [
        {"question_id": _own_id(one.question.known.id), "answer": one.answer} for one in answered
    ]


def _own_id(id: str) -> int | str:
    return int(id) if id.isascii() and id.isdecimal() else id


def rows(answered: Sequence[Answered]) -> list[dict[str, Any]]:
    """All that is known of each question, for other programs."""
    return [
        {
            "question_id": _own_id(one.question.known.id),
            "image": str(one.record.image),
            "question": one.question.text,
            "answer": one.answer,
            "accuracy": one.accuracy,
            **one.blind,
            **{f"accuracy_{name}": score for name, score in one.blind_accuracy.items()},
            "people": list(one.question.known.answers),
        }
        for one in answered
    ]


def evaluate(arguments: argparse.Namespace, settings: Settings) -> None:
    """Answers a split's questions, prints the scores, and writes what was asked for."""
    from captioner.learning.data import counting, read_data, tell

    model = caption_commands.opened(arguments)
    data = read_data(settings, "questions")
    training = () if "train" in arguments.split else data.split("train")
    with counting("answering", "question") as progress:
        answered, problems = answer_all(
            model,
            data.split(arguments.split),
            training,
            settings.data.unreadable_limit,
            progress,
        )
    if problems:
        tell(f"left out: {problems.summary()}")
    spec = settings.data.spec
    scores = scores_of(answered) | {"settings": conditions(model, spec, arguments.split)}
    print(table(scores))
    if arguments.scores:
        write_json(arguments.scores, scores)
    if arguments.predictions:
        write_json(arguments.predictions, predictions(answered))
    if arguments.rows:
        write_rows(arguments.rows, rows(answered))
