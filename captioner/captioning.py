"""Captions in Python, from a run folder, an export or a model server.

    import captioner
    model = captioner.load("saved_models/captioner")
    result = model.caption("photo.jpg")
    result.text, result.log_prob

Legend: K captions, T tokens, H, W rows and columns of the image grid.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from captioner.confidence import Calibration
from captioner.errors import CaptionerError
from captioner.inputs.files import batches, read_file
from captioner.serving.contract import NOTHING

Call = Callable[[str, dict[str, list[bytes]]], dict[str, np.ndarray]]
Picture = str | os.PathLike | bytes | np.ndarray


@dataclass(frozen=True)
class Caption:
    """One caption of an image."""

    text: str
    log_prob: float
    """Nats, summed over the tokens, the end token included."""
    tokens: tuple[str, ...] = ()
    """WordPieces, the end token left out; only where several captions or attention were asked
    for. Of a beginning they are what the decoder reads: lower case, `[UNK]` for unknown words."""
    attention: np.ndarray | None = None
    """float32 [tokens, H, W], each map summing to 1; only where asked for."""
    confidence: float | None = None
    """The probability that the caption shares its main noun with what people say of the picture
    (see `captioner.confidence`); None where nothing is known of that: of a model that wasn't
    calibrated with its settings, and of captions with a prompt."""

    def as_json(self) -> dict[str, Any]:
        """What every JSON answer says of it; its confidence is there where it is known."""
        row = {"text": self.text, "log_prob": self.log_prob}
        return row if self.confidence is None else row | {"confidence": self.confidence}


@dataclass(frozen=True)
class Result:
    """An image's captions, the best first; none where the image couldn't be read, or where none
    was sure enough.

    There are fewer than were asked for where a beginning leaves room for fewer.
    """

    captions: tuple[Caption, ...]
    error: str | None = None
    """Why there are no captions."""
    silent: bool = False
    """Whether the image was read, and its captions left out as unsure."""
    left_out: float | None = None
    """Where silent: the highest confidence of the captions that were left out."""

    @property
    def text(self) -> str:
        """The best caption, '' where there is none."""
        return self.captions[0].text if self.captions else ""

    @property
    def log_prob(self) -> float:
        """The best caption's log-probability, 0 where there is none."""
        return self.captions[0].log_prob if self.captions else 0.0


class Captioner:
    """Captions images; `captioner.load` makes one, or `captioner.serving.client.connect`.

    Args:
        source: Path or str. What it was loaded from: a run folder, an export's version, a URL.
        call: called with a signature's name and its inputs by name, each a list of bytes [B];
            gives its outputs by name, arrays [B, ...].
        settings: dict. How it decodes: beams, max_tokens, as far as known length_penalty.
        calibration: what turns log-probabilities into confidence. Of other settings than these,
            or of other weights, it is left alone. Defaults to none.
        weights: str or None. What a calibration must be of (`confidence.fingerprint`). Defaults to
            None: it came with the weights.
        prepare: what is done to a file's contents before they are sent; raises `CaptionerError`
            for those that can't be captioned. Defaults to nothing.
        keep: what must live as long as this.

    Attributes:
        source, call, settings, calibration: as given.
        beams: int. The most captions that one image can be given.
        unsure: str. Why captions have no confidence, '' where they have one.
    """

    def __init__(
        self,
        source: Path | str,
        call: Call,
        settings: dict[str, Any],
        *,
        calibration: Calibration | None = None,
        weights: str | None = None,
        prepare: Callable[[bytes], bytes] | None = None,
        keep: Any = None,
    ):
        self.source = source
        self.call = call
        self.settings = settings
        self.beams = int(settings["beams"])
        self.calibration = calibration
        self.unsure = _unsure(source, calibration, settings, weights)
        self._prepare = prepare
        self._keep = keep

    def caption(
        self,
        images: Picture | Sequence[Picture],
        prompts: str | Sequence[str] = "",
        *,
        captions: int = 1,
        attention: bool = False,
        min_confidence: float | None = None,
        batch_size: int = 32,
    ) -> Any:
        """Captions one image, or a list of them.

        Args:
            images: a path, a file's contents as bytes, an array (also a tensor), or a list of
                these. Arrays are [height, width], or [height, width, channels] with 1, 3 (RGB) or
                4 (RGBA) channels, uint8 in 0 to 255 or floating point in 0 to 1.
            prompts: str, one for all, or one per image: key words, a beginning that ends in `…` or
                `...`, or a question that ends in `?`. Defaults to none.
            captions: int. How many captions per image, at most `beams`.
            attention: bool. Whether to say where each token looked.
            min_confidence: float or None. Leaves out captions of a lower confidence, 0 to 1, and
                says so in `error` where none is left. Needs a calibrated model and no prompts.
            batch_size: int. Images at once.

        Returns:
            A `Result`, or a list of them where a list was given. An image that can't be read has
            an `error` and no captions.

        Raises:
            CaptionerError: more captions than beams, prompts and images of different numbers,
                something that is no image, or a confidence that nothing is known of.
        """
        one = isinstance(images, (str, os.PathLike, bytes)) or not isinstance(images, Iterable)
        one |= hasattr(images, "__array__")  # iterating over an array would give its rows
        pictures = [images] if one else list(images)
        asked = [prompts] * len(pictures) if isinstance(prompts, str) else list(prompts)
        if len(asked) != len(pictures):
            raise CaptionerError(f"{len(asked)} prompts for {len(pictures)} images")
        if not 1 <= captions <= self.beams:
            raise CaptionerError(
                f"{captions} captions an image: {self.source} searches {self.beams} at once; ask "
                f"for 1 to {self.beams}, or load a run folder with beams={captions}"
            )
        if min_confidence is not None:
            self.check_confidence(min_confidence, asked)
        results: list[Result] = []
        for part in batches(len(pictures), batch_size):
            made = self._batch(pictures[part], asked[part], captions, attention)
            results += [
                self.judged(result, prompt, min_confidence)
                for result, prompt in zip(made, asked[part], strict=True)
            ]
        return results[0] if one else results

    def judged(self, result: Result, prompt: str = "", least: float | None = None) -> Result:
        """A result with a confidence for each caption, where there is a calibration and no prompt;
        without the captions that are less sure than `least`, for those who have checked it."""
        if self.unsure or prompt.strip():
            return result
        confidence = self.calibration.confidence
        captions = tuple(
            replace(one, confidence=confidence(one.text, one.log_prob)) for one in result.captions
        )
        result = replace(result, captions=captions)
        return result if least is None else _sure(result, least)

    def check_confidence(self, least: float, prompts: Sequence[str] = ()) -> None:
        """Raises `CaptionerError` where a least confidence can't be asked for."""
        if not 0 <= least <= 1:
            raise CaptionerError(f"a confidence is from 0 to 1, not {least}")
        if any(prompt.strip() for prompt in prompts):
            raise CaptionerError(
                "confidence is known of captions without a prompt only: leave the prompt out, or "
                "the least confidence"
            )
        if self.unsure:
            raise CaptionerError(f"no confidence: {self.unsure}")

    def _batch(self, pictures, prompts, captions, attention) -> list[Result]:
        contents, errors = zip(*(self._contents(picture) for picture in pictures), strict=True)
        prompts = [prompt.encode("utf-8", "surrogatepass") for prompt in prompts]
        inputs = {"image_bytes": list(contents)}
        name = signature_for(captions, attention, any(prompts))
        if name != "serving_default":
            inputs["prompt"] = prompts
        out = self.call(name, inputs)
        return [
            Result((), error)
            if error
            else answered({key: values[row] for key, values in out.items()}, captions, attention)
            for row, error in enumerate(errors)
        ]

    def _contents(self, picture: Picture) -> tuple[bytes, str]:
        """What is sent of a picture, and '' or why it can't be."""
        contents, error = _read(picture)
        if self._prepare is None or error:
            return contents, error
        try:
            return self._prepare(contents), ""
        except CaptionerError as unfit:
            return b"", str(unfit)


