"""python -m captioner.predict: captions image files."""

import argparse
import glob
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from captioner import commandline, source
from captioner.captioning import Captioner, Result
from captioner.errors import CaptionerError

_ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp")
# What is converted on its way to a model server.
_MORE_ENDINGS = (".webp", ".tif", ".tiff", ".avif", ".heic", ".heif")
_BATCH = 16


def main(arguments: argparse.Namespace) -> int:
    """Captions the images in the order given; 1 if one of them couldn't be read. Silence where
    confidence is low is no failure."""
    endings = _ENDINGS + (_MORE_ENDINGS if arguments.server else ())
    images = list(expand(arguments.images, endings))
    sys.stdout.reconfigure(errors="backslashreplace")  # a caption's é on an ASCII terminal
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


def expand(words: list[str], endings: tuple[str, ...] = _ENDINGS) -> Iterator[str]:
    """Files as they are named; of a folder its images, and what matches a pattern, by name."""
    for word in words:
        path = Path(word)
        if path.is_dir():
            found = sorted(
                str(one) for one in path.rglob("*")
                if one.suffix.lower() in endings and one.is_file()
            )
            if not found:
                raise CaptionerError(f"no images ({', '.join(endings)}) in the folder {word}")
            yield from found
        elif not path.exists() and glob.has_magic(word):
            found = sorted(glob.glob(word, recursive=True))
            if not found:
                raise CaptionerError(f"no file matches {word}")
            yield from found
        else:
            yield word


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


def printable(name: str) -> str:
    """A file name, which may hold anything, with escapes for what would break a line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


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


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = commandline.parser("predict", __doc__.partition(": ")[2])
    source.add(made)
    made.add_argument("images", nargs="+", metavar="IMAGE", help="files, folders or patterns")
    made.add_argument(
        "--prompt",
        default="",
        help="key words, a beginning that ends in …, or a question that ends in ?",
    )
    made.add_argument(
        "--beams", type=beam_count, metavar="N", help="search and print N captions an image"
    )
    made.add_argument(
        "--set",
        dest="overrides",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a decode setting for a run folder, such as decode.search=sample (see "
        "captioner/config/sections.py); may be repeated",
    )
    made.add_argument(
        "--min-confidence",
        type=commandline.probability,
        metavar="P",
        help="keep silent where no caption is as sure as this, 0 to 1; needs a model that "
        "captioner.calibrate has calibrated, and no prompt",
    )
    made.add_argument("--json", action="store_true", help="print one JSON object a line")
    made.add_argument(
        "--attention",
        type=Path,
        metavar="DIR",
        help="draw here where the model looked for every word",
    )
    return made


def beam_count(text: str) -> int:
    """A positive number, as argparse wants it."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count


if __name__ == "__main__":
    # Options may stand between the images.
    commandline.run(main, parser().parse_intermixed_args())
