"""What a run shows while it trains: TensorBoard's files and a picture of its curves."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

# What a step's figures are found by; the others are drawn.
_POSITION = ("step", "epoch", "stage")


class Report:
    """Writes TensorBoard events and `curves.png` of one run.

    Args:
        run: Path. The run folder.
        samples: function or None. () -> a picture, uint8 [H, W, 3], for TensorBoard, of sample
            images with captions and where the model looked; called after each validation.
        curves: names of the validations' scores to draw.
    """

    def __init__(
        self,
        run: Path,
        samples: Callable[[], np.ndarray] | None = None,
        curves: Sequence[str] = (),
    ):
        self._run = run
        self._samples = samples
        self._curves = curves
        self._writer = tf.summary.create_file_writer(str(run))

    def step(self, row: Mapping[str, Any]) -> None:
        """A training step's figures."""
        with self._writer.as_default(step=row["step"]):
            for name, value in row.items():
                if name not in _POSITION:
                    tf.summary.scalar(f"train/{name}", value)

    def validation(self, row: Mapping[str, Any]) -> None:
        """A validation's scores."""
        with self._writer.as_default(step=row["step"]):
            for name, value in row.items():
                if name not in ("step", "epoch"):
                    tf.summary.scalar(f"validation/{name}", value)
            if self._samples is not None:
                tf.summary.image("samples", self._samples()[None])
        self._writer.flush()

    def close(self, validations: Sequence[Mapping[str, Any]]) -> None:
        """Draws the curves of the whole run, resumed parts included."""
        self._writer.close()
        draw_curves(self._run, validations, self._curves)


def draw_curves(
    run: Path, validations: Sequence[Mapping[str, Any]], curves: Sequence[str]
) -> None:
    """Draws loss, rate and scores against steps into `run/curves.png`."""
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    path = run / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(12, 4), layout="constrained")
    loss, rate, score = figure.subplots(1, 3)
    units = list(dict.fromkeys(key for row in rows for key in row if key.startswith("nats_per_")))
    loss.plot([row["step"] for row in rows], [row["loss"] for row in rows], label="loss", lw=1)
    for name in units:
        mine = [row for row in rows if name in row]
        label = "cross-entropy" if len(units) == 1 else name.replace("_", " ")
        loss.plot(
            [row["step"] for row in mine], [row[name] for row in mine], label=label, lw=1
        )
    loss.set(title="training loss", xlabel="step", ylabel=", ".join(units).replace("_", " "))
    loss.legend()
    rate.plot([row["step"] for row in rows], [row["learning_rate"] for row in rows])
    rate.set(title="learning rate", xlabel="step")
    for name in curves:
        points = [(row["step"], row[name]) for row in validations if name in row]
        if points:
            score.plot(*zip(*points, strict=True), marker="o", ms=3, label=name)
    score.set(title="dev scores", xlabel="step")
    if score.lines:
        score.legend()
    figure.savefig(run / "curves.png", dpi=110)