def checked(model: Any) -> Any:
    """What `captioner.load` gave, for those who need captions of it.

    Raises:
        CaptionerError: it is a model of another task.
    """
    if not hasattr(model, "caption"):
        raise CaptionerError(f"{model.source} writes no captions: it is a model of another task")
    return model


def signature_for(captions: int, attention: bool, prompted: bool) -> str:
    """The cheapest signature that gives what is wanted."""
    if captions > 1 or attention:
        return "caption_beams"
    return "caption_with_prompt" if prompted else "serving_default"


def answered(row: Mapping[str, Any], captions: int, attention: bool) -> Result:
    """What a signature says of one image.

    Args:
        row: its outputs for the image by name, without the batch dimension.
        captions: int. How many to take, where it gives several.
        attention: bool. Whether to take the attention as well.
    """
    if error := row["error"].decode():
        return Result((), error)
    if "captions" not in row:
        return Result((Caption(row["caption"].decode(), float(row["log_prob"])),))
    made = []
    for beam in range(captions):
        if row["log_probs"][beam] <= NOTHING:
            break
        length = np.count_nonzero(row["tokens"][beam] != b"")
        made.append(
            Caption(
                row["captions"][beam].decode(),
                float(row["log_probs"][beam]),
                tuple(token.decode() for token in row["tokens"][beam, :length]),
                row["attention"][beam, :length] if attention else None,
            )
        )
    return Result(tuple(made))


def _sure(result: Result, least: float) -> Result:
    """A result without the captions of a lower confidence."""
    kept = tuple(one for one in result.captions if one.confidence >= least)
    if kept or result.error:
        return replace(result, captions=kept)
    most = max((one.confidence for one in result.captions), default=0.0)
    return Result((), f"kept silent: at most {most:.2f} sure, {least:g} was asked for", True, most)


def _unsure(
    source, calibration: Calibration | None, settings: dict[str, Any], weights: str | None
) -> str:
    """Why there is no confidence, '' where there is one."""
    if calibration is None:
        return (
            f"{source} has no calibration; `python -m captioner.calibrate --run DIR` gives one to "
            "a run folder and to what is exported of it afterwards (model servers have none)"
        )
    if weights not in (None, calibration.weights):
        return (
            f"{source} was calibrated with other weights than it has now: "
            f"`python -m captioner.calibrate --run {source}` does it again"
        )
    found = calibration.differences(settings)
    if not found:
        return ""
    return (
        f"{source} was calibrated with other settings ({'; '.join(found[:3])}): leave them as they "
        "were"
    )


def _read(picture: Picture) -> tuple[bytes, str]:
    """A picture as an image file's contents, and '' or why it couldn't be read."""
    if isinstance(picture, bytes):
        return picture, ""
    if isinstance(picture, (str, os.PathLike)):
        return read_file(picture)
    if not hasattr(picture, "__array__"):
        raise CaptionerError(
            f"a picture of type {type(picture).__name__}: give a path, a file's contents as bytes, "
            "or an array (numpy.asarray(image.convert('RGB')) of a Pillow image)"
        )
    from captioner.inputs.images import array_file  # brings TensorFlow, files don't need it here

    return array_file(np.asarray(picture)), ""
