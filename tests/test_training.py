"""The training loop on a tiny captioner: what changes, what stays, what is written, what stops."""

import json
import math
import os
import re
import signal

import numpy as np
import pytest
import tensorflow as tf
import tiny_training as tiny

from captioner.errors import CaptionerError
from captioner.inputs.pipeline import CachedImages
from captioner.learning.checkpoints import Checkpoints
from captioner.learning.loop import Interrupted, Stage
from captioner.learning.optimisation import frozen_variables, name

METRICS = {
    "step", "epoch", "stage", "loss", "nats_per_token", "gradient_norm", "learning_rate",
    "examples_per_second",
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_encoder):
    """A finished training with a text encoder and everything frozen that is by default; its model
    before."""
    run = tmp_path_factory.mktemp("trained")
    made = tiny.trainer(run, encoder=tiny_encoder, dropout=0.3)
    before = tiny.weights(made)
    made.fit()
    return made, before, run


def metrics(run) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def scripted(*scores):
    """A validation with these scores, one after the other."""
    given = iter(scores)
    return lambda _: lambda: {"CIDEr": next(given)}


def test_frozen_is_bit_identical_and_the_rest_learns(trained):
    made, before, _ = trained
    after = tiny.weights(made)
    for path, value in after.items():
        frozen = path.startswith(("image_encoder", "text_encoder"))
        assert np.array_equal(value, before[path]) == frozen, path
    assert any(path.startswith("image_encoder") for path in after)
    assert any(path.startswith("text_encoder") for path in after)


def test_one_object_per_step(trained):
    made, _, run = trained
    rows = metrics(run)
    assert [row["step"] for row in rows] == list(range(1, 7))
    assert [row["epoch"] for row in rows] == [1, 1, 2, 2, 3, 3]
    assert all(METRICS == set(row) for row in rows)
    assert all(math.isfinite(row["loss"]) and row["examples_per_second"] > 0 for row in rows)
    assert made._report.rows == rows
    # A loss in nats per token begins at about that of guessing.
    assert abs(rows[0]["nats_per_token"] - math.log(4 + len(tiny.WORDS))) < 0.5


def test_every_variable_is_saved_under_a_name_of_its_own(trained):
    """Keras calls the moments of decoder/output_bias and of decoder/output/bias the same."""
    made, _, _ = trained
    optimizers = [v for optimizer, _ in made._optimisation.groups for v in optimizer.variables]
    frozen = frozen_variables(made._model, made._optimisation.variables)
    averages = made._optimisation.averages
    assert len(averages) == len(made._optimisation.variables) > 20
    assert len(made._saved()) + len(frozen) == (
        len(made._model.variables) + len(optimizers) + len(averages)
    )


def test_checkpoints_at_the_end(trained):
    _, _, run = trained
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names == ["00000002", "00000004", "00000006", "best", "frozen"]


def test_the_loss_falls(tmp_path):
    made = tiny.trainer(tmp_path, epochs=80, learning_rate=0.03, validate_every=80)
    made.fit()
    losses = [row["nats_per_token"] for row in metrics(tmp_path)]
    assert losses[-1] < 0.75 * losses[0]


def test_the_best_checkpoint_holds_the_averages(tmp_path):
    """Validation sees the averaged weights, and those are what is kept."""
    seen = []

    def validate(made):
        def scores():
            seen.append(tiny.weights(made))
            return {"CIDEr": [0.1, 0.3, 0.2][len(seen) - 1]}

        return scores

    trained = {}
    made = tiny.trainer(tmp_path, validate=validate, average=0.9, learning_rate=0.01)
    made._report.at_step = lambda step: trained.update({step: tiny.weights(made)})
    made.fit()
    assert made.progress.best == 0.3 and made.progress.waited == 1
    averages = {key: tf.Variable(one) for key, one in made._averages().items()}
    state = Checkpoints(tmp_path / "checkpoints").restore_best(averages)
    assert state["step"] == 4 and state["CIDEr"] == 0.3
    assert averages
    for variable in made._optimisation.variables:
        np.testing.assert_array_equal(
            averages[f"average/{name(variable)}"].numpy(), seen[1][variable.path]
        )
    # Training itself goes on from the weights, not from their averages.
    assert trained.keys() >= {4, 6}
    for step, during in ((4, seen[1]), (6, seen[2])):
        assert any(not np.array_equal(trained[step][path], during[path]) for path in during)
    tiny.assert_same(tiny.weights(made), trained[6])


