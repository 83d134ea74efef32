"""Tasks: what a run trains for. Captioning is one of them.

There is one training loop, one kind of run folder, one way to export; what differs from task to
task is what a `Task` answers. The setting `task` names it, and whoever needs it asks the registry:
`tasks.of(settings)`, or `tasks.of_folder(folder)` for a run folder or an export. A task's module is
imported when it is first asked for.

To add one:

1. Write `captioner/tasks/NAME.py`, with a subclass of `Task` and `TASK = ThatClass()`. Its model
   goes to `captioner/models/`, its objective, (model, batch, smoothing=, training=) -> `Losses`,
   and its batches to `captioner/learning/` and `captioner/inputs/`. Batches have `steps`,
   `epoch(epoch, first)`, `describe(epoch, step)` and `signature()`, as `inputs.pipeline.Batches`
   has them. What `build` gives has a `model`, a Keras model with all its variables made, whose
   encoders are named `image_encoder` and `text_encoder`: the patterns of `train.freeze`, the
   encoders' rate and the checkpoints go by variables' names.
2. Add a line to `_MODULES` below, and its settings, if it has any, as a section of
   `captioner/config/heads.py`.
   A task that can be distilled (`distils`) has a `learning.objectives.Likelihood` for objective,
   and lets `tasks.teaching` load the teacher.
3. Write `captioner/recipes/NAME.toml` that begins with `task = "NAME"`.

A task may be made of others: `joint` trains their heads on the same encoders, and asks them for what
they score, serve and print.

The methods come in the order in which a run calls them: `begin`, `build`, `files`, `plan`, and when
it is trained `restore`, `score`, `serve`, `card`. `learning.data` reads data and images for all of
them; `learning.run`, `serving.trained`, `serving.exporting`, `loading` and the commands call them,
and know no task by name.
"""

import abc
import argparse
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from captioner.config import Settings, near_misses
from captioner.errors import CaptionerError

# Name to module, with an object `TASK` each.
_MODULES = {
    "caption": "captioner.tasks.caption",
    "classify": "captioner.tasks.classify",
    "contrastive": "captioner.tasks.contrastive",
    "joint": "captioner.tasks.joint",
    "matching": "captioner.tasks.matching",
    "summary": "captioner.tasks.summary",
    "vqa": "captioner.tasks.vqa",
}

# What runs and exports are for that don't say.
_DEFAULT = "caption"


class Plan(NamedTuple):
    """What a run trains on, and how it validates.

    Attributes:
        stages: of training, in order (`learning.loop.Stage`).
        validate: () -> scores of the weights as they are, the first of which is what counts; None
            without dev images.
        samples: () -> a picture for TensorBoard, uint8 [H, W, 3]; None for none.
        curves: names of the scores to draw.
    """

    stages: Sequence[Any]
    validate: Callable[[], dict[str, float]] | None = None
    samples: Callable[[], Any] | None = None
    curves: Sequence[str] = ()


