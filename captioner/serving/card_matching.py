"""What the card of a model of image-text matching says."""

from collections.abc import Mapping
from typing import Any

from captioner.serving import card_common
from captioner.serving.markdown import text

_OPENING = """\
Does this sentence describe this image? A {looks} looks at the picture, a BERT reads the sentence,
and a classifier says how probable it is. A SavedModel for TensorFlow Serving and any TensorFlow
program, exported by captioner {captioner} on {exported}.

`assets.extra/captioner.json` holds the facts of this page for programs."""

_CONTRACT = """\
- `image_bytes` are the contents of JPEG, PNG, GIF or BMP files. EXIF orientation is applied,
  transparency laid over white, the first frame of an animation taken. WebP, TIFF, HEIC, AVIF and
  others are refused by name.
- A JPEG may have {jpeg} megapixels (of 2^20 pixels), a progressive JPEG and the other formats
  {other}, and a side {side:,} pixels. Larger ones are refused before they are decoded.
- An image that can't be read gets a `probability` of 0 and the reason in `error`; `error` is empty
  for the others, and their results are not touched.
- Texts are read up to {longest} WordPieces. An image that a request holds several times is looked
  at once."""

_INTENDED = """\
## Intended use

Finding captions that went to the wrong photograph, sorting of one's own, teaching and research. Not
for decisions about people, and not to tell true reports from false ones."""

_LIMITS = """\
## Limits and biases

- Training saw as many wrong pairs as right ones: where right ones are rarer, `probability` is too
  high. It orders better than it counts.
- Wrong captions were those of other photographs. Of sentences that are wrong in one word (another
  number, another colour, who does what to whom) it was taught next to nothing; the hard ones among
  the scores come nearest to that.
- Its encoders were pretrained on pictures and texts of the internet, and bring the habits of
  those."""

_FUSED = {
    "concatenation": "concatenation",
    "product": "product, entry by entry",
    "sum": "sum, weighted entry by entry",
    "attention": "the text's pieces ask the image's regions (cross-modal attention), then product",
}


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
    """What judges, over two encoders, and how it was trained."""
    own = facts["settings"]["matching"]
    starts = {
        "sentences": "sentence embeddings, the image's by a linear map in closed form",
        "random": "the mean region and the text's embedding",
    }
    wrong = f"{own['negatives']} for each right pair, {own['mined']:.0%} of them mined"
    return [
        ("what is joined", f"{starts[own['start']]}, projected"),
        ("fusion", _FUSED[own["fusion"]]),
        ("layers, head", f"{_widths(own['layers'])}; {_widths([*own['head'], 1])}, sigmoid"),
        ("objective", f"binary cross-entropy; wrong pairs: {wrong}"),
    ]


def _widths(layers) -> str:
    return ", ".join(map(str, layers)) or "none"


def _how(facts) -> list[str]:
    found = facts.get("scores") or {}
    lines = [f"Scored by {text(one)}." for one in [found.get("settings", {}).get("scorers")] if one]
    for name, label in (("hard", "Against hard wrong captions"), ("baseline", "The baseline")):
        row = found.get(name)
        if row:
            lines.append(
                f"{label}: accuracy {row['accuracy']:.4f}, ROC AUC {row['ROC_AUC']:.4f}."
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
