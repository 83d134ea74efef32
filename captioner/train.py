"""python -m captioner.train: trains a captioner, scores it and exports it."""

import argparse
from pathlib import Path

from captioner import commandline, config, tasks

def main(arguments: argparse.Namespace) -> int:
    """Trains, or continues, or reports the run that the arguments name."""
    settings = config.settings(
        arguments.recipe, data=arguments.data, overrides=arguments.overrides
    )
    run = arguments.run or Path("runs") / Path(arguments.recipe).stem
    task = tasks.of(settings)
    # An experiment with a folder of its own does not go live by itself.
    exports = run / "export" if arguments.run else Path("saved_models") / task.exports

    from captioner.learning.data import tell
    from captioner.learning.loop import Interrupted
    from captioner.learning.run import train

    try:
        outcome = train(settings, run, exports)
    except Interrupted as stop:
        tell(str(stop))
        return 130
    if outcome["scores"] is None:  # a worker that isn't the chief
        return 0
    if outcome["finished_before"]:
        print(f"{run} is finished; its scores:")
    print(task.show(outcome["scores"], outcome.get("examples")))
    print(f"\nrun       {run}\nexport    {outcome['export'] or 'none'}")
    print(f"try       python -m captioner.predict --model {outcome['export'] or run} {task.example}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = commandline.parser("train", __doc__.partition(": ")[2])
    made.add_argument(
        "--recipe", default="demo", help="a recipe's name or a .toml file (default: demo)"
    )
    made.add_argument("--data", metavar="SPEC", help="the data set (default: the recipe's)")
    made.add_argument(
        "--run", type=Path, metavar="DIR", help="run folder (default: runs/RECIPE)"
    )
    commandline.add_settings(made)
    return made


if __name__ == "__main__":
    commandline.run(main, parser().parse_args(), batches=True)
