"""Answers to a data set's questions, scored, and what the commands print of it."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from captioner import __version__
from captioner.captioning import Captioner
from captioner.config import Settings
from captioner.errors import CaptionerError
from captioner.evaluation import write_json, write_rows
from captioner.inputs.files import batches
from captioner.inputs.questions import Asked, asked
from captioner.inputs.records import Problems, Record, check_unreadable
from captioner.metrics import vqa

_BATCH = 32
_SHOWN = 8

# Kinds of questions in what is printed; VQA has 65.
_KINDS_PRINTED = 12


@dataclass(frozen=True)
class Answered:
    """A question, an image's, and what the model says.

    Attributes:
        record, question: what was asked.
        answer: the model's.
        blind: the answer of the baseline that sees no image, or None without training data.
        accuracy, blind_accuracy: of both, None where nothing is known to score by.
    """

    record: Record
    question: Asked
    answer: str
    blind: str | None
    accuracy: float | None
    blind_accuracy: float | None


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
        training: those that the baseline learns from; maybe none.
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
    pairs = [(one.text, one.answer) for record in training for one in asked(record)]
    baseline = vqa.QuestionOnly(pairs) if pairs else None
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
            blind = baseline(one.text) if baseline else None
            people = one.known.answers
            scores = [
                vqa.accuracy(answer, people) if people and answer is not None else None
                for answer in (result.text, blind)
            ]
            found.append(Answered(record, one, result.text, blind, *scores))
        progress(min(part.stop, len(rows)), len(rows))
    problems = Problems()
    images = len({record.id for record, _ in rows})
    check_unreadable(problems, list(unreadable.values()), images, unreadable_limit)
    if not found:
        raise CaptionerError("none of the images could be read")
    return found, problems


def scores_of(answered: Sequence[Answered]) -> dict[str, Any]:
    """What scores.json holds, but for its settings.

    Returns:
        `images` and `questions` that are scored; `accuracy`; `accuracy_question_only`, that of the
        baseline without an image; `by_answer_type` and `by_question_type`, each kind with
        `questions` and both figures. Without published answers, the numbers of images and
        questions only.
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
    if all(one.blind_accuracy is not None for one in scored):
        blind = vqa.summary([one.blind_accuracy for one in scored], kinds)
        figures["accuracy_question_only"] = blind
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
        "captioner": __version__,
        "model": str(model.source),
        "data": spec,
        "split": split,
        "decode": model.settings,
        "scorers": "captioner.metrics.vqa: min(people who said it / 3, 1), averaged over leaving "
        "each of ten out, of answers processed alike",
        "question_only": "most frequent training answer to the very question, else to those that "
        "share its longest beginning",
    }


def table(scores: dict[str, Any]) -> str:
    """The figures in lines: the model's, and beside it the baseline's that sees no image."""
    if "accuracy" not in scores:
        return f"{scores['questions']:,} questions answered, none of which can be scored"
    lines = [f"{'':24}{'questions':>10}{'accuracy':>10}{'question only':>15}"]

    def line(name: str, row: dict[str, Any]) -> str:
        blind = row.get("accuracy_question_only")
        shown = "–" if blind is None else f"{blind:.3f}"
        return f"{name[:23]:24}{row['questions']:>10,}{row['accuracy']:>10.3f}{shown:>15}"

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
            "question_only": one.blind,
            "accuracy_question_only": one.blind_accuracy,
            "people": list(one.question.known.answers),
        }
        for one in answered
    ]


def evaluate(arguments: argparse.Namespace, settings: Settings) -> None:
    """Answers a split's questions, prints the scores, and writes what was asked for."""
    from captioner.learning.data import counting, read_data, tell
    from captioner.loading import load

    decode = [word for word in arguments.overrides if word.startswith("decode.")]
    model = load(arguments.model, overrides=decode) if decode else load(arguments.model)
    data = read_data(settings, questions=True)
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
