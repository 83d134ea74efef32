"""What the card of a model with several heads says: the captioner's, with what the others add."""

from collections.abc import Mapping
from typing import Any

from captioner.serving import card_caption, card_common, card_matching, card_towers
from captioner.serving.card_text import INTENDED_USE, LIMITS

_OPENING = """\
An image captioner that also finds and judges: a {looks} looks at the picture and a BERT reads
texts, an LSTM with attention writes captions, two linear projections bring pictures and texts that
belong together near each other, and a classifier says how probable it is that a sentence describes
a picture. All of them have the same two encoders. A SavedModel for TensorFlow Serving and any
TensorFlow program, exported by captioner {captioner} on {exported}.

`assets.extra/captioner.json` holds the facts of this page for programs."""

_MORE = """\
- `embedding` has length 1: the inner product of two of them is their cosine similarity, which says
  which of several is nearer, and nothing by itself. An image that can't be read has zeros. Vectors
  of other versions are other vectors: an index belongs to the version that made it.
- `probability` is that of `text` describing the image, 0 where that can't be read. Training saw as
  many wrong pairs as right ones: where right ones are rarer it is too high."""

_FINDING = """\
- Finding and judging go by what the training captions speak of, in their words. Something is always
  nearest, whether or not it fits, and a sentence that is wrong in one word is hardly told from a
  right one."""

_NAMES = {
    "caption": "captioning, a token",
    "contrastive": "contrastive learning, a caption",
    "matching": "matching, a pair",
}


def parts(facts: Mapping[str, Any]) -> list[str]:
    """All parts between the card's title and its versions."""
    contract = card_caption.contract(facts)
    return [
        card_common.opening(_OPENING, facts),
        *card_caption.model(facts, _heads(facts)),
        *card_common.training(facts, card_caption.texts(facts)),
        *card_common.scores(facts, card_caption.how(facts)),
        *card_caption.certainty(facts),
        *contract[:-1],
        f"{contract[-1]}\n{_MORE}",
        INTENDED_USE,
        f"{LIMITS}\n{_FINDING}",
    ]


def _heads(facts) -> list[tuple[str, str]]:
    """The heads beside the captioner's, and what each weighed in training."""
    rows = [
        (f"{name}: {row}", said)
        for name, head in (("finding", card_towers.head), ("judging", card_matching.head))
        for row, said in head(facts)
    ]
    own = facts["settings"]["joint"]
    weights = {
        "caption": own["alpha"],
        "contrastive": own["beta"] * own["contrastive"],
        "matching": own["beta"] * own["matching"],
    }
    shown = (f"{_NAMES[name]}: {weight:g}" for name, weight in weights.items() if weight)
    untrained = [_NAMES[name].split(",")[0] for name, weight in weights.items() if not weight]
    said = "; ".join(shown)
    if untrained:
        said += f". **Not trained: {' and '.join(untrained)}**"
    return [*rows, ("weights of the losses", said)]
