"""python -m captioner.export: writes the next numbered SavedModel of a run."""

import argparse
from pathlib import Path

from captioner import commandline
from captioner.errors import CaptionerError


def main(arguments: argparse.Namespace) -> int:
    """Exports the run's best weights and prints where."""
    if not (arguments.run / "config.json").is_file():
        raise CaptionerError(f"{arguments.run} is no run folder: it holds no config.json")

    from captioner import about, config, tasks
    from captioner.serving.exporting import export
    from captioner.serving.trained import load_trained

    settings = config.load(arguments.run / "config.json")
    if arguments.overrides:
        settings = config.changed(settings, arguments.overrides, sections=("decode",))
    facts = about.of_run(arguments.run, settings)
    built = load_trained(arguments.run)
    options = {"storage": arguments.storage, "precision": arguments.precision}
    out = arguments.out or Path("saved_models") / tasks.of(settings).exports
    print(export(built, settings, out, facts, **options))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = commandline.parser("export", __doc__.partition(": ")[2])
    made.add_argument("--run", type=Path, required=True, metavar="DIR", help="the run folder")
    made.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of numbered versions (default: saved_models/captioner, or the folder of "
        "another task's models beside it)",
    )
    made.add_argument(
        "--storage",
        choices=("float32", "float16"),
        default="float32",
        help="float16 stores the weights in half the size; the graph computes in float32 anyway",
    )
    made.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="bfloat16 computes the image encoder in it: about twice as fast on processors that "
        "have bfloat16 (avx512_bf16, AMX), slower on others; some captions change",
    )
    commandline.add_settings(made)
    return made


if __name__ == "__main__":
    commandline.run(main, parser().parse_args())
