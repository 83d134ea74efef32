"""The training loop. There is one, whatever the model, data and objective.

Start-up order: restore the newest sound checkpoint of the run, or else begin with the weights the
model was built with.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import keras
import tensorflow as tf
from tqdm import tqdm

from captioner.config import Train
from captioner.errors import CaptionerError
from captioner.inputs.pipeline import Batches
from captioner.learning.checkpoints import Checkpoints
from captioner.learning.distribution import is_chief, local_replicas
from captioner.learning.feeding import feed
from captioner.learning.objectives import Losses, caption_loss
from captioner.learning.optimisation import (
    Optimisation,
    frozen_variables,
    learned_variables,
    name,
)

Objective = Callable[..., Losses]


@dataclass(frozen=True)
class Stage:
    """A part of training with data of its own."""

    label: str
    batches: Batches
    epochs: int
    validate: bool = True
    objective: Objective = caption_loss
    """What it minimises: (model, batch, smoothing=, training=) -> `Losses`."""
    rate: float = 1.0
    """Its rate as a share of `train.learning_rate`."""
    unit: str = "token"
    """What its losses count, for the name of a figure; a loss of several parts says it itself."""


@dataclass
class Progress:
    """What a checkpoint remembers beside the variables."""

    step: int = 0
    best: float | None = None
    waited: int = 0
    """Validations of this stage since the best."""
    flat: int = 0
    """Validations of this stage since the best, or since the rate was lowered."""
    level: float = 1.0
    """What is left of the rate, as a share (train.schedule=plateau)."""
    stopped: bool = False
    """Whether patience ran out in this stage."""
    validations: list[dict[str, Any]] = field(default_factory=list)


class Interrupted(Exception):
    """The user or the system asked the run to stop; it was saved."""


class Trainer:
    """Trains a model stage by stage.

    Args:
        model: the model, built in the strategy's scope.
        settings: the `train` settings.
        strategy: where to run.
        stages: what to train on, in order.
        run: Path. The run folder.
        validate: function. () -> scores of the weights as they are; the first is what counts.
            None keeps the last weights instead of the best.
        report: object with `step(row)`, `validation(row)`; told of everything. Needed on the
            chief only.
        warn: function. Told of what had to be passed over.
    """

    def __init__(
        self,
        model: keras.Model,
        settings: Train,
        strategy: tf.distribute.Strategy,
        stages: Sequence[Stage],
        run: Path,
        validate: Callable[[], dict[str, float]] | None,
        report: Any,
        warn: Callable[[str], None] = lambda _: None,
    ):
        self._model = model
        self._settings = settings
        self._strategy = strategy
        self._stages = stages
        self._run = run
        self._validate = validate
        self._report = report
        self._chief = is_chief(strategy)
        self._stop_signal: int | None = None
        lengths = [stage.batches.steps * stage.epochs for stage in stages]
        self.total = sum(lengths)
        with strategy.scope():
            rates = [stage.rate for stage in stages]
            self._optimisation = Optimisation(model, settings, lengths, rates)
        self.progress = Progress()
        self._checkpoints = Checkpoints(run / "checkpoints", settings.keep, warn)
        made = {stage.objective: None for stage in stages}
        self._steps = {objective: self._make_step(objective) for objective in made}

    # Variables by name, for checkpoints.

    def _saved(self) -> dict[str, tf.Variable]:
        """Everything that changes in training."""
        optimisation = self._optimisation
        saved = learned_variables(self._model, optimisation.variables)
        for index, (optimizer, _) in enumerate(optimisation.groups):
            # By their order: Keras numbers optimizers on from model to model, and names the moments
            # of output_bias and of output/bias alike.
            for position, variable in enumerate(optimizer.variables):
                saved[f"optimizer_{index}/{position}"] = variable.value
        return saved | self._averages()

    def _averages(self) -> dict[str, tf.Variable]:
        pairs = zip(self._optimisation.averages, self._optimisation.variables, strict=False)
        return {f"average/{name(variable)}": average for average, variable in pairs}

    # A step.

    def _make_step(self, objective: Objective):
        model, strategy = self._model, self._strategy
        optimisation = self._optimisation
        first, _ = local_replicas(strategy)

        def replica_step(iterators):
            context = tf.distribute.get_replica_context()
            # Each replica is traced by itself, and its number is a constant there.
            replica = int(tf.get_static_value(context.replica_id_in_sync_group))
            batch = next(iterators[replica - first])
            with tf.GradientTape() as tape:
                losses = objective(
                    model, batch, smoothing=self._settings.label_smoothing, training=True
                )
            gradients = tape.gradient(
                losses.loss,
                [variable.value for variable in optimisation.variables],
                # A step without any prompt leaves the prompts' variables out.
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
            losses = context.all_reduce(tf.distribute.ReduceOp.SUM, losses)
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            return losses, optimisation.apply(gradients, losses.count)

        # It takes the iterators and not the batch: an iterator's type leaves sizes open, so that
        # batches of different sizes don't trace the step again.
        @tf.function(autograph=False)
        def step(iterators, number):
            losses, norm = strategy.run(replica_step, args=(iterators,))
            optimisation.average(number)
            losses, norm = tf.nest.map_structure(
                lambda one: strategy.experimental_local_results(one)[0], (losses, norm)
            )
            nats = losses.parts or {"": losses.nats}  # a stage knows the unit of one
            return {
                "loss": losses.loss / losses.count,
                "nats": {unit: one / losses.count for unit, one in nats.items()},
                "examples": losses.examples,
                "gradient_norm": norm,
            }

        return step

    # The run.

    def fit(self) -> Progress:
        """Trains to the end, from the newest checkpoint on if there is one.

        Raises:
            CaptionerError: a loss that is not finite, or no sound checkpoint among those there.
            Interrupted: by SIGINT or SIGTERM, after saving.
        """
        state = self._checkpoints.resume(self._saved())
        if state is not None:
            self.progress = Progress(**state)
            self._optimisation.lower(self.progress.level)
        if self._chief:
            self._checkpoints.clear()
            self._checkpoints.save_frozen(
                frozen_variables(self._model, self._optimisation.variables)
            )
            self._cut_metrics()
        with self._signals(), self._bar() as bar, self._metrics_file() as metrics:
            for stage, epoch, first, offset in self._plan():
                begun = offset - epoch * stage.batches.steps
                if self.progress.stopped and self.progress.step > begun:
                    continue  # no more of this stage
                if epoch == 0 and first == 0 and offset > 0:
                    self._begin(offset, bar)
                self._epoch(stage, epoch, first, offset, bar, metrics)
        return self.progress

    def _begin(self, step: int, bar) -> None:
        """Begins a later stage, whether or not the one before it came to its end."""
        self._optimisation.begin(step)
        bar.update(step - self.progress.step)
        self.progress.step = step
        self.progress.waited, self.progress.stopped = 0, False
        self.progress.flat, self.progress.level = 0, 1.0
        self._optimisation.lower(1.0)

    def _plan(self) -> Iterator[tuple[Stage, int, int, int]]:
        """(stage, epoch, first step, steps before the epoch) for what is still to be done."""
        offset = 0
        for stage in self._stages:
            for epoch in range(stage.epochs):
                end = offset + stage.batches.steps
                # A run that was stopped at an epoch's last step still owes its validation.
                owed = self._validates(stage, epoch, end) and self.progress.step == end
                validated = any(row["step"] == end for row in self.progress.validations)
                if self.progress.step < end or (owed and not validated):
                    yield stage, epoch, max(self.progress.step - offset, 0), offset
                offset = end

    def _validates(self, stage: Stage, epoch: int, end: int) -> bool:
        """Whether an epoch that ends at step `end` is followed by a validation."""
        due = (epoch + 1) % self._settings.validate_every == 0 or epoch + 1 == stage.epochs
        return stage.validate and due

    def _epoch(self, stage, epoch, first, offset, bar, metrics) -> None:
        bar.set_description(f"{stage.label} {epoch + 1}/{stage.epochs}")
        data = feed(stage.batches, epoch, first, local_replicas(self._strategy))
        for at in range(first, stage.batches.steps):
            started = time.perf_counter()
            row = self._steps[stage.objective](data, tf.constant(self.progress.step, tf.int64))
            row = tf.nest.map_structure(float, row)
            self._check_finite(row, stage, epoch, at)
            self.progress.step += 1
            seconds = time.perf_counter() - started
            row = {
                "step": self.progress.step,
                "epoch": epoch + 1,
                "stage": stage.label,
                "loss": row["loss"],
                **{f"nats_per_{unit or stage.unit}": one for unit, one in row["nats"].items()},
                "gradient_norm": row["gradient_norm"],
                "learning_rate": float(self._optimisation.rate),
                "examples_per_second": round(row["examples"] / seconds, 2),
            }
            if self._chief:
                metrics.write(json.dumps(row) + "\n")
                metrics.flush()
                self._report.step(row)
            bar.update()
            bar.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)
            if self._stop_signal is not None:
                self._save()
                self._stop()
        if self._validates(stage, epoch, offset + stage.batches.steps):
            self._validation(epoch, bar)
        self._save()
        if self._stop_signal is not None:
            self._stop()

    def _stop(self) -> NoReturn:
        raise Interrupted(
            f"stopped at step {self.progress.step} of {self.total}; saved: "
            "the same command goes on from here"
        )

    def _validation(self, epoch: int, bar) -> None:
        self._optimisation.swap()
        try:
            scores = self._validate() if self._validate else {}
            row = {"step": self.progress.step, "epoch": epoch + 1, **scores}
            first = next(iter(scores.values()), None)
            last = self._settings.weights == "last"
            better = first is None or self.progress.best is None or first > self.progress.best
            if (better or last) and self._chief:
                weights = {
                    f"average/{name(v)}" if self._averages() else name(v): v.value
                    for v in self._optimisation.variables
                }
                self._checkpoints.save_best(weights, row)
            if better:
                self.progress.best, self.progress.waited, self.progress.flat = first, 0, 0
            else:
                self.progress.waited += 1
                self.progress.stopped = not last and self.progress.waited >= self._settings.patience
                self._flat()
            if self._chief:
                self._report.validation(row)
        finally:
            self._optimisation.swap()
        self.progress.validations.append(row)
        if self._chief and scores:
            bar.write(
                f"{bar.desc.rstrip(': ')}: "
                + ", ".join(f"{key} {value:.3f}" for key, value in scores.items())
                + (" (best so far)" if self.progress.waited == 0 else "")
                + ("; no better for long enough: stopping" if self.progress.stopped else ""),
                file=sys.stderr,
            )

    def _flat(self) -> None:
        """One more validation that brought nothing: on a plateau the rate is lowered."""
        self.progress.flat += 1
        settings = self._settings
        if settings.schedule == "plateau" and self.progress.flat >= settings.schedule_patience:
            self.progress.flat = 0
            self.progress.level *= settings.schedule_factor
            self._optimisation.lower(self.progress.level)

    def _save(self) -> None:
        if self._chief:
            self._checkpoints.save(self._saved(), vars(self.progress))

    def _check_finite(self, row, stage: Stage, epoch: int, at: int) -> None:
        bad = [key for key in ("loss", "gradient_norm") if not abs(row[key]) < float("inf")]
        if bad:
            raise CaptionerError(
                f"the {bad[0].replace('_', ' ')} is {row[bad[0]]} in {stage.label} epoch "
                f"{epoch + 1}, batch {at + 1} of {stage.batches.steps} (its captions begin "
                f"{stage.batches.describe(epoch, at)}); the last checkpoint is sound: look at "
                "these examples, or begin a new run with a lower train.learning_rate"
            )

    # Files.

    def _cut_metrics(self) -> None:
        """Drops what a killed run wrote after its last checkpoint."""
        path = self._run / "metrics.jsonl"
        if not path.exists():
            return
        kept = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            # The last line may be half written.
            with contextlib.suppress(ValueError, KeyError, TypeError):
                if json.loads(line)["step"] <= self.progress.step:
                    kept.append(line + "\n")
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(kept), encoding="utf-8")
        os.replace(temporary, path)

    def _metrics_file(self):
        if not self._chief:
            return contextlib.nullcontext()
        return (self._run / "metrics.jsonl").open("a", encoding="utf-8")

    def _bar(self):
        return tqdm(
            total=self.total,
            initial=self.progress.step,
            unit="step",
            dynamic_ncols=True,
            disable=not self._chief,
            mininterval=0.5,
        )

    @contextlib.contextmanager
    def _signals(self):
        """Between steps, not within one, is where a run can be saved."""

        def note(number, _):
            if self._stop_signal is not None:
                raise KeyboardInterrupt  # asked twice: now
            self._stop_signal = number

        try:
            before = {one: signal.signal(one, note) for one in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread: whoever runs us handles signals
            before = {}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)