def test_averages_are_of_the_weights_after_each_step(tmp_path):
    taken = []
    report = tiny.Reports()
    made = tiny.trainer(tmp_path, report=report, average=0.5, validate=None)
    kernel = made._optimisation.variables[0]
    start = kernel.numpy()
    report.at_step = lambda step: taken.append(kernel.numpy())
    made.fit()
    expected = start
    for step, value in enumerate(taken):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = expected * decay + value * (1 - decay)
    np.testing.assert_allclose(made._optimisation.averages[0].numpy(), expected, rtol=1e-5)


def test_no_averages(tmp_path):
    made = tiny.trainer(tmp_path, average=0.0)
    made.fit()
    last = {name(v): tf.Variable(v.numpy() * 0) for v in made._optimisation.variables}
    Checkpoints(tmp_path / "checkpoints").restore_best(last)
    for variable in made._optimisation.variables:
        np.testing.assert_array_equal(last[name(variable)].numpy(), variable.numpy())


def test_nothing_to_validate_with_keeps_the_last_weights(tmp_path):
    made = tiny.trainer(tmp_path, validate=None)
    made.fit()
    averages = {key: tf.Variable(one * 0) for key, one in made._averages().items()}
    assert Checkpoints(tmp_path / "checkpoints").restore_best(averages)["step"] == 6
    for key, one in made._averages().items():
        np.testing.assert_array_equal(averages[key].numpy(), one.numpy())


def test_the_last_weights_are_kept_where_they_are_asked_for(tmp_path):
    """However the dev images like them, and without stopping early."""
    made = tiny.trainer(
        tmp_path, patience=1, weights="last", validate=scripted(0.3, 0.2, 0.1)
    )
    progress = made.fit()
    assert (progress.step, progress.best, progress.stopped) == (6, 0.3, False)
    averages = {key: tf.Variable(one * 0) for key, one in made._averages().items()}
    state = Checkpoints(tmp_path / "checkpoints").restore_best(averages)
    assert state["step"] == 6 and state["CIDEr"] == 0.1
    for key, one in made._averages().items():
        np.testing.assert_array_equal(averages[key].numpy(), one.numpy())


def test_patience(tmp_path):
    made = tiny.trainer(
        tmp_path, epochs=9, patience=2, validate=scripted(0.1, 0.3, 0.2, 0.3, 9, 9, 9)
    )
    progress = made.fit()
    # An equal score is no better one.
    assert (progress.step, progress.best, progress.stopped) == (8, 0.3, True)
    assert len(metrics(tmp_path)) == 8
    # A stopped run stays stopped.
    again = tiny.trainer(tmp_path, epochs=9, patience=2, validate=scripted())
    assert again.fit().step == 8
    assert len(metrics(tmp_path)) == 8


def test_patience_starts_anew_with_each_better_score(tmp_path):
    made = tiny.trainer(
        tmp_path, epochs=6, patience=2, validate=scripted(0.1, 0.0, 0.2, 0.1, 0.3, 0.2)
    )
    assert made.fit().step == 12 and not made.progress.stopped


