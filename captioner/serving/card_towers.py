"""What the card of two towers says."""

from collections.abc import Mapping
from typing import Any

from captioner.serving import card_common
from captioner.serving.markdown import code, text

_OPENING = """\
Two towers for retrieval: a {looks} looks at pictures, a BERT reads texts, and what belongs
together comes out near each other. A SavedModel for TensorFlow Serving and any TensorFlow program,
exported by captioner {captioner} on {exported}.

`assets.extra/captioner.json` holds the facts of this page for programs."""

_CONTRACT = """\
- `image_bytes` are the contents of JPEG, PNG, GIF or BMP files. EXIF orientation is applied,
  transparency laid over white, the first frame of an animation taken. WebP, TIFF, HEIC, AVIF and
  others are refused by name.
- A JPEG may have {jpeg} megapixels (of 2^20 pixels), a progressive JPEG and the other formats
  {other}, and a side {side:,} pixels. Larger ones are refused before they are decoded.
- `embedding` has length 1: the inner product of two of them is their cosine similarity. It says
  which of several is nearer, and nothing by itself.
- An image that can't be read gets an embedding of zeros and the reason in `error`; `error` is empty
  for the others, and their results are not touched.
- Texts are read up to {longest} WordPieces.
- Vectors of other versions are other vectors: an index belongs to the version that made it."""

_INTENDED = """\
## Intended use

Finding photographs by a sentence or by a photograph, sorting of one's own, teaching and research.
Not for decisions about people: finding people by what they look like, least of all."""

_LIMITS = """\
## Limits and biases

- What it takes to be near is what its training captions speak of: everyday scenes, in their words.
  Counts, colours of small things, writing in pictures and who does what to whom count for little.
- Something is always nearest, whether or not it fits.
- Its encoders were pretrained on pictures and texts of the internet, and bring the habits of those:
  what is said of people by their looks is near them here, too."""


def parts(facts: Mapping[str, Any]) -> list[str]:
    """All parts between the card's title and its versions."""
    return [
        card_common.opening(_OPENING, facts),
        *card_common.heads(facts, head(facts)),
        *card_common.training(facts),
        *card_common.scores(facts, _how(facts)),
        *card_common.signatures(facts),
        *_contract(facts),
        _INTENDED,
        _LIMITS,
    ]


def head(facts) -> list[tuple[str, str]]:
    """What makes towers of two encoders, and how it was trained."""
    rows = [("objective", _objective(facts["settings"]["contrastive"]))]
    width = facts["signatures"].get("embed_text", {}).get("outputs", {}).get("embedding")
    if width:
        rows.insert(0, ("projections", f"linear, to {width['shape'][1]} dimensions"))
    return rows


def _objective(own: Mapping[str, Any]) -> str:
    if own["loss"] == "triplet":
        return f"triplets, {own['negatives']} negatives of the batch, margin {own['margin']}"
    names = {"softmax": "symmetric cross-entropy", "sigmoid": "a sigmoid for each pair"}
    return f"{names[own['loss']]} over the batch, temperature learned"


def _how(facts) -> list[str]:
    found = facts.get("scores") or {}
    lines = [f"Scored by {text(one)}." for one in [found.get("settings", {}).get("scorers")] if one]
    name = "text_to_image_R@10"
    if name in found.get("baseline", {}):
        lines.append(
            f"Two linear layers on the frozen encoders have {found['baseline'][name]:.4f} "
            f"{code(name)}."
        )
    return lines


def _contract(facts) -> list[str]:
    limits = facts.get("limits")
    if not limits:
        return []
    return [
        _CONTRACT.format(
            jpeg=limits["jpeg_pixels"] // 2**20,
            other=limits["pixels"] // 2**20,
            side=limits["side"],
            longest=facts["settings"]["text"]["max_prompt"],
        )
    ]
