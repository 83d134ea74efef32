"""python -m captioner.predict: captions image files."""

import argparse
import sys
from pathlib import Path

from captioner import commandline, source, tasks
from captioner.errors import CaptionerError
from captioner.inputs.named import ENDINGS, MORE_ENDINGS, expand

_COMMON = frozenset(("debug", "model", *source.WITH_SERVER, "server", "images", "json"))


def main(arguments: argparse.Namespace) -> int:
    """Prints what the model says of the images in the order given; 1 if one of them couldn't be
    read."""
    endings = ENDINGS + (MORE_ENDINGS if arguments.server else ())
    images = list(expand(arguments.images, endings))
    sys.stdout.reconfigure(errors="backslashreplace")  # a caption's é on an ASCII terminal
    if arguments.server is not None:  # servers are asked for captions
        if arguments.classes:
            raise CaptionerError("--classes is for two towers in a folder: name it with --model")
        if arguments.match:
            raise CaptionerError("--match is for a model in a folder: name it with --model")
        from captioner.predicting import predict

        return predict(arguments, images)
    source.check(arguments)
    task = tasks.of_folder(arguments.model)
    commandline.check_options(
        arguments, parser(), _COMMON | task.predict_options, f"{arguments.model} ({task.name})"
    )
    return task.predict(arguments, images)


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
        "--classes",
        type=class_names,
        metavar="A,B,...",
        help="of two towers: which of these names is nearest to the picture",
    )
    made.add_argument(
        "--match",
        default="",
        metavar="TEXT",
        help="of a model that captions and judges: how probable it is that this sentence describes "
        "the picture",
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
        "captioner/config/decoding.py), or with --classes classify.templates; may be repeated",
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


def class_names(text: str) -> list[str]:
    """Names with commas between them, as argparse wants them."""
    found = [" ".join(name.split()) for name in text.split(",")]
    found = list(dict.fromkeys(name for name in found if name))
    if len(found) < 2:
        raise argparse.ArgumentTypeError("name two classes or more, with commas between them")
    return found


def beam_count(text: str) -> int:
    """A positive number, as argparse wants it."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count


if __name__ == "__main__":
    # Options may stand between the images.
    commandline.run(main, parser().parse_intermixed_args())
