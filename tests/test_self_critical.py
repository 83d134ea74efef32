"""Self-critical training: rewards, what they push, and the stage that it is."""

import os
import signal

import numpy as np
import pytest
import tensorflow as tf
import tiny_training as tiny

from captioner.config import Decode
from captioner.errors import CaptionerError
from captioner.inputs.text import END, START, CaptionTokenizer
from captioner.learning.loop import Interrupted, Stage
from captioner.learning.self_critical import SelfCritical, advantage
from captioner.metrics.cider import Cider

DECODE = Decode(beams=3, max_tokens=tiny.LENGTH, no_repeat=0, length_penalty=0.0)


def references() -> list[list[str]]:
    """What the tiny captions say of each image."""
    data = tiny.captions()
    return [
        [text for text, image in zip(data.texts, data.image, strict=True) if image == one]
        for one in range(tiny.IMAGES)
    ]


def objective(decode: Decode = DECODE) -> SelfCritical:
    tokenizer = CaptionTokenizer(["[PAD]", "[UNK]", "[START]", "[END]", *tiny.WORDS])
    return SelfCritical(tokenizer, references(), decode)


def stages(epochs: int = 2, reward_epochs: int = 2, strategy=None) -> list[Stage]:
    rewarded = tiny.batches(strategy, positions=True)
    return [
        Stage("epoch", tiny.batches(strategy), epochs),
        Stage("reward", rewarded, reward_epochs, objective=objective(), rate=0.5),
    ]


def batch() -> dict[str, tf.Tensor]:
    (only,) = next(tiny.batches(positions=True).epoch(0))
    return {name: tf.constant(value) for name, value in only.items()}


def test_a_caption_is_compared_with_the_others():
    rewards = tf.constant([[1.0, 2.0, 6.0], [0.5, 0.5, 0.5]])
    expected = [[1 - 4.0, 2 - 3.5, 6 - 1.5], [0, 0, 0]]
    np.testing.assert_allclose(advantage(rewards), expected)


def test_rewards_are_cider_d_against_the_image_s_own_captions():
    made = objective()
    texts = np.array([[b"a red dog", b"", b"\xff kite"], [b"a red dog", b"cat sits", b"x"]], object)
    found = made.rewards(texts, np.array([4, 2], np.int32))
    cider = Cider({str(at): [t.split() for t in all_] for at, all_ in enumerate(references())})
    for row, image in enumerate("42"):
        words = [text.decode("utf-8", "replace").split() for text in texts[row]]
        np.testing.assert_allclose(found[row], cider.score((image, one) for one in words))
    assert found.dtype == np.float32 and found[0, 1] == 0


def test_the_loss_by_hand():
    made, model, given = objective(), tiny.model(), batch()
    found = {}
    rewards = made.rewards

    def noted(texts, positions):
        found["texts"], found["rewards"] = texts, rewards(texts, positions)
        return found["rewards"]

    made.rewards = noted
    losses = made(model, given, training=False)
    index = {word: at for at, word in enumerate(tiny.WORDS, 4)}
    total = nats = count = 0.0
    shifts = advantage(tf.constant(found["rewards"])).numpy()
    assert np.abs(shifts).max() > 0.01
    memory_of = tf.constant(given["image"])
    for row, texts in enumerate(found["texts"]):
        for text, shift in zip(texts, shifts[row], strict=True):
            tokens = [START, *(index[word] for word in text.decode().split()), END]
            tokens = np.array([tokens], np.int32)
            logits, _ = model({"image": memory_of[row : row + 1], "tokens": tokens[:, :-1]})
            chosen = tf.gather(tf.nn.log_softmax(logits), tokens[:, 1:], axis=2, batch_dims=2)
            said = -float(tf.reduce_sum(chosen))
            total, nats, count = total + shift * said, nats + said, count + tokens.shape[1] - 1
    assert float(losses.loss) == pytest.approx(total, rel=1e-4, abs=1e-4)
    assert float(losses.nats) == pytest.approx(nats, rel=1e-4)
    assert (float(losses.count), float(losses.examples)) == (count, 3 * len(shifts))


def test_what_scores_better_than_the_others_becomes_more_probable():
    model, given = tiny.model(), batch()
    made = objective()
    # A caption is worth its length.
    lengths = []

    def rewards(texts, positions):
        worth = np.vectorize(lambda text: len(text.split()))(texts).astype(np.float32)
        lengths.append(worth[:, 0].mean())
        return worth

    made.rewards = rewards
    optimizer = tf.keras.optimizers.Adam(0.02)
    for _ in range(30):
        with tf.GradientTape() as tape:
            losses = made(model, given)
            loss = losses.loss / losses.count
        values = [variable.value for variable in model.trainable_variables]
        zero = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(loss, values, unconnected_gradients=zero)
        gradients = map(tf.convert_to_tensor, gradients)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    assert lengths[-1] > lengths[0] + 1


def test_one_beam_has_nothing_to_be_compared_with():
    with pytest.raises(CaptionerError, match="decode.beams to 2"):
        objective(Decode(beams=1))


def test_it_is_a_stage_of_the_one_loop(tmp_path):
    made = tiny.trainer(tmp_path, stages=stages())
    progress = made.fit()
    rows = made._report.rows
    assert [row["stage"] for row in rows] == ["epoch"] * 4 + ["reward"] * 4
    assert progress.step == 8 and [row["step"] for row in progress.validations] == [2, 4, 6, 8]
    # Half the rate at the same place of its own course.
    assert rows[4]["learning_rate"] == pytest.approx(rows[0]["learning_rate"] / 2)


def test_it_begins_with_the_averages_that_were_validated(tmp_path):
    made = tiny.trainer(tmp_path, stages=stages(2, 1), average=0.9)
    averages = {}

    def note(step):
        if step == 4:
            averages.update({key: one.numpy() for key, one in made._averages().items()})

    made._report.at_step = note
    begin, begun = made._optimisation.begin, []
    made._optimisation.begin = lambda step: (
        begin(step), begun.append([v.numpy() for v in made._optimisation.variables])
    )  # fmt: skip
    made.fit()
    for value, average in zip(begun[0], averages.values(), strict=True):
        np.testing.assert_array_equal(value, average)


def test_it_follows_when_patience_has_run_out(tmp_path):
    scores = iter([0.5, 0.4, 0.3, 0.6, 0.7])
    made = tiny.trainer(
        tmp_path,
        stages=stages(9, 2),
        patience=2,
        validate=lambda _: lambda: {"CIDEr": next(scores)},
    )
    progress = made.fit()
    rows = made._report.rows
    assert [row["stage"] for row in rows] == ["epoch"] * 6 + ["reward"] * 4
    assert [row["step"] for row in rows][5:7] == [6, 19] and progress.step == 22
    assert progress.best == 0.7 and not progress.stopped
    assert rows[6]["learning_rate"] == pytest.approx(rows[0]["learning_rate"] / 2, rel=0.2)


@pytest.mark.parametrize("step", [4, 5, 7])
def test_stopped_there_it_goes_on_to_the_same_end(tmp_path, step):
    whole = tiny.trainer(tmp_path / "whole", stages=stages(), dropout=0.3)
    whole.fit()
    broken = tiny.trainer(tmp_path / "broken", stages=stages(), dropout=0.3)
    broken._report.at_step = lambda at: at == step and os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Interrupted):
        broken.fit()
    again = tiny.trainer(tmp_path / "broken", stages=stages(), dropout=0.3)
    again.fit()
    tiny.assert_same(tiny.everything(again), tiny.everything(whole))
