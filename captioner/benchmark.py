"""python -m captioner.benchmark: measures this machine, as ratios to a bare ResNet50."""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from captioner import children, commandline, kernels
from captioner.errors import CaptionerError
from captioner.measuring import machine, session


def main(arguments: argparse.Namespace) -> int:
    """Measures, and prints each table as it is done; 130 if the user stopped it."""
    parts = session.chosen(arguments.only, arguments.growth)
    if arguments.json:  # where it can't be written, that is better known before than after
        arguments.json.open("a", encoding="utf-8").close()
    apart = []
    if kernels.batches_differ(machine.flags()):
        apart = [name for name in parts if session.PARTS[name].batches]
        if apart == parts:  # they choose for this process
            kernels.for_batches()
            apart = []
    commandline.tell(session.announcement(parts, arguments.rounds))
    with terminating():
        report = session.measure(
            [name for name in parts if name not in apart],
            arguments.rounds,
            model=arguments.model,
            images=arguments.images,
            show=lambda lines: print("\n".join(lines), end="\n\n", flush=True),
            tell=commandline.tell,
        )
        if apart and report["complete"]:
            other = elsewhere(apart, arguments)
            report["complete"] = other["complete"]
            report["measurements"] += other["measurements"]
            report["environment_of"] = dict.fromkeys(apart, other["machine"]["environment"])
    if arguments.json:
        text = json.dumps(report, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        arguments.json.write_text(text, encoding="utf-8")
    if not report["complete"]:
        commandline.tell("interrupted: this is what was measured so far")
    return 0 if report["complete"] else 130


def elsewhere(parts: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures parts in a process of their own, which prints them; its report.

    An interrupt, of the keyboard or passed on by us, ends it with what it has measured so far.

    Raises:
        CaptionerError: it failed.
    """
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        words = ["--only", *parts, "--rounds", str(arguments.rounds), "--json", str(figures)]
        words += ["--model", str(arguments.model)] if arguments.model else []
        words += ["--images", str(arguments.images)] if arguments.images else []
        words += ["--debug"] if arguments.debug else []
        child = subprocess.Popen(
            [sys.executable, "-m", "captioner.benchmark", *words],
            # In a group of its own a Ctrl-C reaches it through us only: a second one would have
            # it lose what it has.
            stdin=subprocess.DEVNULL, stderr=sys.stderr, env=children.environment(),
            process_group=0,
        )  # fmt: skip
        try:
            code = child.wait()
        except KeyboardInterrupt:
            child.terminate()
            child.wait()
            code = 130
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        if code not in (0, 130):
            raise CaptionerError(f"measuring {', '.join(parts)} failed ({code}): see above")
        text = figures.read_text(encoding="utf-8") if figures.exists() else ""
    if not text:  # interrupted before it could write anything
        return {"complete": False, "measurements": [], "machine": {"environment": {}}}
    return json.loads(text)


@contextlib.contextmanager
def terminating() -> Iterator[None]:
    """Takes a termination for an interrupt: temporary files are removed, figures written."""
    try:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = commandline.parser("benchmark", __doc__.partition(": ")[2])
    made.add_argument(
        "--model", type=Path, metavar="DIR",
        help="a run folder, which is exported with several searches, or an export, measured as it "
        "is (default: a model of the recipe flickr8k's sizes with random weights)",
    )  # fmt: skip
    made.add_argument(
        "--json", type=Path, metavar="FILE", help="write all figures here, with the machine's facts"
    )
    made.add_argument(
        "--only", nargs="+", action="extend", default=[], metavar="NAME",
        help=f"these parts alone: {', '.join(session.PARTS)}",
    )  # fmt: skip
    made.add_argument(
        "--growth", action="store_true",
        help="tables of time and memory by batch, beams, tokens, vocabulary, image side and data "
        "set instead, of models with random weights",
    )  # fmt: skip
    made.add_argument(
        "--rounds", type=commandline.count, default=3, metavar="N",
        help="how often everything is measured, in turns (default: 3; more for figures that "
        "are to be relied on)",
    )  # fmt: skip
    made.add_argument(
        "--images", type=Path, metavar="DIR",
        help="photographs to measure with (default: made ones of 500x375 and 4032x3024 pixels)",
    )  # fmt: skip
    return made


if __name__ == "__main__":
    commandline.run(main, parser().parse_args())
