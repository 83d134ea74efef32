"""Several tasks at once: shared encoders, batches, losses, replicas, and resuming."""

import numpy as np
import pytest
import tensorflow as tf
import tiny_training as tiny
from test_contrastive import Still, records

from captioner import config
from captioner.errors import CaptionerError
from captioner.inputs.pipeline import CachedImages, examples
from captioner.inputs.text import CaptionTokenizer, learn_vocabulary
from captioner.learning import contrastive, distribution, joint, matching
from captioner.learning.data import Images
from captioner.learning.loop import Trainer
from captioner.learning.objectives import caption_loss
from captioner.learning.optimisation import name
from captioner.models import build as parts
from captioner.models.joint import build

PARTS = ("caption", "contrastive", "matching")
WEIGHTS = {"caption": "alpha", "contrastive": "contrastive", "matching": "matching"}
UNITS = {"caption": "token", "contrastive": "caption", "matching": "pair"}


def settings_of(encoder, *overrides) -> config.Settings:
    return config.settings("joint", overrides=[
        "model.image_side=64", "model.units=8", "model.heads=2", "model.dropout=0",
        "model.feature_dropout=0", "model.word_dropout=0", "joint.dropout=0", "data.views=3",
        f"model.text_encoder={encoder}", "model.neighbours=0", "model.copying=false",
        "text.max_prompt=12", "train.batch_size=8", "train.captions_per_image=2", "train.epochs=2",
        "train.learning_rate=0.003", "train.patience=100", "train.label_smoothing=0.1",
        "matching.head=[6, 4]", "matching.layers=[8]", *overrides,
    ])  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(parts, "image_encoder", tiny.quick_encoder)


def made(settings, strategy=None, replicas=1):
    """The model over the seven images of the tiny cache, and the one stage of training."""
    strategy = strategy or tf.distribute.get_strategy()
    train = Images(records(), CachedImages(tiny.Cache()), frozenset())
    said = [text for record in train.records for text in record.captions]
    vocabulary = learn_vocabulary(said, 60)
    with strategy.scope():
        built = build(settings, vocabulary)
    found = joint.fitted(settings, built, train, lambda text: None, lambda done, total: None)
    if settings.model.sentence_head:
        for one, fitted in zip(("kernel", "bias"), (found.fit.kernel, found.fit.bias), strict=True):
            getattr(built.model.captioner.sentence_head, one).assign(fitted)
    data = examples(train.records, CaptionTokenizer(vocabulary), 10, set())
    return built, *joint.stages(settings, built, train, data, found, replicas)


def trainer(run, settings, strategy=None, report=None) -> Trainer:
    strategy = strategy or tf.distribute.get_strategy()
    built, stage = made(settings, strategy, strategy.num_replicas_in_sync)
    run.mkdir(parents=True, exist_ok=True)
    return Trainer(built.model, settings.train, strategy, [stage], run, tiny.figure(built.model),
                   report or tiny.Reports())  # fmt: skip


def tensors(batch) -> dict[str, tf.Tensor]:
    return {key: tf.constant(one) for key, one in batch.items()}


# The model.


def test_the_encoders_are_there_once(tiny_encoder):
    built, _ = made(settings_of(tiny_encoder))
    model = built.model
    for head in (model.captioner, model.towers, model.matching):
        assert head.image_encoder is model.image_encoder
        assert head.text_encoder is model.text_encoder
    assert model.matching.sentence_head is model.captioner.sentence_head
    names = [name(one) for one in model.variables if "seed_generator" not in one.path]
    assert len(names) == len(set(names))
    shared = {"image_encoder/kernel"} | {name(one) for one in model.text_encoder.variables}
    assert shared < set(names) and not [one for one in names if "/image_encoder/" in one]
    # What is frozen goes by the names that these variables have in the tasks of their own.
    alone = parts.build(settings_of(tiny_encoder), built.caption.tokenizer.vocabulary)
    own = {name(one) for one in alone.model.variables if "seed_generator" not in one.path}
    others = {one for one in names if not one.startswith(("contrastive/", "matching/"))}
    assert own == others


# Batches.


def test_images_and_pairs_of_a_step(tiny_encoder):
    """Mined wrong images stand behind those that captions belong to, and every pair names the right
    image, however the step is divided."""
    settings = settings_of(tiny_encoder, "matching.mined=0.7", "matching.negatives=3")
    cache = tiny.Cache()
    one, two = (made(settings, replicas=replicas)[1].batches for replicas in (1, 2))
    found = []
    for batches in (one, two):
        steps = []
        for step in batches.epoch(3):
            pairs = set()
            for part in step:
                shown = len(part["position"])
                assert part["image"].shape[0] == part["sentences"].shape[0] >= shown
                assert part["caption_input_mask"].shape[0] == len(part["tokens"])
                for row, text in zip(part["pair_image_rows"], part["pair_text_rows"], strict=True):
                    pixels = part["image"][row]
                    (_, image) = np.argwhere((cache.table == pixels).all((2, 3)))[0]
                    said = tuple(part["tokens"][text])
                    own = part["position"][part["image_rows"][text]]
                    pairs.add((said, int(image), int(image) == own, pixels.tobytes()))
                assert set(part["pair_image_rows"]) >= set(range(shown, len(part["image"])))
                right = part["pair_right"].astype(bool)
                assert (part["pair_image_rows"][right] == part["image_rows"]).all()
                assert len(right) == 4 * len(part["tokens"])
            steps.append(pairs)
        found.append(steps)
    assert found[0] == found[1]
    assert any(len(step[0]["image"]) > len(step[0]["position"]) for step in one.epoch(3))


