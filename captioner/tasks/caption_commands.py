"""What the commands print of a captioner's scores."""

import argparse
from pathlib import Path
from typing import Any

from captioner.captioning import Captioner, checked
from captioner.config import Settings
from captioner.errors import CaptionerError
from captioner.evaluation import table
from captioner.inputs.records import DataSet

_PAGE = "report.html"
_SHOWN = 8


def summary(scores: dict[str, Any], captioned: list | None) -> str:
    """A few captions, if there are any, and the scores."""
    lines = []
    if captioned:
        lines.append("Captions of images that training never saw:\n")
        for record, caption in spread(captioned, _SHOWN):
            person = record.captions[0]
            lines.append(f"{record.image}\n  captioner: {caption}\n  a person:  {person}")
        lines.append("")
    return "\n".join([*lines, table(scores)])


def spread(items: list, count: int) -> list:
    """`count` items, evenly taken."""
    step = max(1, len(items) // count)
    return items[::step][:count]


def prepare(arguments: argparse.Namespace) -> None:
    """What is better known, or done, before a model is loaded than after.

    Raises:
        CaptionerError: options that don't go together.
    """
    if arguments.deletion:
        check_deletion(arguments)
    if arguments.report:
        report_file(arguments.report).parent.mkdir(parents=True, exist_ok=True)


def opened(arguments: argparse.Namespace) -> Any:
    """The model, with the `decode` settings that were asked for."""
    from captioner.loading import load

    decode = [word for word in arguments.overrides if word.startswith("decode.")]
    return load(arguments.model, overrides=decode) if decode else load(arguments.model)


def evaluate(
    arguments: argparse.Namespace, settings: Settings, model: Captioner, data: DataSet
) -> dict[str, Any]:
    """Captions a split, prints the scores, and writes what was asked for but for these, which it
    returns."""
    from captioner import evaluation
    from captioner.learning.data import counting, tell
    from captioner.loading import load

    against = checked(load(arguments.against)) if arguments.against else None
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
    return scores


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
