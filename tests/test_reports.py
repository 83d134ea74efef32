"""What a run shows: TensorBoard's files and the picture of its curves."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from captioner.learning.reports import Report, draw_curves

ROW = {
    "step": 1, "epoch": 1, "stage": "epoch", "loss": 3.5, "nats_per_token": 3.25,
    "gradient_norm": 0.5, "learning_rate": 0.001, "examples_per_second": 120.0,
}  # fmt: skip


def events(run: Path) -> dict[str, list[tuple[int, object]]]:
    """tag: [(step, a number or a picture's bytes), …], over all event files."""
    found: dict[str, list] = {}
    for path in sorted(run.glob("events.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                tensor = tf.make_ndarray(value.tensor)
                content = tensor[2] if tensor.dtype == object else float(tensor)
                found.setdefault(value.tag, []).append((event.step, content))
    return found


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_a_runs_events(tiny_run):
    """Losses, rates, throughput, scores and sample pictures of a real run."""
    rows = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    found = events(tiny_run)
    for name in ("loss", "nats_per_token", "learning_rate", "gradient_norm", "examples_per_second"):
        steps, values = zip(*found[f"train/{name}"], strict=True)
        assert steps == tuple(row["step"] for row in rows)
        np.testing.assert_allclose(values, [row[name] for row in rows], rtol=1e-5)
    last = {name: [step for step, _ in found[f"validation/{name}"]] for name in ("CIDEr", "BLEU_4")}
    assert last["CIDEr"] == last["BLEU_4"] and last["CIDEr"][-1] == rows[-1]["step"]
    assert [step for step, _ in found["samples"]] == last["CIDEr"]
    for _, png in found["samples"]:
        pixels = tf.io.decode_png(png).numpy()
        # Pictures, captions and maps on white: many colours, and most of it is not white.
        assert pixels.shape[-1] == 3 and min(pixels.shape[:2]) > 100
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100


def test_a_runs_curves(tiny_run):
    pixels = picture(tiny_run / "curves.png")
    assert min(pixels.shape[:2]) > 300
    # Each of its three panels holds a coloured line.
    for panel in np.array_split(pixels, 3, axis=1):
        low, high = panel.min(-1).astype(int), panel.max(-1).astype(int)
        assert (high - low > 60).sum() > 100


def test_two_parts_of_a_run_are_both_there(tmp_path):
    """A resumed run writes a file of its own beside the first."""
    for step in (1, 2):
        report = Report(tmp_path)
        report.step(ROW | {"step": step, "loss": 1.0 / step})
        report.validation({"step": step, "epoch": step, "CIDEr": 0.25 * step})
        (tmp_path / "metrics.jsonl").open("a").write(json.dumps(ROW | {"step": step}) + "\n")
        report.close([])
    found = events(tmp_path)
    assert sorted(found["train/loss"]) == [(1, 1.0), (2, 0.5)]
    assert sorted(found["validation/CIDEr"]) == [(1, 0.25), (2, 0.5)]
    assert "validation/epoch" not in found and "samples" not in found


def test_a_validation_is_on_disk_at_once(tmp_path):
    """A killed run has lost nothing up to its last validation."""
    colours = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    report = Report(tmp_path, samples=lambda: colours)
    report.step(ROW)
    report.validation({"step": 1, "epoch": 1, "CIDEr": 0.5})
    found = events(tmp_path)
    assert found["train/loss"] == [(1, 3.5)]
    np.testing.assert_array_equal(tf.io.decode_png(found["samples"][0][1]), colours)


@pytest.mark.parametrize("validations", [[], [{"step": 1, "CIDEr": 0.1}], [{"step": 1}]])
def test_curves_of_little(tmp_path, validations):
    """One step, and a data set without dev images."""
    (tmp_path / "metrics.jsonl").write_text(json.dumps(ROW) + "\n")
    draw_curves(tmp_path, validations, ["CIDEr"])
    assert picture(tmp_path / "curves.png").std() > 1


def test_curves_show_the_scores(tmp_path):
    rows = [ROW | {"step": step} for step in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    drawn = []
    for score in (None, 0.1):
        shown = [{"step": step} | ({"CIDEr": score * step} if score else {}) for step in (1, 2, 3)]
        draw_curves(tmp_path, shown, ["CIDEr"])
        drawn.append(picture(tmp_path / "curves.png"))
    assert drawn[0].shape == drawn[1].shape and (drawn[0] != drawn[1]).any()
