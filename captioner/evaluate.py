"""python -m captioner.evaluate: scores a run or an export on a data set."""

import argparse
from pathlib import Path

from captioner import commandline, config


def main(arguments: argparse.Namespace) -> int:
    """Captions a split, prints the scores, and writes what was asked for."""
    settings = config.settings(data=arguments.data, overrides=arguments.overrides)

    from tqdm import tqdm

    from captioner import evaluation
    from captioner.loading import load
    from captioner.learning.run import read_data, tell

    model = load(arguments.model)
    data = read_data(settings)
    records = data.split(arguments.split)
    with tqdm(total=len(records), unit="image", desc="captioning") as bar:
        outcome = evaluation.evaluate(
            model,
            records,
            settings.data.unreadable_limit,
            lambda done: bar.update(done - bar.n),
        )
    if outcome.problems:
        tell(f"left out: {outcome.problems.summary()}")
    scores = outcome.scores | {
        "settings": evaluation.conditions(model, settings.data.spec, arguments.split)
    }
    print(evaluation.table(scores))
    if arguments.scores:
        evaluation.write_json(arguments.scores, scores)
    if arguments.predictions:
        evaluation.write_json(
            arguments.predictions,
            evaluation.predictions(settings.data.spec, outcome.captioned),
        )
    return 0


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
    made.add_argument("--scores", type=Path, metavar="FILE", help="write the scores here as JSON")
    made.add_argument(
        "--predictions",
        type=Path,
        metavar="FILE",
        help="write the captions here in the COCO results format",
    )
    commandline.add_settings(made)
    return made


if __name__ == "__main__":
    commandline.run(main, parser().parse_args())
