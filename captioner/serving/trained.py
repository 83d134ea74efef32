"""A run folder's model, with its best weights."""

import logging
from pathlib import Path

from captioner import config
from captioner.errors import CaptionerError
from captioner.learning.checkpoints import Checkpoints
from captioner.learning.loop import frozen_variables
from captioner.learning.optimisation import is_frozen, name
from captioner.models.build import Built, build, load_run_vocabulary
from captioner.models.neighbours import FILE, Neighbours

_LOG = logging.getLogger(__name__)


def load_trained(run: Path) -> Built:
    """Builds a run's model and restores the weights that validated best.

    Raises:
        CaptionerError: no run, or one that holds no sound weights.
    """
    if not (run / "config.json").is_file():
        raise CaptionerError(f"{run} is no run folder: it holds no config.json")
    settings = config.load(run / "config.json")
    built = build(settings, load_run_vocabulary(run), load=False)
    learned = [
        v for v in built.model.trainable_variables if not is_frozen(v, settings.train.freeze)
    ]
    prefix = "average/" if settings.train.average else ""
    best = {prefix + name(variable): variable.value for variable in learned}
    checkpoints = Checkpoints(run / "checkpoints", warn=_LOG.warning)
    checkpoints.restore_best(best)
    checkpoints.restore_frozen(frozen_variables(built.model, learned))
    if settings.model.neighbours:
        built.model.neighbours = Neighbours.load(
            run / FILE, built.model.decoder.vocabulary, settings.model.neighbours
        )
    return built
