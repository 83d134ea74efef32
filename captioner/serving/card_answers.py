"""What the card of a model that answers questions says."""

from collections.abc import Mapping
from typing import Any

from captioner.serving import card_caption, card_common
from captioner.serving.markdown import code, table, text

# The baselines that see no picture, as scores.json names them.
_BLIND = ("question_only", "blank_image")

_OPENING = """\
Answers to questions about pictures: a {looks} looks at the picture, a BERT reads the question, and
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
        looks=card_common.looks(facts),
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
    for name in _BLIND:
        if name in how:
            lines.append(f"`{name}`, which sees no picture: {text(how[name])}.")
    return [*lines, "Papers print these figures times 100."] if lines else []


def _kinds(facts) -> list[str]:
    """The figures of each kind of answer."""
    found = (facts.get("scores") or {}).get("by_answer_type")
    if not found:
        return []
    rows = []
    for kind, row in found.items():
        shown = [row.get(name) for name in ("accuracy", *(f"accuracy_{one}" for one in _BLIND))]
        figures = ("" if one is None else f"{one:.4f}" for one in shown)
        rows.append((text(kind), f"{row['questions']:,}", *figures))
    return [table(("answers", "questions", "accuracy", *map(code, _BLIND)), rows)]
