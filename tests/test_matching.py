"""Image-text matching: fusions, the loss, replicas, and what is frozen."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_training as tiny
from test_contrastive import Still, records
from test_matching_pairs import pair_batches

from captioner import config
from captioner.inputs.pipeline import CachedImages
from captioner.learning import distribution, matching
from captioner.learning.data import Images
from captioner.learning.loop import Trainer
from captioner.models.fusion import FUSIONS, Sides
from captioner.models.matching import Built, Matching, begin_with
from captioner.models.sentences import SentenceHead

# The model.


def model(encoder, fusion="product", head=(6, 4), sentence_head=True):
    keras.utils.set_random_seed(0)
    images = tiny.Grid(name="image_encoder")
    texts = Still(encoder, trainable=False, name="text_encoder")
    top = SentenceHead(texts.width, tiny.WIDTH, name="sentence_head") if sentence_head else None
    width = texts.width if sentence_head else 10
    fused = FUSIONS[fusion](width, tiny.WIDTH, texts.width, 4, 2, name="fusion")
    return Matching(images, texts, fused, (8,), head, top, name="matching")


def objective_batch(encoder):
    made = pair_batches(encoder)
    (step,) = made.epoch(0)
    batch = {name: tf.constant(one) for name, one in step[0].items()}
    noise = np.random.default_rng(3).normal(size=batch["image"].shape)
    return batch | {"image": tf.constant(noise, tf.float32)}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_pair_s_figure_is_its_own(tiny_encoder, fusion):
    """Whatever stands beside it, and however long the other texts are."""
    made = model(tiny_encoder, fusion, sentence_head=False)
    for variable in made.fusion.trainable_variables:  # which begin with nothing
        variable.assign(np.random.default_rng(1).normal(size=variable.shape))
    batch = objective_batch(tiny_encoder)
    every = made(batch)
    assert every.shape == batch["right"].shape
    for row in (0, 4, 11):
        image, text = int(batch["image_rows"][row]), int(batch["text_rows"][row])
        inputs = {name: one[text : text + 1] for name, one in batch.items() if "input" in name}
        length = int(tf.reduce_sum(inputs["input_mask"]))
        alone = {name: one[:, :length] for name, one in inputs.items()}
        alone |= {"image": batch["image"][image : image + 1]}
        alone |= dict.fromkeys(("image_rows", "text_rows"), tf.constant([0]))
        np.testing.assert_allclose(made(alone)[0], every[row], rtol=1e-4, atol=1e-5)


def test_fusions_by_hand():
    image, text = tf.constant([[1.0, 2.0]]), tf.constant([[3.0, 5.0]])
    sides = Sides(image, text, None, tf.zeros([1, 3, 4]), tf.ones([1, 3], bool))
    made = {name: one(2, 6, 4, 4, 2) for name, one in FUSIONS.items()}
    assert made["concatenation"](sides).numpy().tolist() == [[1, 2, 3, 5]]
    assert made["product"](sides).numpy().tolist() == [[3, 10]]
    assert made["sum"](sides).numpy().tolist() == [[2, 3.5]]
    made["sum"].weight.assign([50.0, -50.0])
    np.testing.assert_allclose(made["sum"](sides), [[1, 5]])
    # Attention begins as the product, and then hears of the regions.
    looked = sides._replace(memory=made["attention"].prepare(tf.ones([1, 7, 6])))
    np.testing.assert_allclose(made["attention"](looked), [[3, 10]])
    made["attention"].found.kernel.assign(np.ones((4, 2)))
    context, _ = made["attention"].attention(sides.pieces, tf.ones([1, 7, 6]))
    more = float(tf.reduce_sum(context[0, 0]))
    np.testing.assert_allclose(made["attention"](looked), [[3 * (1 + more), 5 * (2 + more)]],
                               rtol=1e-5)  # fmt: skip


def test_the_loss_pair_by_pair(tiny_encoder):
    made, batch = model(tiny_encoder), objective_batch(tiny_encoder)
    made.sentence_head.kernel.assign(np.random.default_rng(1).normal(size=(tiny.WIDTH, 8)))
    logits = made(batch).numpy().astype(float)
    right, weight = batch["right"].numpy(), batch["weight"].numpy()
    plain = np.where(right > 0, np.log1p(np.exp(-logits)), np.log1p(np.exp(logits)))
    other = np.where(right > 0, np.log1p(np.exp(logits)), np.log1p(np.exp(-logits)))
    losses = matching.match_loss(made, batch, smoothing=0.2)
    assert float(losses.nats) == pytest.approx((weight * plain).sum(), rel=1e-5)
    smooth = (weight * (0.9 * plain + 0.1 * other)).sum()
    assert float(losses.loss) == pytest.approx(smooth, rel=1e-5)
    assert float(losses.count) == pytest.approx(2 * 8)


# Training.


def trainer(run, encoder, strategy=None, overrides=()):
    strategy = strategy or tf.distribute.get_strategy()
    settings = config.settings("matching", overrides=[
        "train.batch_size=8", "train.epochs=2", "train.learning_rate=0.003", "train.patience=100",
        f"model.text_encoder={encoder}", "text.max_prompt=12", f"data.folder={run}", *overrides,
    ])  # fmt: skip
    with strategy.scope():
        made = model(
            encoder, settings.matching.fusion, settings.matching.head,
            settings.matching.start == "sentences",
        )  # fmt: skip
    built = Built(made, tiny.prompt_tokenizer(encoder))
    train = Images(records(), CachedImages(tiny.Cache()), frozenset())
    stages = matching.stages(settings, built, train, strategy.num_replicas_in_sync)
    run.mkdir(parents=True, exist_ok=True)
    return Trainer(
        made, settings.train, strategy, stages, run, tiny.figure(made), tiny.Reports()
    )


def test_two_replicas_equal_one(tmp_path, tiny_encoder):
    """Steps of 8 and 6 captions, each with a wrong image that may be any."""
    mirrored = distribution.strategy("mirrored")
    made = [
        trainer(tmp_path / str(at), tiny_encoder, where, ["matching.fusion=attention"])
        for at, where in enumerate((None, mirrored))
    ]
    for one in made:
        one.fit()
    first, second = (one._report.rows for one in made)
    assert len(first) == 4
    for key in ("loss", "nats_per_pair", "gradient_norm"):
        np.testing.assert_allclose(
            [row[key] for row in first], [row[key] for row in second], rtol=2e-3, err_msg=key
        )


def test_means_teach_what_regions_do(tmp_path, tiny_encoder, monkeypatch):
    """A fusion that looks at no region is trained on their means, to rounding. What is frozen stays
    as it is, and all the rest moves."""
    rows = []
    for looks in (True, False):
        monkeypatch.setattr(FUSIONS["product"], "looks", looks)
        made = trainer(tmp_path / str(looks), tiny_encoder)
        image = made._stages[0].batches.signature()["image"]
        assert image.dtype == tf.float16
        (step,) = list(made._stages[0].batches.epoch(0))[:1]
        assert step[0]["image"].shape[1] == (tiny.REGIONS if looks else 1)
        before = tiny.weights(made)
        made.fit()
        after = tiny.weights(made)
        same = {name for name in before if np.array_equal(before[name], after[name])}
        frozen = ("image_encoder", "text_encoder", "sentence_head")
        assert same == {name for name in before if name.startswith(frozen)}
        rows.append([row["loss"] for row in made._report.rows])
    np.testing.assert_allclose(*rows, rtol=5e-3)


def test_right_and_wrong_pairs_can_be_told_apart(tiny_encoder):
    """A step's pairs are learned by heart from the closed-form start on."""
    made, batch = model(tiny_encoder, head=()), objective_batch(tiny_encoder)
    rng = np.random.default_rng(0)
    texts = made.read(batch).pieces.numpy().mean((0, 1))
    begin_with(made, rng.normal(size=(tiny.WIDTH, 8)), np.zeros(8), texts / np.linalg.norm(texts))
    optimizer = keras.optimizers.Adam(0.02)
    optimizer.build(made.trainable_variables)

    @tf.function(autograph=False)
    def step():
        learned = [one.value for one in made.trainable_variables]
        with tf.GradientTape() as tape:
            losses = matching.match_loss(made, batch)
            loss = losses.loss / losses.count
        optimizer.apply(tape.gradient(loss, learned), made.trainable_variables)
        return loss

    first, *_, last = (float(step()) for _ in range(150))
    assert last < 0.5 * first
