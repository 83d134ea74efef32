"""Captions of image files as lines: what `captioner.predict` prints of a captioner, which may be a
model server's (then nothing here loads TensorFlow)."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from captioner import source
from captioner.captioning import Captioner, Result
from captioner.errors import CaptionerError
from captioner.inputs.named import printable

_BATCH = 16


def predict(arguments: argparse.Namespace, images: Sequence[str]) -> int:
    """Captions the images in the order given; 1 if one of them couldn't be read. Silence where
    confidence is low is no failure."""
    model = open_captioner(arguments)
    if arguments.attention:
        arguments.attention.mkdir(parents=True, exist_ok=True)
    failed, silent = False, 0
    for start in range(0, len(images), _BATCH):
        chunk = images[start : start + _BATCH]
        results = model.caption(
            chunk,
            arguments.prompt,
            captions=arguments.beams or 1,
            attention=arguments.attention is not None,
            min_confidence=arguments.min_confidence,
        )
        for number, (image, result) in enumerate(zip(chunk, results, strict=True), start):
            failed |= result.error is not None and not result.silent
            silent += result.silent
            show(image, result, arguments.json)
            if arguments.attention and result.captions:
                draw(image, result, arguments.attention / drawing_name(number, image))
    if silent:
        print(f"kept silent on {silent} of {len(images)} images", file=sys.stderr)
    return 1 if failed else 0


def open_captioner(arguments: argparse.Namespace) -> Captioner:
    """The captioner that the options name.

    Raises:
        CaptionerError: none there, or none that can do what is asked.
    """
    options = {"beams": arguments.beams}
    if arguments.overrides:
        if arguments.server is not None:
            raise CaptionerError(
                "--set is for a run folder: a model server's settings are part of its graph; "
                "export the run with --set and serve that version"
            )
        options["overrides"] = tuple(arguments.overrides)
    return source.open_captioner(arguments, **options)


def show(image: str, result: Result, as_json: bool) -> None:
    """Prints one image's captions."""
    if as_json:
        row = {
            "image": image,
            "captions": [one.as_json() for one in result.captions],
            "error": result.error,
        }
        # ASCII, so that no terminal and no file name can spoil a line.
        print(json.dumps(row), flush=True)
    elif result.error:
        print(f"{printable(image)}: {result.error}", file=sys.stderr)
    else:
        for caption in result.captions:
            print(f"{printable(image)}\t{caption.text}", flush=True)


def drawing_name(number: int, image: str) -> str:
    """A file name of its own for each image, however long the image's is."""
    return f"{number:04d}-{Path(image).stem[:60]}.png"


def draw(image: str, result: Result, path: Path) -> None:
    """Draws where the model looked for each word of the best caption."""
    from captioner.drawing import attention_figure, open_image
    from captioner.inputs.convert import sendable

    best = result.captions[0]
    picture = open_image(sendable(Path(image).read_bytes()))
    figure = attention_figure(picture, best.text, best.tokens, best.attention)
    figure.savefig(path, dpi=110)
