"""A benchmark from beginning to end: which parts there are, and what is made of their figures."""

import importlib
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from captioner import __version__
from captioner.config import near_misses
from captioner.errors import CaptionerError
from captioner.measuring import machine

Show = Callable[[Sequence[str]], None]
Tell = Callable[[str], None]


class Part(NamedTuple):
    """What is measured together."""

    where: str
    """module.function in this package: called with a `Bench`, gives what is to be measured."""
    once: float
    """Seconds on two idle cores, whatever the rounds."""
    each: float
    """Seconds of a round."""
    model: bool = True
    """Whether it measures the model; otherwise it makes its own, or needs none."""
    batches: bool = False
    """Whether it is of what training does, in a process that chooses kernels for batches."""
    unasked: bool = True
    """Whether it is measured where nothing is asked for by name; otherwise it takes long."""


# In the order in which they are measured. TensorFlow is loaded by the first.
PARTS = {
    "captioning": Part("captioning.captioning", 180, 17),
    "profile": Part("profile.profile", 15, 3),
    "caching": Part("training.caching", 6, 6, batches=True),
    "training": Part("training.training", 60, 10, batches=True),
    "end-to-end": Part("training.end_to_end", 50, 8, batches=True),
    "replicas": Part("replicas.replicas", 0, 115, batches=True),
    "start": Part("processes.starting", 25, 11),
    "memory": Part("processes.memory", 5, 12),
    "growth": Part("growth.growth", 450, 0, model=False, unasked=False),
    "search": Part("growth.search", 900, 0, model=False, unasked=False),
}


def chosen(only: Iterable[str], growth: bool = False) -> list[str]:
    """The parts to measure, in their order.

    Raises:
        CaptionerError: there is no such part.
    """
    asked = {*only, *(["growth"] if growth else [])}
    for name in asked:
        if name not in PARTS:
            raise CaptionerError(f"--only {name}: no such part{near_misses(name, PARTS)}")
    return [name for name in PARTS if name in asked or (not asked and PARTS[name].unasked)]


def announcement(parts: Sequence[str], rounds: int) -> str:
    """What is going to be measured, and how long it takes."""
    seconds = sum(PARTS[name].once + PARTS[name].each * rounds for name in parts)
    minutes = max(1, math.ceil(seconds / 60))
    return (
        f"measuring {', '.join(parts)}: about {minutes} minute{'s' if minutes > 1 else ''} on two "
        "idle cores; Ctrl-C ends it with what was measured so far"
    )


def measure(
    parts: Sequence[str],
    rounds: int,
    *,
    model: Path | None,
    images: Path | None,
    show: Show,
    tell: Tell,
) -> dict[str, Any]:
    """Measures parts, and shows each table as soon as it is done.

    Args:
        parts: names of `PARTS`.
        rounds: how often what is compared is measured.
        model: a run folder or an export; None for a model of our own.
        images: a folder of photographs; None for those of our own.
        show: given the lines of a table.
        tell: told of what is being done.

    Returns:
        {"captioner", "complete", "machine", "model", "photographs", "rounds", "measurements"}, fit
        for JSON; "complete" is false after an interrupt, model and photographs are empty where no
        part measures them.

    Raises:
        CaptionerError: there is no captioner, or no photograph.
    """
    facts = machine.facts()
    show(machine.lines(facts))
    report = {
        "captioner": __version__,
        "complete": False,
        "machine": facts,
        "model": "",
        "photographs": "",
        "rounds": rounds,
        "measurements": [],
    }
    from captioner.measuring.bench import Bench
    from captioner.measuring.subjects import temporary_folder

    done: list[Any] = []
    shown = 0
    with temporary_folder() as folder:
        bench = Bench(model, images, Path(folder), tell)
        try:
            if any(PARTS[name].model for name in parts):
                report["model"], report["photographs"] = bench.subject.about, bench.about_photos
                show([bench.subject.about, f"photographs: {bench.about_photos}"])
            for name in parts:
                module, _, function = PARTS[name].where.partition(".")
                part = getattr(importlib.import_module(f"{__package__}.{module}"), function)
                tell(f"measuring {name}")
                for measurement in part(bench):
                    done.append(measurement)
                    measurement.measure(rounds)
                    show(measurement.lines())
                    shown = len(done)
            report["complete"] = True
        except KeyboardInterrupt:
            for measurement in done[shown:]:
                if lines := measurement.lines():
                    show(lines)
        report["measurements"] = [one.result() for one in done if one.rows()]
    return report
