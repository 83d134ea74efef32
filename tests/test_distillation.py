"""Distillation: the loss by hand, what the teacher is shown, and whole runs.

Legend: S tokens, V vocabulary.
"""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tiny_training as tiny

import captioner
from captioner import config
from captioner.errors import CaptionerError
from captioner.inputs.pipeline import CachedImages
from captioner.inputs.text import END, PAD, START
from captioner.learning import run as runs
from captioner.learning.distillation import Distillation, divergence
from captioner.learning.objectives import caption_logits, caption_loss
from captioner.models import build
from captioner.tasks import teaching

TOKENS = tf.constant([[START, 5, 6, END, PAD], [START, 7, END, PAD, PAD]])


def softened(logits, temperature):
    raised = np.exp(np.asarray(logits) / temperature)
    return raised / raised.sum(-1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_divergence_by_hand(temperature):
    student, teacher = np.random.default_rng(0).normal(0, 2, (2, 3, 5)).astype(np.float32)
    teacher[2] = student[2] + 3  # the same distribution
    p, q = (softened(one, temperature) for one in (teacher, student))
    expected = (p * np.log(p / q)).sum(-1)
    found = divergence(tf.constant(student), tf.constant(teacher), temperature)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert abs(found[2]) < 1e-6 < found[0]


class Fake:
    """A model with a score for each token; it notes what it was given."""

    def __init__(self, scores):
        self.scores = tf.Variable(tf.constant(scores, tf.float32))

    def __call__(self, inputs, training):
        self.inputs, self.training = inputs, training
        count = tf.reduce_sum(inputs["lengths"])
        return tf.repeat(self.scores[None], count, axis=0), None


def test_the_loss_is_a_weighted_sum():
    """(1 - w) smoothed cross-entropy + w T² KL over five tokens; nats are those of the captions."""
    rng = np.random.default_rng(1)
    student, teacher = (Fake(rng.normal(0, 1, 8)) for _ in range(2))
    batch = {"image": 1, "sentences": 2, "teacher_image": 3, "teacher_sentences": 4,
             "tokens": TOKENS}  # fmt: skip
    objective = Distillation(caption_logits, teacher, 0.25, 3.0)
    with tf.GradientTape() as tape:
        found = objective(student, batch, smoothing=0.1)
    # The teacher is shown its own columns, and drops nothing.
    names = ("image", "sentences")
    shown = [{name: one.inputs[name] for name in names} for one in (student, teacher)]
    assert shown == [{"image": 1, "sentences": 2}, {"image": 3, "sentences": 4}]
    assert student.training is True and teacher.training is False
    assert not any(name.startswith("teacher_") for name in {**student.inputs, **teacher.inputs})
    alone = caption_loss(student, {"tokens": TOKENS}, smoothing=0.1)
    kl = divergence(student.scores[None], teacher.scores[None], 3.0)[0]
    np.testing.assert_allclose(found.loss, 0.75 * alone.loss + 0.25 * 9 * 5 * kl, rtol=1e-5)
    assert found[1:] == alone[1:]
    own, theirs = tape.gradient(found.loss, [student.scores, teacher.scores])
    assert own is not None and theirs is None


def test_the_sums_of_two_halves_are_those_of_the_whole():
    student, teacher = Fake(np.arange(8) / 4), Fake(np.arange(8)[::-1] / 3)
    objective = Distillation(caption_logits, teacher, 0.5, 2.0)
    whole = objective(student, {"tokens": TOKENS})
    halves = [objective(student, {"tokens": TOKENS[i : i + 1]}) for i in (0, 1)]
    np.testing.assert_allclose(whole[:4], np.sum([one[:4] for one in halves], axis=0), rtol=1e-5)


def test_both_see_the_same_view_of_a_picture():
    """In columns that the batch's signature knows."""
    mine, theirs = tiny.Cache(), tiny.Cache()
    theirs.table = np.concatenate([-mine.table, mine.table], -1)  # as wide again
    sentences = np.arange(tiny.IMAGES * tiny.VIEWS * 2, dtype=np.float32)
    sentences = sentences.reshape(tiny.IMAGES, tiny.VIEWS, 2)
    images = CachedImages(mine, teacher=CachedImages(theirs, sentences))
    batches = tiny.batches(images=images)
    steps = [batch for epoch in range(4) for (batch,) in batches.epoch(epoch)]
    for batch in steps:
        assert set(batch) == set(batches.signature())
        for name, spec in batches.signature().items():
            assert spec.is_compatible_with(tf.constant(batch[name])), name
        np.testing.assert_array_equal(batch["teacher_image"][..., : tiny.WIDTH], -batch["image"])
        for picture, told in zip(batch["image"], batch["teacher_sentences"], strict=True):
            image, view = divmod(int(told[0]) // 2, tiny.VIEWS)
            np.testing.assert_array_equal(picture, mine.table[view, image])
    # Without a teacher the same views are drawn.
    alone = [batch for (batch,) in tiny.batches().epoch(0)]
    assert [one["image"].tobytes() for one in alone] == [
        one["image"].tobytes() for one in steps[: len(alone)]
    ]


# Whole runs.


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(build, "image_encoder", tiny.quick_encoder)


def settings_of(drawn, overrides, *more):
    return config.settings(data=f"csv:{drawn}", overrides=[*overrides, *more])


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_smaller_run_learns_from_a_larger_one(drawn, tiny_overrides, tmp_path, monkeypatch):
    """On two replicas, with sentence heads and prompts; what comes of it needs no teacher."""
    side = [*tiny_overrides, "model.image_side=32", "train.epochs=1"]
    monkeypatch.setattr(runs, "finish", lambda *_: {})
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    runs.train(settings_of(drawn, side), teacher, tmp_path / "exports")
    lines = (teacher / "vocabulary.txt").read_text().splitlines()
    (teacher / "vocabulary.txt").write_text("".join(f"{line}\n" for line in [*lines[:-1], "##zz"]))
    more = ["model.units=4", f"train.teacher={teacher}", "train.distill=1",
            "train.distribution=mirrored", "train.seed=5"]  # fmt: skip
    settings = settings_of(drawn, side, *more)
    runs.train(settings, student, tmp_path / "exports")
    # The teacher's words, not those that the data would give.
    assert (student / "vocabulary.txt").read_text() == (teacher / "vocabulary.txt").read_text()
    rows = [json.loads(line) for line in (student / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(row["loss"]) for row in rows)
    # With distill=1, the loss is the divergence alone, far below the cross-entropy of almost
    # untrained models.
    assert all(row["loss"] < 0.5 * row["nats_per_token"] for row in rows)
    (teacher / "vocabulary.txt").write_text("\n".join(lines) + "\n")
    with pytest.raises(CaptionerError, match="not that of the teacher"):
        runs.train(settings, student, tmp_path / "exports")
    shutil.rmtree(teacher)
    assert captioner.load(student).caption(np.zeros((8, 8, 3), np.uint8)).error is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["text.max_prompt=9"], "text.max_prompt is .* there and 9 here"),
        (["model.copying=false"], "model.copying is True there and False here"),
        (["train.teacher=nowhere"], "nowhere is no run folder"),
        (["task=vqa"], "task is caption there and vqa here"),
        (["data.cache_features=false", "model.image_side=32", "model.sentence_head=false",
          "model.neighbours=0"], "model.image_side is 64 there and 32 here"),
    ],
)  # fmt: skip
def test_who_can_teach_nothing(tiny_run, tiny_overrides, words, message):
    def settings(*more):
        return config.settings(overrides=[*tiny_overrides, f"train.teacher={tiny_run}", *more])

    teaching.check(settings("model.units=4"))
    teaching.check(settings("model.text_encoder=none", "model.sentence_head=false",
                            "model.neighbours=0", "model.copying=false"))  # fmt: skip
    with pytest.raises(CaptionerError, match=message):
        teaching.check(settings(*words))


def test_a_task_without_distillation_says_so(tiny_run, tmp_path):
    settings = config.settings("lit", overrides=[f"train.teacher={tiny_run}"])
    with pytest.raises(CaptionerError, match="contrastive has no distillation"):
        runs.train(settings, tmp_path / "run", tmp_path / "exports")
    assert not (tmp_path / "run").exists()
