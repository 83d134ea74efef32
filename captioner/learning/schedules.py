"""Schedules: the course of the learning rate over a run's steps.

All rise from 0 over the first share of a stage's steps, and begin anew with each stage; what
follows the rise is what tells them apart.
"""

import abc
import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from captioner.config import Train


class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """Rises from 0 over the first `warmup` share of the steps; once for each stage of training.

    Args:
        rate: float. The peak.
        stages: sequence of int. Steps of each stage.
        warmup: float. Share of a stage's steps.
        shares: sequence of float. Each stage's peak as a share of `rate`. Defaults to 1 for all.
    """

    def __init__(
        self,
        rate: float,
        stages: Sequence[int],
        warmup: float,
        shares: Sequence[float] | None = None,
    ):
        self.rate = rate
        self.stages = tuple(stages)
        self.warmup = warmup
        self.shares = (1.0,) * len(self.stages) if shares is None else tuple(shares)

    @abc.abstractmethod
    def after(self, at: tf.Tensor, rise: float, length: int) -> tf.Tensor | float:
        """What follows the rise, as a share of the peak.

        Args:
            at: float32 scalar. The step of the stage; before the rise's end, whatever is given
                counts for nothing.
            rise: float. Steps of the rise.
            length: int. Steps of the stage.
        """

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        rate = tf.constant(0.0)
        start = 0
        for length, share in zip(self.stages, self.shares, strict=True):
            rise = max(1.0, self.warmup * length)
            at = step - start
            # The first step already learns: a rate of 0 would waste a batch.
            value = tf.where(at + 1 < rise, (at + 1) / rise, self.after(at, rise, length))
            rate = tf.where(at >= 0, self.rate * share * value, rate)
            start += length
        return rate

    def get_config(self):
        return {
            "rate": self.rate,
            "stages": self.stages,
            "warmup": self.warmup,
            "shares": self.shares,
        }


@keras.saving.register_keras_serializable("captioner")
class WarmupCosine(Warmup):
    """Then a half cosine down to 0 (Loshchilov and Hutter, 2017)."""

    def after(self, at, rise, length):
        falling = tf.clip_by_value((at - rise) / max(1.0, length - rise), 0.0, 1.0)
        return 0.5 * (1 + tf.cos(falling * math.pi))


@keras.saving.register_keras_serializable("captioner")
class WarmupConstant(Warmup):
    """Then the peak, to the end."""

    def after(self, at, rise, length):
        return 1.0


@keras.saving.register_keras_serializable("captioner")
class WarmupStep(Warmup):
    """Then the peak, times `factor` after every `every` share of the stage's steps.

    Args:
        every: float. Counted from the end of the rise.
        factor: float.
        **kwargs: as `Warmup` takes them.
    """

    def __init__(self, *args, every: float, factor: float, **kwargs):
        super().__init__(*args, **kwargs)
        self.every = every
        self.factor = factor

    def after(self, at, rise, length):
        falls = tf.floor(tf.maximum(at - rise, 0.0) / max(1.0, self.every * length))
        return tf.pow(self.factor, falls)

    def get_config(self):
        return {**super().get_config(), "every": self.every, "factor": self.factor}


@keras.saving.register_keras_serializable("captioner")
class WarmupPlateau(Warmup):
    """Then the peak times `level`, which whoever validates lowers.

    To be made in the strategy's scope, as `level` is a variable. It is 1 at first; no file of Keras
    remembers it.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.level = tf.Variable(1.0, trainable=False)

    def after(self, at, rise, length):
        return self.level.read_value()


def schedule(
    settings: Train, rate: float, stages: Sequence[int], shares: Sequence[float] | None = None
) -> Warmup:
    """The course that `train.schedule` names; the other arguments are those of `Warmup`."""
    given = (rate, stages, settings.warmup, shares)
    match settings.schedule:
        case "cosine":
            return WarmupCosine(*given)
        case "constant":
            return WarmupConstant(*given)
        case "step":
            every, factor = settings.schedule_step, settings.schedule_factor
            return WarmupStep(*given, every=every, factor=factor)
        case "plateau":
            return WarmupPlateau(*given)
