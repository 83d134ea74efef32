"""python -m captioner.evaluate: scores a run or an export on a data set."""

import argparse
from pathlib import Path

from captioner import commandline, config, tasks
from captioner.reporting.prompted import KINDS

_COMMON = frozenset(("debug", "model", "data", "split", "scores", "overrides"))


def main(arguments: argparse.Namespace) -> int:
    """Scores a split, prints the scores, and writes what was asked for."""
    others = [word for word in arguments.overrides if not word.startswith("decode.")]
    settings = config.settings(data=arguments.data, overrides=others)
    task = tasks.of_folder(arguments.model)
    commandline.check_options(
        arguments, parser(), _COMMON | task.evaluate_options, f"{arguments.model} ({task.name})"
    )
    task.evaluate(arguments, settings)
    return 0


def seed(text: str) -> int:
    """A number from 0 on, as argparse wants it."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return number


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = commandline.parser("evaluate", __doc__.partition(": ")[2])
    made.add_argument(
        "--model", type=Path, required=True, metavar="DIR", help="a run folder or an export"
    )
    made.add_argument("--data", required=True, metavar="SPEC", help="the data set")
    made.add_argument(
        "--split", default="test", help="train, dev, test or a sum such as dev+test"
    )
    made.add_argument(
        "--prompts",
        default="data",
        choices=KINDS,
        help="data: those that the data brings, if any (default); none; keywords: two content "
        "words of a reference; prefix: a reference's first three words, to be continued",
    )
    made.add_argument(
        "--against",
        type=Path,
        metavar="DIR",
        help="another run folder or export, to be compared on the same images",
    )
    made.add_argument(
        "--deletion",
        action="store_true",
        help="test the attention maps of a run folder: what each word loses with the part of the "
        "picture covered that the model looked at for it, and with others (26 times the time)",
    )
    made.add_argument("--scores", type=Path, metavar="FILE", help="write the scores here as JSON")
    made.add_argument(
        "--predictions",
        type=Path,
        metavar="FILE",
        help="write the captions here in the COCO results format",
    )
    made.add_argument(
        "--report",
        type=Path,
        metavar="DIR|FILE.html",
        help="write a page with figures, captions, photos and maps here (DIR/report.html)",
    )
    made.add_argument(
        "--rows",
        type=Path,
        metavar="FILE",
        help="write all that is known of each image here, one JSON object a line",
    )
    made.add_argument(
        "--confusion",
        type=Path,
        metavar="FILE.png",
        help="draw here which classes are taken for which (of models that name classes)",
    )
    made.add_argument(
        "--zero-shot",
        action="store_true",
        help="of two towers: classify by the names of the classes (of tfds and the demo; with "
        "classes:DIR that goes without saying)",
    )
    made.add_argument(
        "--seed",
        type=seed,
        default=0,
        metavar="N",
        help="draws prompts, resamples and random examples (default: 0)",
    )
    commandline.add_settings(made)
    return made


if __name__ == "__main__":
    commandline.run(main, parser().parse_args())
