"""From a request's fields to a signature, and from its outputs to JSON."""

import functools
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from captioner.serving.contract import NOTHING
from captioner.web.uploads import Refused

_PROMPT = 2000  # characters
_YES, _NO = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


@dataclass(frozen=True)
class Wish:
    """What is wanted of an image."""

    prompt: str = ""
    captions: int = 1
    attention: bool = False

    @classmethod
    def of(cls, fields: dict[str, str], beams: int) -> "Wish":
        """Reads a request's fields.

        Raises:
            Refused: 400, one of them makes no sense.
        """
        prompt = fields.get("prompt", "").strip()
        if len(prompt) > _PROMPT:
            raise Refused(400, f"the prompt is longer than {_PROMPT} characters")
        captions = fields.get("captions", "1")
        if not (captions.isascii() and captions.isdigit() and 1 <= int(captions[:9]) <= beams):
            raise Refused(400, f"captions: {captions[:20]!r}; this model gives 1 to {beams}")
        attention = fields.get("attention", "").lower()
        if attention not in _YES + _NO:
            raise Refused(400, f"attention: {attention[:20]!r}; give 1 or 0")
        return cls(prompt, int(captions), attention in _YES)

    @property
    def signature(self) -> str:
        """The cheapest signature that does it."""
        if self.captions > 1 or self.attention:
            return "caption_beams"
        return "caption_with_prompt" if self.prompt else "serving_default"


def answer_of(row: dict[str, np.ndarray], wish: Wish) -> dict:
    """An image's answer, ready for JSON.

    row: the outputs of the wish's signature for this image. Returns `captions`, the best first,
    with `text`, `log_prob` in nats, and of `caption_beams` the `tokens` and, if wanted, their
    `attention` [tokens][H][W]; and `error`, None or why the image couldn't be read.
    """
    error = row["error"].decode()
    if error:
        return {"captions": [], "error": error}
    if wish.signature == "caption_beams":
        captions = [
            _caption(row, beam, wish.attention)
            for beam in range(wish.captions)
            if row["log_probs"][beam] > NOTHING
        ]
    else:
        captions = [{"text": row["caption"].decode(), "log_prob": float(row["log_prob"])}]
    return {"captions": captions, "error": None}


def _caption(row: dict[str, np.ndarray], beam: int, attention: bool) -> dict:
    length = np.count_nonzero(row["tokens"][beam] != b"")
    caption = {
        "text": row["captions"][beam].decode(),
        "log_prob": float(row["log_probs"][beam]),
        "tokens": [token.decode() for token in row["tokens"][beam, :length]],
    }
    if attention:
        maps = row["attention"][beam, :length].astype(np.float64)
        caption["attention"] = np.round(maps, 5).tolist()
    return caption


@functools.cache
def sample_image() -> bytes:
    """A small grey JPEG, to call a model with."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(file, "JPEG")
    return file.getvalue()
