"""Optimisation: what is trainable, and one step's arithmetic."""

import re
from collections.abc import Sequence

import keras
import tensorflow as tf

from captioner.config import Train
from captioner.learning.schedules import Warmup, WarmupPlateau, schedule

ENCODERS = ("image_encoder", "text_encoder")


def name(variable: keras.Variable) -> str:
    """A variable's path below the model: image_encoder/resnet50/conv1_conv/kernel."""
    path = variable.path.removeprefix("captioner/")
    return re.sub(r"^image_encoder/(resnet50|efficientnet_lite0)/", "image_encoder/", path)


def is_frozen(variable: keras.Variable, patterns: Sequence[str]) -> bool:
    """Whether a pattern of `train.freeze` matches the start of the variable's name."""
    return any(re.match(pattern, name(variable)) for pattern in patterns)


def learned_variables(model: keras.Model, learned: Sequence[keras.Variable]) -> dict:
    """The model's variables that training changes: the learned ones and the seeds of dropout."""
    ids = {id(variable) for variable in learned}
    found = {name(v): v.value for v in model.variables if id(v) in ids}
    # Keras numbers seed generators on from model to model, so they go by their order.
    seeds = [variable for variable in model.variables if _is_seed(variable)]
    return found | {f"seed_{index}": variable.value for index, variable in enumerate(seeds)}


def frozen_variables(model: keras.Model, learned: Sequence[keras.Variable]) -> dict:
    """The model's other variables."""
    ids = {id(variable) for variable in learned}
    return {name(v): v.value for v in model.variables if id(v) not in ids and not _is_seed(v)}


def _is_seed(variable: keras.Variable) -> bool:
    return "seed_generator" in variable.path


@keras.saving.register_keras_serializable("captioner")
class FusedAdamW(keras.optimizers.AdamW):
    """Keras's AdamW in TensorFlow's kernel for it: weights and moments are read and written once,
    and not in a dozen operations; the decay is one operation more, not three. Gradients come
    summed over the replicas: a norm to clip by is that of the sum."""

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars  # Keras would have the replicas send them all once more

    def _apply_weight_decay(self, variables):
        """The update does it."""

    def update_step(self, gradient, variable, learning_rate):
        if self.weight_decay and self._use_weight_decay(variable):
            decay = tf.cast(learning_rate * self.weight_decay, variable.dtype)
            variable.assign(variable * (1 - decay))
        step = tf.cast(self.iterations + 1, variable.dtype)
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


class Optimisation:
    """The optimizers, the trainable variables of each, and their moving averages.

    The encoders have an optimizer of their own when they are not frozen, at a rate of their own. So
    have heads that a model's `rates` name, by what their variables' names begin with, with a share
    of the rate; their gradients are clipped by a norm of their own, so that how large they are is
    nothing to the others. To be made in the strategy's scope.

    Args:
        model: the model; its variables exist.
        settings: the `train` settings.
        stages: steps of each stage of training.
        shares: each stage's rate as a share of the settings'. Defaults to 1 for all.
    """

    def __init__(
        self,
        model: keras.Model,
        settings: Train,
        stages: Sequence[int],
        shares: Sequence[float] | None = None,
    ):
        learned = [v for v in model.trainable_variables if not is_frozen(v, settings.freeze)]
        encoder = [v for v in learned if name(v).startswith(ENCODERS)]
        heads = [
            (share, [v for v in learned if name(v).startswith(begins)])
            for begins, share in getattr(model, "rates", {}).items()
        ]
        ids = {id(v) for group in (encoder, *(group for _, group in heads)) for v in group}
        rest = [v for v in learned if id(v) not in ids]
        self._clipped = [len(rest) + len(encoder), *(len(group) for _, group in heads)]
        courses, self.groups = [], []
        for share, variables in ((1.0, rest), (settings.encoder_rate, encoder), *heads):
            if variables:
                courses.append(schedule(settings, settings.learning_rate * share, stages, shares))
                self.groups.append((_optimizer(settings, courses[-1], variables), variables))
        self._levels = [one.level for one in courses if isinstance(one, WarmupPlateau)]
        self.variables = [variable for _, group in self.groups for variable in group]
        self._clip = settings.clip_norm
        self.decay = settings.average
        self.averages = [
            tf.Variable(v.value, trainable=False) for v in self.variables if self.decay
        ]

    @property
    def rate(self) -> tf.Tensor:
        """The main rate now."""
        return self.groups[0][0].learning_rate

    def apply(self, gradients: Sequence[tf.Tensor], count: tf.Tensor | float = 1.0) -> tf.Tensor:
        """Clips and applies gradients that are already summed over the replicas, and over `count`
        terms whose mean counts; returns their norm before clipping. Called in the replica
        context."""
        gradients, norm = self._within(gradients, count)
        at = 0
        for optimizer, variables in self.groups:
            optimizer.apply(gradients[at : at + len(variables)], variables)
            at += len(variables)
        return norm

    def _within(
        self, gradients: Sequence[tf.Tensor], count: tf.Tensor | float
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Gradients divided by the count and clipped, and the norm of all before it."""
        clipped, norms, at = [], [], 0
        for size in filter(None, self._clipped):
            group = gradients[at : at + size]
            norms.append(tf.linalg.global_norm(group) / count)
            # Both at once: a gradient is as large as the weights.
            share = self._clip / tf.maximum(norms[-1], self._clip) / count
            clipped += [gradient * share for gradient in group]
            at += size
        return clipped, norms[0] if len(norms) == 1 else tf.linalg.global_norm(norms)

    def average(self, step: tf.Tensor) -> None:
        """Moves the averages. Called in the cross-replica context, after the step."""
        if not self.averages:
            return
        step = tf.cast(step, tf.float32)
        # While few steps are done, the average is of those and not of the random start.
        decay = tf.minimum(self.decay, (1 + step) / (10 + step))
        for average, variable in zip(self.averages, self.variables, strict=True):
            average.assign(average * decay + variable.value * (1 - decay))

    def lower(self, level: float) -> None:
        """Sets the share of the peak that the rates of plateaus are at."""
        for one in self._levels:
            one.assign(level)

    def begin(self, step: int) -> None:
        """A stage begins at a step, which stages that ended early may not have come to: with the
        averages as weights, as they are what has been validated."""
        for optimizer, _ in self.groups:
            optimizer.iterations.assign(step)
        for average, variable in zip(self.averages, self.variables, strict=False):
            variable.assign(average.numpy())

    def swap(self) -> None:
        """Exchanges the weights with their averages; called again, exchanges them back."""
        for average, variable in zip(self.averages, self.variables, strict=False):
            current = variable.value.numpy()
            variable.assign(average.numpy())
            average.assign(current)


def _optimizer(
    settings: Train, course: Warmup, variables: Sequence[keras.Variable]
) -> keras.optimizers.Optimizer:
    """AdamW, built."""
    optimizer = FusedAdamW(course, weight_decay=settings.weight_decay)
    # Decay pulls towards 0, and a bias, a normalisation's scale or a position has no reason to
    # be there. Told by shape as well as name: those of a Hub's variables say nothing.
    optimizer.exclude_from_weight_decay(
        var_list=[v for v in variables if len(v.shape) < 2 or "position" in name(v)]
    )
    optimizer.build(variables)
    return optimizer
