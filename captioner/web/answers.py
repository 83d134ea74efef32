"""From a request's fields to a signature, and from a result to JSON."""

import functools
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from captioner.captioning import Caption, Result, signature_for
from captioner.web.uploads import Refused

# These the graph reads itself. (JPEG, PNG, GIF, BMP)
READ_BY_THE_GRAPH = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM")

_PROMPT = 2000  # characters
_YES, _NO = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


@dataclass(frozen=True)
class Wish:
    """What is wanted of an image."""

    prompt: str = ""
    captions: int = 1
    attention: bool = False

    @classmethod
    def of(
        cls, fields: dict[str, str], beams: int, prompts: bool = True, questions: bool = False
    ) -> "Wish":
        """Reads a request's fields.

        Args:
            fields: by name.
            beams: int. The most captions of an image.
            prompts: bool. Whether they are taken. Confidence isn't known of captions with one.
            questions: bool. Whether the prompt is a question, which has to be there.

        Raises:
            Refused: 400, one of them makes no sense.
        """
        prompt = fields.get("prompt", "").strip()
        if len(prompt) > _PROMPT:
            raise Refused(400, f"the prompt is longer than {_PROMPT} characters")
        if prompt and not prompts:
            raise Refused(
                400, "this server gives captions that it is sure of, and knows that of captions "
                "without a prompt only: leave the prompt out"
            )  # fmt: skip
        if questions and not prompt:
            raise Refused(
                400, "no question: this model answers questions about photos; put one into the "
                "field prompt, such as 'what colour is the car?'"
            )  # fmt: skip
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
        return signature_for(self.captions, self.attention, bool(self.prompt))


def answer_of(result: Result, wish: Wish) -> dict:
    """An image's answer, ready for JSON: `captions` and `error`.

    Captions come the best first, with `text`, `log_prob` in nats, where it is known `confidence`,
    of `caption_beams` the `tokens` and, if wanted, their `attention` [tokens][H][W]. `error` is
    None, or why there are none: the image couldn't be read, or no caption is sure enough, and then
    `left_out` is the confidence of the surest.
    """
    answer = {"captions": [_caption(one, wish) for one in result.captions], "error": result.error}
    return answer | {"left_out": result.left_out} if result.silent else answer


def _caption(one: Caption, wish: Wish) -> dict:
    caption = one.as_json()
    if wish.signature == "caption_beams":
        caption["tokens"] = list(one.tokens)
    if wish.attention:
        caption["attention"] = np.round(one.attention.astype(np.float64), 5).tolist()
    return caption


@functools.cache
def sample_image() -> bytes:
    """A small grey JPEG, to call a model with."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(file, "JPEG")
    return file.getvalue()
