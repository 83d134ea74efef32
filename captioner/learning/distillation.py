"""Distillation: a model learns from what another, trained one thinks of the same examples.

Of a caption's next word the data say which one it was; the teacher says how likely each of them
was, the wrong ones as well (Hinton et al., 2015, "Distilling the knowledge in a neural network").
What a batch holds for the teacher alone is in columns that begin with `teacher_`: its image
encoder's cached features, and what its decoder is told.

Legend: S tokens of all captions together, V vocabulary.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from captioner.config import Settings
from captioner.inputs.pipeline import TEACHER
from captioner.learning.loop import Stage
from captioner.learning.objectives import Likelihood, Losses, Predicted, summed


class Teacher(NamedTuple):
    """A trained run.

    Attributes:
        settings: its own.
        built: what its task builds, with the best weights.
    """

    settings: Settings
    built: Any


class Distillation:
    """An objective: (1 - weight) cross-entropy with what came, + weight T² KL(teacher ‖ student),
    both softened by the temperature T (Hinton et al., 2015, section 2).

    Args:
        predict: function (model, batch, training) -> `Predicted`, of both models.
        teacher: keras.Model. It says what it thinks without dropout, and is not trained.
        weight: float. Between 0 and 1.
        temperature: float. T.
    """

    def __init__(
        self,
        predict: Callable[..., Predicted],
        teacher: Any,
        weight: float,
        temperature: float,
    ):
        self._predict = predict
        self._teacher = teacher
        self._weight = weight
        self._temperature = temperature

    def __call__(self, model, batch, *, smoothing: float = 0.0, training: bool = True) -> Losses:
        own = {name: one for name, one in batch.items() if not name.startswith(TEACHER)}
        shown = own | {
            name.removeprefix(TEACHER): one
            for name, one in batch.items()
            if name.startswith(TEACHER)
        }
        predicted = self._predict(model, own, training)
        thought = tf.stop_gradient(self._predict(self._teacher, shown, False).logits)
        losses = summed(predicted, smoothing)
        softened = divergence(predicted.logits, thought, self._temperature)
        taught = self._temperature**2 * tf.reduce_sum(softened)
        return losses._replace(loss=(1 - self._weight) * losses.loss + self._weight * taught)


def divergence(logits: tf.Tensor, thought: tf.Tensor, temperature: float) -> tf.Tensor:
    """KL divergence of the student's distributions from the teacher's, in nats.

    Args:
        logits: float32 [S, V]. The student's.
        thought: float32 [S, V]. The teacher's.
        temperature: float. What both are divided by.

    Returns:
        float32 [S].
    """
    mine, theirs = (tf.nn.log_softmax(one / temperature) for one in (logits, thought))
    return tf.reduce_sum(tf.exp(theirs) * (theirs - mine), -1)


def taught(stages: Sequence[Stage], settings: Settings, teacher: Teacher | None) -> list[Stage]:
    """Stages that also learn from the teacher, where there is one: those that predict something of
    images."""
    if teacher is None:
        return list(stages)
    train = settings.train
    return [
        dataclasses.replace(
            stage,
            objective=Distillation(
                stage.objective.predict,
                teacher.built.model,
                train.distill,
                train.distill_temperature,
            ),
        )
        if isinstance(stage.objective, Likelihood) and "image" in stage.batches.signature()
        else stage
        for stage in stages
    ]
