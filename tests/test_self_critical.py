"""Self-critical training: rewards, what they push, and the stage that it is."""

import os
import signal

import numpy as np
import pytest
import tensorflow as tf
import tiny_training as tiny

from captioner.inputs.text import END, START, CaptionTokenizer
from captioner.learning.loop import Interrupted, Stage
from captioner.learning.rewards import Reward
from captioner.learning.self_critical import SelfCritical, above_others
from captioner.metrics.cider import Cider


def references() -> list[list[str]]:
    """What the tiny captions say of each image."""
    data = tiny.captions()
    return [
        [text for text, image in zip(data.texts, data.image, strict=True) if image == one]
        for one in range(tiny.IMAGES)
    ]


def objective(reward=None, samples: int = 3, **options) -> SelfCritical:
    tokenizer = CaptionTokenizer(["[PAD]", "[UNK]", "[START]", "[END]", *tiny.WORDS])
    reward = reward or Reward(references())
    return SelfCritical(tokenizer, reward, samples, max_tokens=tiny.LENGTH, **options)


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
    np.testing.assert_allclose(above_others(rewards), expected)


def test_rewards_are_cider_d_against_the_image_s_own_captions():
    texts = np.array([[b"a red dog", b"", b"\xff kite"], [b"a red dog", b"cat sits", b"x"]], object)
    found = Reward(references())(texts, np.array([4, 2], np.int32))
    cider = Cider({str(at): [t.split() for t in all_] for at, all_ in enumerate(references())})
    for row, image in enumerate("42"):
        words = [text.decode("utf-8", "replace").split() for text in texts[row]]
        np.testing.assert_allclose(found[row], cider.score((image, one) for one in words))
    assert found.dtype == np.float32 and found[0, 1] == 0


def test_a_mixed_reward_adds_smoothed_bleu():
    texts = np.array([[b"a red dog", b"a red"]], object)
    position = np.array([0], np.int32)
    of = [["a red dog sits"]]
    bleu = Reward(of, bleu=2.0)(texts, position) - Reward(of)(texts, position)
    # Three, two and one of as many runs match, and none of no run of four; one is added to each
    # from two words on. The caption is a word short.
    shorter = np.exp(1 - 4 / 3)
    assert bleu[0, 0] == pytest.approx(2 * shorter, rel=1e-5)
    assert bleu[0, 1] == pytest.approx(2 * np.exp(1 - 4 / 2), rel=1e-5)
    wrong = np.array([[b"red a dog", b""]], object)
    bleu = Reward(of, bleu=1.0)(wrong, position) - Reward(of)(wrong, position)
    assert bleu[0, 0] == pytest.approx(shorter * (1 * (1 / 3) * (1 / 2) * 1) ** 0.25, rel=1e-5)
    assert bleu[0, 1] < 1e-3


class Noted:
    """A reward that remembers what it was asked."""

    def __init__(self, reward):
        self.reward, self.texts, self.found = reward, [], []

    def __call__(self, texts, positions):
        self.texts.append(texts)
        self.found.append(self.reward(texts, positions))
        return self.found[-1]


@pytest.mark.parametrize("baseline", ["others", "greedy"])
def test_the_loss_by_hand(baseline):
    reward = Noted(Reward(references()))
    made, model, given = objective(reward, baseline=baseline), tiny.model(), batch()
    losses = made(model, given, training=False)
    rewards = reward.found[0]
    if baseline == "others":
        shifts = above_others(tf.constant(rewards)).numpy()
    else:
        shifts = rewards - reward.found[1]
        assert reward.found[1].shape == (len(rewards), 1)
    assert np.abs(shifts).max() > 0.01
    index = {word: at for at, word in enumerate(tiny.WORDS, 4)}
    total = nats = count = 0.0
    image = tf.constant(given["image"])
    for row, texts in enumerate(reward.texts[0]):
        for text, shift in zip(texts, shifts[row], strict=True):
            tokens = [START, *(index[word] for word in text.decode().split()), END]
            tokens = np.array([tokens], np.int32)
            logits, _ = model({"image": image[row : row + 1], "tokens": tokens[:, :-1]})
            chosen = tf.gather(tf.nn.log_softmax(logits), tokens[:, 1:], axis=2, batch_dims=2)
            said = -float(tf.reduce_sum(chosen))
            total, nats, count = total + shift * said, nats + said, count + tokens.shape[1] - 1
    assert float(losses.loss) == pytest.approx(total, rel=1e-4, abs=1e-4)
    assert float(losses.nats) == pytest.approx(nats, rel=1e-4)
    assert (float(losses.count), float(losses.examples)) == (count, 3 * len(shifts))


def test_draws_depend_on_their_number_alone_and_differ():
    model, given = tiny.model(), batch()
    texts = []
    for part in (slice(None), slice(None), slice(1, None)):
        reward = Noted(Reward(references()))
        objective(reward, samples=4)(
            model,
            {name: given[name][part] for name in ("image", "position", "draw")},
            training=False,
        )
        texts.append(reward.texts[0])
    np.testing.assert_array_equal(texts[0], texts[1])
    np.testing.assert_array_equal(texts[0][1:], texts[2])
    assert any(len(set(row)) > 1 for row in texts[0].tolist())
    reward = Noted(Reward(references()))
    objective(reward, samples=4)(model, given | {"draw": given["draw"] + 1}, training=False)
    assert (reward.texts[0] != texts[0]).any()


def test_what_scores_better_than_the_others_becomes_more_probable():
    model, given = tiny.model(), batch()
    # A caption is worth its length.
    reward = Noted(
        lambda texts, _: np.vectorize(lambda text: len(text.split()))(texts).astype(np.float32)
    )
    made = objective(reward, samples=8)
    optimizer = tf.keras.optimizers.Adam(0.02)
    for step in range(40):
        given["draw"] += 1 + step
        with tf.GradientTape() as tape:
            losses = made(model, given)
            loss = losses.loss / losses.count
        values = [variable.value for variable in model.trainable_variables]
        zero = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(loss, values, unconnected_gradients=zero)
        gradients = map(tf.convert_to_tensor, gradients)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    lengths = [found.mean() for found in reward.found]
    assert np.mean(lengths[-5:]) > lengths[0] + 0.5


def test_a_single_draw_has_no_others():
    with pytest.raises(ValueError, match="two or more"):
        objective(samples=1)
    objective(samples=1, baseline="greedy")


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


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    made = tiny.trainer(tmp_path_factory.mktemp("unbroken"), stages=stages(), dropout=0.3)
    made.fit()
    return made


@pytest.mark.parametrize("step", [4, 7])
def test_stopped_there_it_goes_on_to_the_same_end(tmp_path, unbroken, step):
    broken = tiny.trainer(tmp_path, stages=stages(), dropout=0.3)
    broken._report.at_step = lambda at: at == step and os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Interrupted):
        broken.fit()
    again = tiny.trainer(tmp_path, stages=stages(), dropout=0.3)
    again.fit()
    tiny.assert_same(tiny.everything(again), tiny.everything(unbroken))
