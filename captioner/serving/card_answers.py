"""What the card of a model that answers questions says."""

from collections.abc import Mapping
from typing import Any

from captioner.serving import card_caption, card_common
from captioner.serving.markdown import table, text

_OPENING = """\
Answers to questions about pictures: a ResNet50 looks at the picture, a BERT reads the question, and
{teller}. A SavedModel for TensorFlow Serving and any TensorFlow program, exported by captioner
{captioner} on {exported}.

`assets.extra/captioner.json` holds the facts of this page for programs."""

_SPEAKS = "an LSTM with attention writes the answer"
_CHOOSES = "a classifier with attention chooses among the answers that training gave most often"

_SERVED = """\
The question is the `prompt`, and ends in `?`; the answer is the `caption`. Without a question it
says what it would answer to any."""

_INTENDED_USE = """\
## Intended use

Search and sorting of one's own photographs, teaching and research. Not for decisions about people,
and not where a wrong answer does harm."""

_LIMITS = """\
## Limits and biases

- It answers everything, also what the picture doesn't tell, and says wrong things as readily as
  right ones: the scores above say how often, and how much of that a model gets right that sees no
  picture at all.
- It knows the questions and the answers of its training data. Counts, writing in pictures and who
  does what to whom are often wrong.
- It follows the habits of its training data where the picture doesn't tell, and those of the data
  that its pretrained encoders were trained on. Nobody has measured them here."""


def parts(facts: Mapping[str, Any]) -> list[str]:
    """All parts between the card's title and its versions."""
    chooses = facts["settings"]["model"].get("answers")
    opening = _OPENING.format(
        teller=_CHOOSES if chooses else _SPEAKS,
        captioner=text(facts["captioner"]),
        exported=text(facts["exported"]),
    )
    return [
        opening,
        *card_caption.model(facts),
        *card_common.training(facts),
        *card_common.scores(facts, _how(facts)),
        *_kinds(facts),
        *card_caption.contract(facts),
        _SERVED,
        _INTENDED_USE,
        _LIMITS,
    ]


def _how(facts) -> list[str]:
    how = facts["scores"].get("settings", {}) if facts.get("scores") else {}
    lines = []
    if "questions" in (facts.get("scores") or {}):
        lines.append(f"{facts['scores']['questions']:,} questions.")
    if "scorers" in how:
        lines.append(f"Scored by {text(how['scorers'])}.")
    if "question_only" in how:
        lines.append(f"`question_only`, which sees no picture: {text(how['question_only'])}.")
    return [*lines, "Papers print these figures times 100."] if lines else []


def _kinds(facts) -> list[str]:
    """The figures of each kind of answer."""
    found = (facts.get("scores") or {}).get("by_answer_type")
    if not found:
        return []
    rows = [
        (text(kind), f"{row['questions']:,}", f"{row['accuracy']:.4f}",
         f"{row['accuracy_question_only']:.4f}" if "accuracy_question_only" in row else "")
        for kind, row in found.items()
    ]  # fmt: skip
    return [table(("answers", "questions", "accuracy", "question only"), rows)]
