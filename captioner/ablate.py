"""python -m captioner.ablate: trains a recipe without each of its parts."""

import argparse
import contextlib
import fcntl
import functools
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from captioner import ablation, commandline
from captioner.ablation import Variant, row
from captioner.errors import CaptionerError
from captioner.inputs.records import DataSet
from captioner.reporting.ablated import FULL, PLAIN, table


def main(arguments: argparse.Namespace) -> int:
    """Trains what isn't trained yet, and prints the table; 1 if something failed."""
    recipe, overrides = arguments.recipe, arguments.overrides
    parts = ablation.read_parts(recipe, arguments.parts)
    every = ablation.variants(recipe, arguments.data, overrides, parts, commandline.tell)
    found = ablation.chosen(every, arguments.only)
    DataSet("", ()).split(arguments.split)  # a wrong name is better known before
    out = arguments.out or Path("runs") / f"ablation-{Path(recipe).stem}"
    plan = jobs(found, every[0].settings.train.seed, arguments.seeds, arguments.seeds_each)
    there = ablation.Ablation(out, recipe, overrides, arguments.split)
    for variant, seed in plan:
        there.check(variant, seed)
    interrupted = False
    if not arguments.table_only:
        with alone(out) as lock:
            train = functools.partial(run, lock)
            there = ablation.Ablation(
                out, recipe, overrides, arguments.split, train, commandline.tell
            )
            interrupted = not make(there, plan)
    outcomes = [(variant.name, there.outcome(variant, seed)) for variant, seed in plan]
    rows = [row(one, [known for name, known in outcomes if name == one.name]) for one in found]
    print(table(rows, arguments.split))
    print(f"\n    {made_by(arguments)}")
    if interrupted:
        commandline.tell(f"interrupted; the same command goes on from what is in {out}")
        return 130
    return 1 if any(known.error for _, known in outcomes) else 0


def make(there: ablation.Ablation, plan: Sequence[tuple[Variant, int]]) -> bool:
    """Trains and scores what is to be done; False where the user stopped it."""
    try:
        with terminating():
            for done, (variant, seed) in enumerate(plan, 1):
                if there.outcome(variant, seed).scores is None:
                    commandline.tell(f"{done} of {len(plan)}: {variant.name}, seed {seed}")
                    there.make(variant, seed)
    except KeyboardInterrupt:
        return False
    return True


def jobs(found: Sequence[Variant], first: int, seeds: int, each: int) -> list[tuple[Variant, int]]:
    """What to train, with which seed: all that have a first seed, then the second ones.

    Args:
        found: the full recipe stands before what searches with it.
        first: the first seed.
        seeds: of the full and the plain model.
        each: of the others.
    """
    return [
        (variant, first + number)
        for number in range(max(seeds, each))
        for variant in found
        if number < (seeds if variant.name in (FULL, PLAIN) else each)
    ]


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[int]:
    """Keeps other ablations out of a folder.

    Gives a lock's descriptor. Commands inherit it, so that a training which outlives us, killed as
    we may be, keeps others out as long as it runs.

    Raises:
        CaptionerError: another is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CaptionerError(
                f"another ablation, or a training that it left behind, is at work in {folder}: "
                "wait for it, or name another --out"
            ) from None
        yield file.fileno()


def run(lock: int, words: Sequence[str], log: Path) -> int:
    """Runs `python -m captioner.WORDS`, its output added to the log, and gives its exit code.

    An interrupt is passed on, once: a training then saves itself, which is waited for.
    """
    with log.open("ab") as file:
        file.write(f"\n$ python -m captioner.{shlex.join(words)}\n".encode(errors="replace"))
        file.flush()
        # In a group of its own a Ctrl-C reaches it through us only, and so not twice, which
        # would mean: at once, without saving.
        child = subprocess.Popen(
            [sys.executable, "-m", f"captioner.{words[0]}", *words[1:]],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, process_group=0, pass_fds=(lock,),
        )  # fmt: skip
        try:
            return child.wait()
        except KeyboardInterrupt:
            commandline.tell("stopping: waiting for the run to save itself (again: at once)")
            child.terminate()
            try:
                child.wait()
            except KeyboardInterrupt:
                child.kill()
                child.wait()
            raise


@contextlib.contextmanager
def terminating() -> Iterator[None]:
    """Takes a termination for an interrupt, so that no training is left running alone."""
    signals = (signal.SIGTERM, signal.SIGHUP)
    # What nohup has ignored stays so.
    heeded = [one for one in signals if signal.getsignal(one) != signal.SIG_IGN]
    try:
        before = {one: signal.signal(one, signal.default_int_handler) for one in heeded}
    except ValueError:  # not in the main thread
        before = {}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def made_by(arguments: argparse.Namespace) -> str:
    """The command, for whoever reads the table later."""
    words = ["--recipe", arguments.recipe]
    words += ["--data", arguments.data] if arguments.data else []
    words += ["--parts", str(arguments.parts)] if arguments.parts else []
    words += ["--seeds", str(arguments.seeds), "--seeds-each", str(arguments.seeds_each)]
    words += ["--split", arguments.split]
    words += ["--only", *arguments.only] if arguments.only else []
    words += ["--set", *arguments.overrides] if arguments.overrides else []
    return f"python -m captioner.ablate {shlex.join(words)}"


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = commandline.parser("ablate", __doc__.partition(": ")[2])
    made.add_argument(
        "--recipe", default="flickr8k", help="a recipe's name or a .toml file (default: flickr8k)"
    )
    made.add_argument("--data", metavar="SPEC", help="the data set (default: the recipe's)")
    made.add_argument(
        "--parts",
        type=Path,
        metavar="FILE.toml",
        help="the parts, and the settings that leave them out (default: "
        "captioner/recipes/parts/RECIPE.toml)",
    )
    made.add_argument(
        "--out", type=Path, metavar="DIR", help="run folders (default: runs/ablation-RECIPE)"
    )
    made.add_argument(
        "--seeds", type=commandline.count, default=3, metavar="N",
        help="trainings of the full and of the plain model (default: 3)",
    )  # fmt: skip
    made.add_argument(
        "--seeds-each", type=commandline.count, default=1, metavar="N",
        help="trainings without each part (default: 1)",
    )  # fmt: skip
    made.add_argument(
        "--split", default="dev+test", help="what to score on (default: dev+test)"
    )
    made.add_argument(
        "--only", nargs="+", action="extend", default=[], metavar="NAME",
        help="these parts alone; full and plain are names, too",
    )  # fmt: skip
    made.add_argument(
        "--table-only", action="store_true", help="train nothing, print what is there"
    )
    commandline.add_settings(made)
    return made


if __name__ == "__main__":
    commandline.run(main, parser().parse_args())
