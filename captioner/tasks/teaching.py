"""The teacher of a run that is distilled: another run, of the same task."""

from pathlib import Path

from captioner import config
from captioner.config import Settings
from captioner.errors import CaptionerError
from captioner.learning.distillation import Teacher
from captioner.learning.optimisation import ENCODERS


def check(settings: Settings) -> None:
    """Refuses a teacher whose batches, or words, are not those of the run.

    Raises:
        CaptionerError: it is no run folder, or doesn't fit.
    """
    _settings(settings)


def file(settings: Settings, name: str) -> Path | None:
    """A file of the teacher's folder that its student is to have, too; None without a teacher."""
    return None if settings.train.teacher is None else settings.train.teacher / name


def same(settings: Settings, path: Path, own: list[str], theirs: list[str]) -> list[str]:
    """A run's own list of words, which must still be its teacher's."""
    if own != theirs:
        raise CaptionerError(
            f"{path} is not that of the teacher {settings.train.teacher} any more: begin a new run"
        )
    return own


def load(settings: Settings) -> Teacher | None:
    """The teacher with its best weights; called in the strategy's scope.

    Raises:
        CaptionerError: as `check`, or it was never trained.
    """
    if settings.train.teacher is None:
        return None
    from captioner.serving.trained import load_trained

    theirs = _settings(settings)
    return Teacher(theirs, load_trained(settings.train.teacher))


def _settings(settings: Settings) -> Settings | None:
    """The teacher's settings, if it may teach."""
    run = settings.train.teacher
    if run is None:
        return None
    if not (run / "config.json").is_file():
        raise CaptionerError(f"train.teacher={run} is no run folder: it holds no config.json")
    theirs = config.load(run / "config.json")
    wrong = []

    def compare(name: str, mine: object, their: object) -> None:
        if mine != their:
            wrong.append(f"{name} is {their} there and {mine} here")

    compare("task", settings.task, theirs.task)
    compare("model.answers", settings.model.answers, theirs.model.answers)
    if settings.model.text_encoder != "none":  # without one, neither hears a prompt
        compare("model.text_encoder", settings.model.text_encoder, theirs.model.text_encoder)
        compare("model.copying", settings.model.copying, theirs.model.copying)
        compare("text.max_prompt", settings.text.max_prompt, theirs.text.max_prompt)
        frozen = [ENCODERS[1] in one.train.freeze for one in (settings, theirs)]
        if frozen == [True, False]:  # it would be given what the untrained encoder reads
            wrong.append("its text encoder was trained, and here it is frozen")
    if not settings.data.cache_features:  # it sees the same pixels
        compare("model.image_side", settings.model.image_side, theirs.model.image_side)
    if wrong:
        raise CaptionerError(f"{run} can't teach this run: {'; '.join(wrong)}")
    return theirs
