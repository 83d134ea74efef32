"""What the card of a classifier says."""

from collections.abc import Mapping
from typing import Any

from captioner.serving import card_common
from captioner.serving.markdown import code, table, text

# So many classes are named one by one.
_NAMED = 100

_OPENING = """\
A classifier of pictures: a {looks} looks at the picture, and a linear layer says which of {count}
classes it is of. A SavedModel for TensorFlow Serving and any TensorFlow program, exported by
captioner {captioner} on {exported}.

`assets.extra/captioner.json` holds the facts of this page for programs."""

_CONTRACT = """\
- `image_bytes` are the contents of JPEG, PNG, GIF or BMP files. EXIF orientation is applied,
  transparency laid over white, the first frame of an animation taken. WebP, TIFF, HEIC, AVIF and
  others are refused by name.
- A JPEG may have {jpeg} megapixels (of 2^20 pixels), a progressive JPEG and the other formats
  {other}, and a side {side:,} pixels. Larger ones are refused before they are decoded.
- `classes` are the most probable ones, the most probable first, `probabilities` theirs; those of
  all classes sum to 1. `serving_default` and `classify` are the same.
- An image that can't be read gets empty names, zeros, and the reason in `error`; `error` is empty
  for the others, and their results are not touched."""

_INTENDED = """\
## Intended use

Sorting and finding pictures of the kinds that it was trained on, teaching and research. Not for
decisions about people, and not where a wrong class does harm."""

_LIMITS = """\
## Limits and biases

- It knows its classes and nothing else: a picture of something else gets one of them, too, and
  often with a high probability.
- Probabilities are the softmax's. Nobody has checked here how often a class with 0.9 is right.
- What the training pictures of a class have in common beside what the class means (a background, a
  camera) is part of what it learned."""


def parts(facts: Mapping[str, Any]) -> list[str]:
    """All parts between the card's title and its versions."""
    names = facts.get("classes") or []
    count = f"{len(names):,}" if names else "several"
    return [
        card_common.opening(_OPENING, facts, count=count),
        *_model(facts, names),
        *card_common.training(facts),
        *card_common.scores(facts, _how(facts)),
        *_classes(facts),
        *card_common.signatures(facts),
        *_contract(facts),
        _INTENDED,
        _LIMITS,
    ]


def _model(facts, names) -> list[str]:
    image_encoder, *_ = card_common.encoders(facts)
    rows = [
        image_encoder,
        ("head", "mean over the regions, a linear layer, softmax"),
        ("stored in", card_common.numbers(facts)),
        card_common.OPS,
    ]
    parts = ["## The model", table(("", ""), rows)]
    if names:
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        parts.append(f"Classes: {', '.join(map(code, names[:_NAMED]))}{more}.")
    return parts


def _how(facts) -> list[str]:
    found = facts.get("scores") or {}
    lines = [f"Scored by {text(one)}." for one in [found.get("settings", {}).get("scorers")] if one]
    if always := found.get("always"):
        lines.append(
            f"Who always said {code(always['class'])}, the most frequent class, would have an "
            f"accuracy of {always['accuracy']:.4f}."
        )
    return lines


def _classes(facts) -> list[str]:
    """The report of each class."""
    found = (facts.get("scores") or {}).get("classes")
    if not found or len(found) > _NAMED:
        return []
    columns = ("precision", "recall", "F1")
    rows = [
        (code(name), f"{one['images']:,}", *(f"{one[column]:.3f}" for column in columns))
        for name, one in found.items()
    ]
    return [table(("class", "images", *columns), rows)]


def _contract(facts) -> list[str]:
    limits = facts.get("limits")
    if not limits:
        return []
    jpeg, other = (limits[name] // 2**20 for name in ("jpeg_pixels", "pixels"))
    return [_CONTRACT.format(jpeg=jpeg, other=other, side=limits["side"])]