@pytest.mark.parametrize("stopped", [False, True])
def test_a_plateau_lowers_the_rate(tmp_path, stopped):
    """After two validations without a better score, counted anew after each fall; a run that was
    stopped in between remembers both counts."""
    scores = (0.3, 0.2, 0.3, 0.4, 0.1, 0.1, 0.1)
    settings = {
        "epochs": 7, "learning_rate": 0.01, "warmup": 0.0, "schedule": "plateau",
        "schedule_patience": 2, "schedule_factor": 0.5,
    }  # fmt: skip

    def trainer(scores, at_step=lambda step: None):
        report = tiny.Reports(at_step)
        return tiny.trainer(tmp_path, validate=scripted(*scores), report=report, **settings)

    if stopped:  # in the seventh epoch, after a fall and a validation that brought nothing
        made = trainer(scores, lambda step: step == 11 and os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(Interrupted):
            made.fit()
        made = trainer(scores[5:])
    else:
        made = trainer(scores)
    made.fit()
    rates = [row["learning_rate"] for row in metrics(tmp_path)]
    expected = np.repeat([0.01, 0.005, 0.0025], [6, 6, 2])
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    progress = made.progress
    assert (progress.level, progress.flat, progress.waited, progress.best) == (0.25, 1, 3, 0.4)


def test_validation_every_second_epoch_and_at_the_end(tmp_path):
    made = tiny.trainer(tmp_path, epochs=5, validate_every=2)
    assert [row["epoch"] for row in made.fit().validations] == [2, 4, 5]


def test_messages_go_to_standard_error(tmp_path, capsys):
    tiny.trainer(tmp_path, epochs=1).fit()
    out, err = capsys.readouterr()
    assert out == "" and "CIDEr" in err and "best so far" in err


# What there is to learn.


def test_without_a_text_encoder(tmp_path):
    made = tiny.trainer(tmp_path, dropout=0.2)
    before = tiny.weights(made)
    made.fit()
    after = tiny.weights(made)
    assert not np.array_equal(after["decoder/words/embeddings"], before["decoder/words/embeddings"])
    assert np.array_equal(after["image_encoder/kernel"], before["image_encoder/kernel"])


class Pixels:
    """Random pictures, given as pixels."""

    spec = {"image": tf.TensorSpec([None, 4, 4, 3], tf.uint8)}

    def __init__(self):
        self.table = np.random.default_rng(2).integers(0, 256, (tiny.IMAGES, 4, 4, 3), np.uint8)

    def __call__(self, images, rng):
        return {"image": self.table[images]}


def test_fine_tuning_trains_the_encoders(tmp_path, tiny_encoder):
    data = tiny.batches(encoder=tiny_encoder, images=Pixels())
    made = tiny.trainer(tmp_path, encoder=tiny_encoder, tune=True, data=data, dropout=0.1)
    before = tiny.weights(made)
    made.fit()
    after = tiny.weights(made)
    changed = {path for path in after if not np.array_equal(after[path], before[path])}
    assert "image_encoder/kernel" in changed
    assert sum(path.startswith("text_encoder") for path in changed) > 20
    assert len(made._optimisation.groups) == 2
    frozen = frozen_variables(made._model, made._optimisation.variables)
    assert not any("image_encoder" in key for key in frozen)
    # And all of it comes back.
    again = tiny.trainer(tmp_path, encoder=tiny_encoder, tune=True, data=data, dropout=0.1)
    again.fit()
    tiny.assert_same(tiny.everything(again), tiny.everything(made))


def test_freezing_by_pattern(tmp_path, tiny_encoder):
    data = tiny.batches(encoder=tiny_encoder, images=Pixels())
    made = tiny.trainer(
        tmp_path, encoder=tiny_encoder, data=data, freeze=("text_encoder", "decoder/(words|lang)")
    )
    before = tiny.weights(made)
    made.fit()
    for path, value in tiny.weights(made).items():
        frozen = bool(re.match("text_encoder|decoder/(words|lang)", path))
        assert np.array_equal(value, before[path]) == frozen, path


def test_bfloat16(tmp_path):
    made = tiny.trainer(tmp_path, precision="mixed_bfloat16", dropout=0.2, epochs=20,
                        learning_rate=0.03, validate_every=20)  # fmt: skip
    assert made._model.decoder.compute_dtype == made._model.compute_dtype == "bfloat16"
    made.fit()
    assert all(v.dtype == "float32" for v in made._optimisation.variables)
    rows = metrics(tmp_path)
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert rows[-1]["nats_per_token"] < 0.9 * rows[0]["nats_per_token"]


def test_captions_without_images_teach_the_decoder_only(tmp_path):
    stages = [tiny.text_stage(), Stage("epoch", tiny.batches(), 1)]
    after_text = {}
    report = tiny.Reports()
    made = tiny.trainer(tmp_path, stages=stages, report=report, weight_decay=0.0)
    before = tiny.weights(made)
    report.at_step = lambda step: step == 8 and after_text.update(tiny.weights(made))
    made.fit()
    changed = {path for path in before if not np.array_equal(before[path], after_text[path])}
    words = {"decoder/words/embeddings", "decoder/language/kernel", "decoder/fusion/kernel"}
    assert words <= changed
    assert not any(
        path.partition("/")[2].startswith("region") or "attention" in path for path in changed
    )
    rows = metrics(tmp_path)
    assert [row["stage"] for row in rows] == ["text"] * 8 + ["epoch"] * 2
    assert [row["epoch"] for row in rows] == [1] * 4 + [2] * 4 + [1] * 2
    # Only the stage with images is validated.
    assert [row["step"] for row in made.progress.validations] == [10]
    # Then the image side learns as well.
    last = tiny.weights(made)
    path = next(path for path in last if path.endswith("region_projection/kernel"))
    assert not np.array_equal(last[path], after_text[path])


# What stops a run.


def poisoned(row: int, value: float) -> CachedImages:
    cache = tiny.Cache()
    cache.table[:, row] = value
    return CachedImages(cache)


def test_a_poisoned_image_stops_the_run_and_names_the_batch(tmp_path):
    tiny.trainer(tmp_path, epochs=3, validate=None).fit()
    sound = sorted(path.name for path in (tmp_path / "checkpoints").glob("0*"))
    data = tiny.batches(images=poisoned(3, np.nan))
    made = tiny.trainer(tmp_path, epochs=4, validate=None, data=data)
    with pytest.raises(CaptionerError) as raised:
        made.fit()
    message = str(raised.value)
    found = re.search(r"the loss is nan in epoch epoch 4, batch (\d) of 2 \(its captions", message)
    assert found, message
    # The captions that it names are those of that batch.
    at = int(found[1]) - 1
    batch = list(data.epoch(3))[at][0]
    named = re.findall(r"'([a-z ]+)'", message)
    texts = {text for text, tokens in zip(data.data.texts, data.data.tokens, strict=True)
             if (tokens == batch["tokens"]).all(1).any()}  # fmt: skip
    assert named and set(named) <= texts
    # Nothing of it reached a checkpoint or the metrics.
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("0*")) == sound
    assert all(math.isfinite(row["loss"]) for row in metrics(tmp_path))
    made = tiny.trainer(tmp_path, epochs=4, validate=None)
    assert made.fit().step == 8
    assert all(np.isfinite(value).all() for value in tiny.everything(made).values())


def test_an_absurd_learning_rate_stops_the_run(tmp_path):
    made = tiny.trainer(tmp_path, epochs=30, learning_rate=1e30, warmup=0.0)
    with pytest.raises(CaptionerError, match="lower train.learning_rate"):
        made.fit()


def test_a_full_disk_while_training_is_an_os_error(tmp_path, monkeypatch):
    made = tiny.trainer(tmp_path)

    def full(*_):
        message = "/x; No space left on device [Op:SaveV2]"
        raise tf.errors.ResourceExhaustedError(None, None, message)

    report = made._report
    report.at_step = lambda step: step == 4 and monkeypatch.setattr(
        tf.train.Checkpoint, "write", full
    )
    with pytest.raises(OSError) as raised:
        made.fit()
    assert raised.value.errno == 28
    monkeypatch.undo()
    assert Checkpoints(tmp_path / "checkpoints").steps()[-1].name == "00000002"
    again = tiny.trainer(tmp_path)
    assert again.fit().step == 6