# Losses.


def test_the_loss_is_the_weighted_sum_of_the_parts_alone(tiny_encoder):
    weights = ["joint.alpha=0.5", "joint.beta=2", "joint.contrastive=3", "joint.matching=0.25"]
    settings = settings_of(tiny_encoder, *weights)
    built, stage = made(settings)
    batch = tensors(next(iter(stage.batches.epoch(0)))[0])
    losses = stage.objective(built.model, batch, smoothing=0.1, training=False)
    shown = len(batch["position"])
    captions = {key: one for key, one in batch.items() if not key.startswith(("caption_", "pair_"))}
    captions |= {key: batch[key][:shown] for key in ("image", "sentences")}
    read = {key[8:]: one for key, one in batch.items() if key.startswith("caption_")}
    read = {key: one for key, one in read.items() if key.startswith("input_")}  # read it again
    paired = {key[5:]: one for key, one in batch.items() if key.startswith("pair_")}
    alone = {
        "token": caption_loss(built.model.captioner, captions, smoothing=0.1, training=False),
        "caption": contrastive.objective(settings.contrastive)(
            built.model.towers, captions | read, training=False
        ),
        "pair": matching.match_loss(
            built.model.matching,
            read | paired | {key: batch[key] for key in ("image", "sentences")},
            training=False,
        ),
    }
    means = {unit: float(one.loss / one.count) for unit, one in alone.items()}
    expected = 0.5 * means["token"] + 6 * means["caption"] + 0.5 * means["pair"]
    assert float(losses.loss / losses.count) == pytest.approx(expected, rel=1e-3)
    for unit, one in alone.items():
        assert float(losses.parts[unit]) == pytest.approx(float(one.nats / one.count), rel=2e-3)
    assert float(losses.examples) == len(batch["tokens"])


@pytest.fixture(scope="module")
def together(tiny_encoder, tmp_path_factory) -> list[dict]:
    """The steps of a run of all parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "image_encoder", tiny.quick_encoder)
        run = trainer(tmp_path_factory.mktemp("all"), settings_of(tiny_encoder))
        run.fit()
    return run._report.rows


@pytest.mark.parametrize("part", PARTS)
def test_a_part_alone_learns_what_it_learns_beside_others(tmp_path, tiny_encoder, together, part):
    """Both encoders are frozen: nothing trainable is shared. Parts without weight aren't computed,
    and their heads stay as they are."""
    off = [f"joint.{WEIGHTS[one]}=0" for one in PARTS if one != part]
    run = trainer(tmp_path, settings_of(tiny_encoder, *off))
    columns = set(run._stages[0].batches.signature())
    assert any(one.startswith("pair_") for one in columns) == (part == "matching")
    assert any(one.startswith("caption_") for one in columns) == (part != "caption")
    before = tiny.weights(run)
    run.fit()
    after = tiny.weights(run)
    same = {path for path in before if np.array_equal(before[path], after[path])}
    begins = {
        "caption": ("decoder", "region", "prompt", "grounding"),
        "contrastive": "contrastive/",
        "matching": "matching/",
    }
    for one in PARTS:
        mine = {path for path in before if path.startswith(begins[one])}
        assert mine - same if one == part else mine and mine <= same, one
    figure = f"nats_per_{UNITS[part]}"
    for ours, theirs in zip(run._report.rows, together, strict=True):
        assert [key for key in ours if key.startswith("nats_per_")] == [figure]
        assert ours[figure] == pytest.approx(theirs[figure], rel=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("tuned", [False, True], ids=["frozen", "tuned"])
def test_two_replicas_equal_one(tmp_path, tiny_encoder, monkeypatch, tuned):
    """Steps of 4 and 3 images, divided unevenly, with mined wrong ones; and BERT trained by all."""
    monkeypatch.setattr(parts, "TextEncoder", Still)
    more = ["matching.mined=0.5", "text.prompts=0.5"]
    if tuned:
        more += ['train.freeze=["image_encoder"]', "model.sentence_head=false"]
    settings = settings_of(tiny_encoder, *more)
    mirrored = distribution.strategy("mirrored")
    runs = [trainer(tmp_path / str(at), settings, one) for at, one in enumerate((None, mirrored))]
    for one in runs:
        one.fit()
    first, second = (one._report.rows for one in runs)
    assert len(first) == 4
    for key in ("loss", "gradient_norm", *(f"nats_per_{unit}" for unit in UNITS.values())):
        np.testing.assert_allclose(
            [row[key] for row in first], [row[key] for row in second], rtol=5e-3, err_msg=key
        )


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path, tiny_encoder):
    """With dropout in every head, drawn views, prompts and wrong images."""
    settings = settings_of(tiny_encoder, "model.dropout=0.3", "joint.dropout=0.3")
    whole = trainer(tmp_path / "whole", settings)
    whole.fit()

    class Killed(BaseException):
        pass

    def kill(step):
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        trainer(tmp_path / "run", settings, report=tiny.Reports(kill)).fit()
    resumed = trainer(tmp_path / "run", settings)
    resumed.fit()
    tiny.assert_same(tiny.everything(resumed), tiny.everything(whole))


def test_weights_that_train_nothing_are_refused():
    with pytest.raises(CaptionerError, match="nothing would be trained"):
        config.settings("joint", overrides=["joint.alpha=0", "joint.beta=0"])
