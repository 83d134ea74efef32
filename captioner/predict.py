"""python -m captioner.predict: captions image files."""

import argparse
import glob
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from captioner import commandline, source
from captioner.errors import CaptionerError

_ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp")
# What is converted on its way to a model server.
_MORE_ENDINGS = (".webp", ".tif", ".tiff", ".avif", ".heic", ".heif")
_BATCH = 16


def main(arguments: argparse.Namespace) -> int:
    """Captions the images in the order given; 1 if one of them couldn't be read."""
    endings = _ENDINGS + (_MORE_ENDINGS if arguments.server else ())
    images = list(expand(arguments.images, endings))
    sys.stdout.reconfigure(errors="backslashreplace")  # a caption's é on an ASCII terminal
    model = source.open_captioner(arguments, beams=arguments.beams)
    if arguments.attention:
        arguments.attention.mkdir(parents=True, exist_ok=True)
    failed = False
    for start in range(0, len(images), _BATCH):
        chunk = images[start : start + _BATCH]
        results = model.caption(
            chunk,
            arguments.prompt,
            captions=arguments.beams or 1,
            attention=arguments.attention is not None,
        )
        for number, (image, result) in enumerate(zip(chunk, results, strict=True), start):
            failed |= result.error is not None
            show(image, result, arguments.json)
            if arguments.attention and not result.error:
                draw(image, result, arguments.attention / drawing_name(number, image))
    return 1 if failed else 0


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


def show(image: str, result, as_json: bool) -> None:
    """Prints one image's captions."""
    if as_json:
        row = {
            "image": image,
            "captions": [
                {"text": one.text, "log_prob": one.log_prob} for one in result.captions
            ],
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


def draw(image: str, result, path: Path) -> None:
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
