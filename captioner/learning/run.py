"""A run from beginning to end: data, features, model, training, scores, export."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from captioner import about, config, tasks
from captioner.config import Settings
from captioner.errors import CaptionerError
from captioner.evaluation import write_json
from captioner.inputs.records import DataSet
from captioner.learning.data import read_data, tell
from captioner.learning.distillation import taught
from captioner.learning.distribution import is_chief, strategy
from captioner.learning.loop import Trainer
from captioner.learning.reports import Report
from captioner.loading import newest_version
from captioner.serving.exporting import export
from captioner.serving.trained import load_trained

# The name of what a run begins with while it is written.
_BEGINNING = ".beginning"


def train(settings: Settings, run: Path, exports: Path) -> dict[str, Any]:
    """Trains a run, or continues it; evaluates and exports it at the end.

    Args:
        settings: all of them; the same for a run that is continued.
        run: the run folder.
        exports: where the next numbered version goes.

    Returns:
        {"scores": …, "export": path, "examples": [(record, caption), …], "finished_before": bool}.

    Raises:
        CaptionerError: other settings than the run was begun with, or bad data.
        Interrupted: stopped by the user, after saving.
    """
    fresh = _check_run(run, settings)
    scores = _finished(run)
    if scores is not None:
        return {"scores": scores, "export": newest_version_of(exports), "finished_before": True}
    if not fresh:
        tell(f"continuing {run}")
    task = tasks.of(settings)
    if settings.train.teacher and not task.distils:
        raise CaptionerError(f"the task {task.name} has no distillation: leave out train.teacher")
    where = strategy(settings.train.distribution)
    chief = is_chief(where)
    data = read_data(settings, task.prompts)
    tell(data.describe())
    begun = task.begin(settings, run, data)
    with where.scope():
        built = task.build(settings, begun)
    plan = task.plan(settings, built, begun, data, where.num_replicas_in_sync)
    stages = taught(plan.stages, settings, built.teacher) if settings.train.teacher else plan.stages
    if plan.validate is None:
        tell("no dev images: the last weights are kept, not the best")
    # Only now, so that data that can't be trained on leaves no run folder in the way.
    if chief:
        _begin_run(run, settings, task.files(built, begun))
    report = Report(run, plan.samples, plan.curves) if chief else None
    trainer = Trainer(
        built.model,
        settings.train,
        where,
        stages,
        run,
        plan.validate,
        report,
        tell,
    )
    progress = trainer.fit()
    if not chief:
        return {"scores": None, "export": None, "finished_before": False}
    report.close(progress.validations)
    return finish(run, settings, data, exports)


def finish(run: Path, settings: Settings, data: DataSet, exports: Path) -> dict[str, Any]:
    """Scores the best weights on images that training never saw, and exports them."""
    answered = {record.split for record in data.records if record.answered}
    split = next((name for name in ("test", "dev") if name in answered), "train")
    if split != "test":
        tell(f"no test images to score: the scores are those of {split}, which flatters them")
    task = tasks.of(settings)
    scores, seen = task.score(settings, run, data, split)
    conditions = scores.pop("settings") | {"trained_on": about.trained_on(data)}
    scores = scores | {"settings": conditions}
    facts = about.of_run(run, settings, scores)
    version = export(load_trained(run), settings, exports, facts)
    # Last, because it is what says that the run is finished.
    write_json(run / "scores.json", scores)
    return {"scores": scores, "export": version, "examples": seen, "finished_before": False}


def newest_version_of(exports: Path) -> Path | None:
    """The newest export, None where there is none."""
    return newest_version(exports) if exports.is_dir() else None


# The run folder.


def _check_run(run: Path, settings: Settings) -> bool:
    """Whether the run is to be begun; False where it is there already.

    Raises:
        CaptionerError: another run's folder, or a folder with other things in it.
    """
    path = run / "config.json"
    if path.is_file():
        found = config.differences(config.load(path), settings)
        if found:
            raise CaptionerError(
                f"{run} is a run with other settings ({'; '.join(found[:5])}): "
                "name another --run, or give the settings it was begun with"
            )
        return False
    # Half a beginning is none: another worker may be at it, or one was killed.
    if run.is_file() or (run.is_dir() and any(p for p in run.iterdir() if p.name != _BEGINNING)):
        raise CaptionerError(f"{run} exists and is no run folder: name another --run")
    return True


def _begin_run(
    run: Path, settings: Settings, files: Mapping[str, Callable[[Path], None]]
) -> None:
    """Makes the run folder with its settings and what its task keeps there, what isn't there."""
    run.mkdir(parents=True, exist_ok=True)
    temporary = run / _BEGINNING
    settled = {"config.json": lambda path: path.write_text(settings.dump(), encoding="utf-8")}
    for name, write in (settled | dict(files)).items():
        if not (run / name).is_file():
            write(temporary)
            temporary.rename(run / name)


def _finished(run: Path) -> dict[str, Any] | None:
    """A finished run's scores."""
    path = run / "scores.json"
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CaptionerError(
            f"{path} is damaged ({error}); remove it to have the run scored and exported again"
        ) from None