class Task(abc.ABC):
    """What the machinery of runs, exports and commands asks of a task; see the module's docstring.

    Attributes:
        name: str. As the setting `task` has it.
        signatures: tuple of str. What an export of it serves, by which an export is known that
            lost its description.
        evaluate_options: set of str. Options of `captioner.evaluate` that it heeds beside
            `--model`, `--data`, `--split`, `--scores` and `--set`.
        predict_options: set of str. Options of `captioner.predict` that it heeds beside `--model`,
            `--json` and the images.
        example: str. What `captioner.predict` may be given of it.
        prompts: str. What it needs of the demo's pictures beside captions, as `inputs.readers`
            has it.
        distils: bool. Whether it learns from train.teacher: what it builds then has a `teacher`.
        exports: str. The folder in saved_models/ of runs that name none.
        compared: tuple of str. The scores by which `captioner.ablate` compares its runs, the first
            first; of an object in scores.json, its name before a dot.
    """

    name: str
    signatures: tuple[str, ...]
    evaluate_options: frozenset[str] = frozenset()
    predict_options: frozenset[str] = frozenset()
    example: str = "IMAGE"
    prompts: str = ""
    distils: bool = False
    exports: str = "captioner"
    compared: tuple[str, ...] = ("CIDEr", "BLEU_4")

    # A run.

    @abc.abstractmethod
    def begin(self, settings: Settings, run: Path, data: Any) -> Any:
        """What has to be known of the data before the model can be built (a vocabulary, class
        names), from the run folder where that has it; `build`, `files` and `plan` are given it.

        Raises:
            CaptionerError: data that can't be trained on.
        """

    @abc.abstractmethod
    def build(self, settings: Settings, begun: Any) -> Any:
        """The model to train, from its pretrained parts, with what belongs to it; called in the
        strategy's scope. It has a `model`; the rest is the task's own affair."""

    @abc.abstractmethod
    def plan(self, settings: Settings, built: Any, begun: Any, data: Any, replicas: int) -> Plan:
        """What to train on.

        Raises:
            CaptionerError: data that can't be trained on.
        """

    @abc.abstractmethod
    def files(self, built: Any, begun: Any) -> Mapping[str, Callable[[Path], None]]:
        """What `restore` needs in the run folder beside config.json and checkpoints: names, with
        functions that write to a path. What is there already is not written again."""

    @abc.abstractmethod
    def restore(self, settings: Settings, run: Path) -> Any:
        """As `build`, of a run folder, with weights that are about to be restored.

        Raises:
            CaptionerError: a file is missing or damaged.
        """

    @abc.abstractmethod
    def score(self, settings: Settings, run: Path, data: Any, split: str) -> tuple[dict, Any]:
        """Scores a run's best weights on a split: what scores.json is to hold, with `settings`
        (what a reader must know to compare figures), and anything to `show` beside it."""

    @abc.abstractmethod
    def show(self, scores: dict[str, Any], seen: Any) -> str:
        """What `captioner.train` prints at the end; `seen` is None for a run that was finished
        before."""

    # An export.

    @abc.abstractmethod
    def serve(
        self, settings: Settings, built: Any, storage: str = "float32", precision: str = "float32"
    ) -> Any:
        """A `tf.Module` to save, with `signatures()`, a dict of concrete functions."""

    @abc.abstractmethod
    def card(self, facts: Mapping[str, Any]) -> list[str]:
        """The model card's parts between its title and its versions, of the facts in
        `assets.extra/captioner.json` (see `serving.card`)."""

    # Use.

    @abc.abstractmethod
    def open_run(self, settings: Settings, folder: Path, **options: Any) -> Any:
        """What `captioner.load` gives for a run folder.

        Raises:
            CaptionerError: options that it can't have.
        """

    @abc.abstractmethod
    def open_export(self, folder: Path, saved: Any, about: dict[str, Any], **options: Any) -> Any:
        """What `captioner.load` gives for an export.

        Args:
            folder: the version's.
            saved: as `tf.saved_model.load` gives it; it has `signatures`.
            about: what `assets.extra/captioner.json` says, {} where that is lost.
            options: of `captioner.load`.
        """

    @abc.abstractmethod
    def evaluate(self, arguments: argparse.Namespace, settings: Settings) -> None:
        """Scores `arguments.model` on a split of the settings' data, prints the scores and writes
        what the options ask for."""

    @abc.abstractmethod
    def predict(self, arguments: argparse.Namespace, images: Sequence[str]) -> int:
        """Prints what the model says of image files; 1 if one of them couldn't be read."""


def get(name: str) -> Task:
    """A task by its name.

    Raises:
        CaptionerError: there is none, naming near misses.
    """
    if name not in _MODULES:
        raise CaptionerError(f"unknown task {name!r}{near_misses(name, _MODULES)}")
    return importlib.import_module(_MODULES[name]).TASK


def take_no_options(folder: Path, does: str, options: Mapping[str, Any]) -> None:
    """Refuses options of `captioner.load`, which are all about captions.

    Args:
        folder: the run or export.
        does: what its model does instead.
        options: what was asked for.

    Raises:
        CaptionerError: any were.
    """
    if options:
        raise CaptionerError(
            f"{folder} {does}, and writes no captions: it takes no {' or '.join(sorted(options))}"
        )


def of(settings: Settings) -> Task:
    """The task that the settings name."""
    return get(settings.task)


def of_facts(facts: Mapping[str, Any], served: Sequence[str] | None = None) -> Task:
    """The task of an export.

    Args:
        facts: what its captioner.json says, {} where that is lost.
        served: its signatures, to go by where nothing is said.
    """
    settings = facts.get("settings")
    if isinstance(settings, dict):
        return get(str(settings.get("task", _DEFAULT)))
    if served is not None:
        fitting = [task for task in map(get, _MODULES) if set(task.signatures) <= set(served)]
        if fitting:  # a captioner may do more besides
            return max(fitting, key=lambda task: len(task.signatures))
    return get(_DEFAULT)


def of_folder(folder: Path) -> Task:
    """The task of a run folder, or of an export, or of the newest of a folder of exports; the
    default's where nothing can be found out, for `captioner.load` to say what is wrong."""
    known = _read(folder / "config.json")
    if known is not None:
        return get(str(known.get("task", _DEFAULT)))
    versions = [folder]
    if folder.is_dir() and not (folder / "saved_model.pb").is_file():
        numbered = [p for p in folder.iterdir() if p.name.isascii() and p.name.isdigit()]
        versions = sorted(numbered, key=lambda path: int(path.name))[-1:]
    for version in versions:
        return of_facts(_read(version / "assets.extra" / "captioner.json") or {})
    return get(_DEFAULT)


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
