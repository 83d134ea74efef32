"""A run folder's model, with its best weights."""

import logging
from pathlib import Path
from typing import Any

from captioner import config, tasks
from captioner.errors import CaptionerError
from captioner.learning.checkpoints import Checkpoints
from captioner.learning.optimisation import frozen_variables, is_frozen, name

_LOG = logging.getLogger(__name__)


def load_trained(run: Path) -> Any:
    """Builds a run's model, as its task does, and restores the weights that validated best.

    Raises:
        CaptionerError: no run, or one that holds no sound weights.
    """
    if not (run / "config.json").is_file():
        raise CaptionerError(f"{run} is no run folder: it holds no config.json")
    settings = config.load(run / "config.json")
    built = tasks.of(settings).restore(settings, run)
    learned = [
        v for v in built.model.trainable_variables if not is_frozen(v, settings.train.freeze)
    ]
    prefix = "average/" if settings.train.average else ""
    best = {prefix + name(variable): variable.value for variable in learned}
    checkpoints = Checkpoints(run / "checkpoints", warn=_LOG.warning)
    checkpoints.restore_best(best)
    checkpoints.restore_frozen(frozen_variables(built.model, learned))
    return built
