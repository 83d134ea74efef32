"""python -m captioner.evaluate: scores a run or an export on a data set."""

import argparse
from pathlib import Path

from captioner import commandline, config
from captioner.errors import CaptionerError
from captioner.reporting.prompted import KINDS

_PAGE = "report.html"


def main(arguments: argparse.Namespace) -> int:
    """Captions a split, prints the scores, and writes what was asked for."""
    decode = [word for word in arguments.overrides if word.startswith("decode.")]
    others = [word for word in arguments.overrides if word not in decode]
    settings = config.settings(data=arguments.data, overrides=others)
    if arguments.deletion:
        check_deletion(arguments)
    if arguments.report:  # where that can't be, it is better known before than after
        report_file(arguments.report).parent.mkdir(parents=True, exist_ok=True)

    from captioner import evaluation
    from captioner.learning.run import counting, read_data, tell
    from captioner.loading import load

    model = load(arguments.model, overrides=decode) if decode else load(arguments.model)
    against = load(arguments.against) if arguments.against else None
    data = read_data(settings)
    records = data.split(arguments.split)
    if arguments.deletion and arguments.prompts == "data" and any(one.prompts for one in records):
        raise CaptionerError("--deletion is about captions without prompts: add --prompts none")
    with counting("captioning") as progress:
        outcome = evaluation.evaluate(
            model,
            records,
            settings.data.unreadable_limit,
            progress,
            prompts=arguments.prompts,
            seed=arguments.seed,
            against=against,
            training=[text for record in data.split("train") for text in record.captions],
        )
    if outcome.problems:
        tell(f"left out: {outcome.problems.summary()}")
    if arguments.deletion:
        from captioner import deletion

        with counting("covering") as progress:
            outcome.scores["deletion"] = deletion.measure(
                arguments.model, outcome.captioned, progress, seed=arguments.seed
            )
    spec = settings.data.spec
    scores = outcome.scores | {
        "settings": evaluation.conditions(
            model, spec, arguments.split, arguments.prompts, arguments.seed
        )
    }
    print(evaluation.table(scores))
    if arguments.scores:
        evaluation.write_json(arguments.scores, scores)
    if arguments.predictions:
        evaluation.write_json(
            arguments.predictions, evaluation.predictions(spec, outcome.captioned)
        )
    rows = evaluation.rows(spec, outcome)
    if arguments.rows:
        evaluation.write_rows(arguments.rows, rows)
    if arguments.report:
        from captioner.reporting.page import page

        path = report_file(arguments.report)
        tell(f"writing {path}")
        evaluation.write_text(path, page(model, scores, rows, seed=arguments.seed))
    return 0


def check_deletion(arguments: argparse.Namespace) -> None:
    """Whether the model can be told what to say, before it is loaded.

    Raises:
        CaptionerError: it is an export, or prompts are asked for, too.
    """
    if arguments.model.is_dir() and not (arguments.model / "config.json").is_file():
        raise CaptionerError(
            f"--deletion needs a run folder, and {arguments.model} holds no config.json: an "
            "export says its own captions only"
        )
    if arguments.prompts in ("keywords", "prefix"):
        raise CaptionerError("--deletion is about captions without prompts: leave out --prompts")


def report_file(path: Path) -> Path:
    """The page's file, where a folder may be named instead."""
    return path if path.suffix.lower() in (".html", ".htm") else path / _PAGE


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
        help=f"write a page with figures, captions, photos and maps here (DIR/{_PAGE})",
    )
    made.add_argument(
        "--rows",
        type=Path,
        metavar="FILE",
        help="write all that is known of each image here, one JSON object a line",
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
