"""Two towers: losses against NumPy, replicas, resuming, what is frozen, and what is served."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_training as tiny
from clients import UNREADABLE, jpeg
from test_graph import ALLOWED

import captioner
from captioner import config, evaluate, predict
from captioner.captioning import checked
from captioner.config import Contrastive
from captioner.errors import CaptionerError
from captioner.inputs.pipeline import CachedImages
from captioner.inputs.records import Record
from captioner.inputs.wordpiece import BertTokenizer
from captioner.learning import distribution, linear_towers, pairs
from captioner.learning.contrastive import objective
from captioner.learning.data import Images
from captioner.learning.loop import Trainer
from captioner.models.build import load_bert_vocabulary
from captioner.models.encoders import TextEncoder
from captioner.models.towers import Built, Towers
from captioner.serving.trained import load_trained

LOSSES = {
    "softmax": {},
    "sigmoid": {"loss": "sigmoid"},
    "hardest": {"loss": "triplet", "negatives": "hardest"},
    "semi-hard": {"loss": "triplet", "margin": 0.5},
}


class Fixed:
    """Stands in for towers whose embeddings are given."""

    def __init__(self, images, texts):
        self.images, self.texts = (tf.constant(one, tf.float32) for one in (images, texts))
        self.scale, self.bias = tf.constant(7.0), tf.constant(-2.0)

    def __call__(self, inputs, training):
        return self.images, self.texts


def unit(rng, *shape):
    made = rng.normal(size=shape)
    return made / np.linalg.norm(made, axis=-1, keepdims=True)


def expected(name: str, images, texts, rows, shown) -> float:
    """The sum of a step's losses, pair by pair."""
    total = 0.0
    for text, row in zip(texts, rows, strict=True):
        right = float(images[row] @ text)
        others = [float(text @ one) for one, who in zip(images, shown, strict=True)
                  if who != shown[row]]  # fmt: skip
        strangers = [float(images[row] @ one) for one, r in zip(texts, rows, strict=True)
                     if shown[r] != shown[row]]  # fmt: skip
        if name == "softmax":
            for wrong in (others, strangers):
                scores = np.exp(7 * np.array([right, *wrong]))
                total += -np.log(scores[0] / scores.sum()) / 2
        elif name == "sigmoid":
            total += np.log(1 + np.exp(-(7 * right - 2)))
            total += sum(np.log(1 + np.exp(7 * one - 2)) for one in others)
        else:
            for wrong in (others, strangers):
                if name == "semi-hard":
                    below = [one for one in wrong if one < right]
                    taken, margin = max(below) if below else min(wrong), 0.5
                else:
                    taken, margin = max(wrong), 0.2
                total += max(0.0, margin - right + taken)
    return total


@pytest.mark.parametrize("name", LOSSES)
def test_losses_pair_by_pair(name):
    """Images with one caption or several, and one that the step shows twice."""
    rng = np.random.default_rng(1)
    images, texts = unit(rng, 5, 6), unit(rng, 8, 6)
    rows, shown = [0, 0, 1, 2, 2, 2, 3, 4], [10, 11, 12, 13, 10]
    batch = {name: tf.zeros([8, 1], tf.int32) for name in
             ("input_word_ids", "input_mask", "input_type_ids")}  # fmt: skip
    batch |= {"image": None, "image_rows": tf.constant(rows), "position": tf.constant(shown)}
    losses = objective(Contrastive(**LOSSES[name]))(Fixed(images, texts), batch)
    assert float(losses.loss) == pytest.approx(expected(name, images, texts, rows, shown), rel=1e-5)
    assert float(losses.count) == float(losses.examples) == 8
    # What is printed beside is the captions' direction of the softmax, whatever the loss.
    nats = 0.0
    for text, row in zip(texts, rows, strict=True):
        wrong = [text @ one for one, who in zip(images, shown, strict=True) if who != shown[row]]
        scores = np.exp(7 * np.array([images[row] @ text, *wrong]))
        nats -= np.log(scores[0] / scores.sum())
    assert float(losses.nats) == pytest.approx(nats, rel=1e-5)


def test_a_step_of_one_image_has_nothing_to_learn():
    batch = {name: tf.zeros([2, 1], tf.int32) for name in
             ("input_word_ids", "input_mask", "input_type_ids")}  # fmt: skip
    batch |= {"image": None, "image_rows": tf.constant([0, 0]), "position": tf.constant([3])}
    made = Fixed(np.eye(1, 4), np.eye(2, 4))
    for name in ("softmax", "hardest", "semi-hard"):
        assert float(objective(Contrastive(**LOSSES[name]))(made, batch).loss) == pytest.approx(0)


# Training.


class Still(TextEncoder):
    """A BERT that learns without dropout, whose draws would differ from replica to replica."""

    def call(self, inputs, training=False):
        return super().call(inputs, training=False)


def records(images: int = tiny.IMAGES) -> list[Record]:
    data = tiny.captions(images, each=2)
    return [
        Record(str(at), None, tuple(data.texts[2 * at : 2 * at + 2]), "train")
        for at in range(images)
    ]


def trainer(run, encoder, strategy=None, views=tiny.VIEWS, dropout=0.0, epochs=2,
            report=None, bert=TextEncoder):  # fmt: skip
    strategy = strategy or tf.distribute.get_strategy()
    keras.utils.set_random_seed(0)
    with strategy.scope():
        images = tiny.Grid(name="image_encoder")
        texts = bert(encoder, trainable=True, name="text_encoder")
        model = Towers(images, texts, 8, dropout=dropout, name="towers")
    vocabulary = load_bert_vocabulary(encoder / "assets" / "vocab.txt")
    built = Built(model, BertTokenizer(vocabulary, True, 12))
    cache = tiny.Cache()
    cache.views = views
    settings = config.settings("lit", overrides=[
        "train.batch_size=8", "train.captions_per_image=2", f"train.epochs={epochs}",
        "train.learning_rate=0.003", "train.patience=100",
    ])  # fmt: skip
    train = Images(records(), CachedImages(cache), frozenset())
    stages = pairs.stages(settings, built, train, strategy.num_replicas_in_sync)
    run.mkdir(parents=True, exist_ok=True)
    return Trainer(model, settings.train, strategy, stages, run, tiny.figure(model),
                   report or tiny.Reports())  # fmt: skip


def test_two_replicas_equal_one(tmp_path, tiny_encoder):
    """Steps of 4 and 3 images, divided unevenly: every image is compared with every caption,
    wherever it is, and gradients come back to where it came from. Losses see what was gathered and
    nothing else: this one, which needs both directions, stands for all."""
    mirrored = distribution.strategy("mirrored")
    assert mirrored.num_replicas_in_sync == 2
    made = [
        trainer(tmp_path / str(i), tiny_encoder, where, views=1, bert=Still)
        for i, where in enumerate((None, mirrored))
    ]
    for one in made:
        one.fit()
    first, second = (one._report.rows for one in made)
    assert len(first) == 4
    for key in ("loss", "nats_per_caption", "gradient_norm"):
        np.testing.assert_allclose(
            [row[key] for row in first], [row[key] for row in second], rtol=2e-3, err_msg=key
        )
    groups = zip(*(one._optimisation.groups for one in made), strict=True)
    for (a, _), (b, _) in groups:
        for x, y in zip(a.variables, b.variables, strict=True):
            np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=5e-3, atol=1e-5, err_msg=x.path)


def test_what_is_frozen_stays_and_the_rest_learns(tmp_path, tiny_encoder):
    made = trainer(tmp_path, tiny_encoder, epochs=8)
    before = tiny.weights(made)
    made.fit()
    after = tiny.weights(made)
    same = {name for name in before if np.array_equal(before[name], after[name])}
    assert {name for name in before if name.startswith("image_encoder")} <= same
    learned = set(before) - same
    assert any("image_projection" in name for name in learned)
    assert any("log_scale" in name for name in learned)
    assert sum(name.startswith("text_encoder") for name in learned) > 10
    rows = made._report.rows
    assert rows[-1]["nats_per_caption"] < 0.8 * rows[0]["nats_per_caption"]


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path, tiny_encoder):
    """With dropout and drawn views."""
    whole = trainer(tmp_path / "whole", tiny_encoder, dropout=0.4)
    whole.fit()

    class Killed(BaseException):
        pass

    def kill(step):
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        trainer(tmp_path / "run", tiny_encoder, dropout=0.4, report=tiny.Reports(kill)).fit()
    resumed = trainer(tmp_path / "run", tiny_encoder, dropout=0.4)
    resumed.fit()
    tiny.assert_same(tiny.everything(resumed), tiny.everything(whole))


def test_linear_layers_learn_what_is_linear():
    """The baseline: captions that are a linear map of what the images show."""
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(400, 1, 64)), 2, axis=1).astype(np.float32)
    vectors = (features[:, 0] @ unit(rng, 64, 32)).astype(np.float32)
    image, image_bias, text, text_bias = linear_towers.fit(
        features[10:], vectors[10:], np.arange(390), 32
    )
    a = features[:10, 0] @ image + image_bias
    b = vectors[:10] @ text + text_bias
    a, b = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (a, b))
    assert ((a @ b.T).argmax(1) == np.arange(10)).mean() >= 0.8


# A run, its export, and the commands.


def test_a_run_scores_with_the_contract_s_keys(tiny_towers):
    scores = json.loads((tiny_towers / "scores.json").read_text())
    keys = {
        f"{way}_{what}"
        for way in ("text_to_image", "image_to_text")
        for what in ("R@1", "R@5", "R@10", "median_rank")
    }
    assert set(scores) == keys | {"images", "texts", "baseline", "settings"}
    assert set(scores["baseline"]) == keys
    assert scores["images"] == 3 and scores["texts"] == 15 and scores["text_to_image_R@5"] == 1.0
    assert not (tiny_towers / "vocabulary.txt").exists()
    state = json.loads((tiny_towers / "checkpoints" / "best" / "state.json").read_text())
    assert "mean_recall" in state and "text_to_image_R@10" in state


def test_the_projections_start_from_sentence_embeddings(tiny_towers, tiny_encoder):
    """Before training, a text is its own embedding as seen from the captions' middle."""
    model = load_trained(tiny_towers).model
    assert model.width == model.text_encoder.width == 8
    frozen = [v for v in model.variables if v.path.startswith("image_encoder")]
    assert frozen and not np.allclose(model.image_projection.kernel.numpy(), 0)
    # Two epochs at a low rate: not far from the identity.
    assert np.abs(model.text_projection.kernel.numpy() - np.eye(8)).max() < 0.2


def test_the_export_gives_what_the_run_gives(tiny_towers):
    run, export = captioner.load(tiny_towers), captioner.load(tiny_towers / "export")
    assert run.identity == export.identity and run.width == export.width == 8
    texts = ["a red ball", "", "two blue squares above a green circle", "\udcff é"]
    np.testing.assert_allclose(run.texts(texts), export.texts(texts), atol=1e-5)
    assert np.linalg.norm(run.texts(texts), axis=1) == pytest.approx(1, abs=1e-5)
    pictures = [jpeg(0), jpeg(1)]
    ours, _ = run.images(pictures)
    theirs, errors = export.images(pictures)
    assert errors == ["", ""]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert np.linalg.norm(theirs, axis=1) == pytest.approx(1, abs=1e-5)


def test_bad_images_have_a_reason_and_leave_their_neighbours_alone(tiny_towers):
    export = captioner.load(tiny_towers / "export")
    good, _ = export.images([jpeg(0), jpeg(1), jpeg(2)])
    for bad in UNREADABLE.values():
        found, errors = export.images([jpeg(0), bad, jpeg(2)])
        assert errors[0] == errors[2] == "" and errors[1]
        np.testing.assert_array_equal(found[[0, 2]], good[[0, 2]])
        assert not found[1].any()
    found, errors = export.images([])
    assert found.shape == (0, 8) and errors == []


def test_the_graph_holds_core_ops_only(tiny_towers):
    from tensorflow.core.protobuf import saved_model_pb2

    path = tiny_towers / "export" / "1" / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    (graph,) = saved.meta_graphs
    used = {node.op for node in graph.graph_def.node}
    used |= {node.op for one in graph.graph_def.library.function for node in one.node_def}
    functions = {one.signature.name for one in graph.graph_def.library.function}
    assert used - functions <= ALLOWED, used - functions - ALLOWED
    assert {"embed_image", "embed_text"} <= set(graph.signature_def)
    card = (tiny_towers / "export" / "1" / "MODEL_CARD.md").read_text()
    assert "Two towers" in card and "to 8 dimensions" in card and "None" not in card
    warm = tiny_towers / "export" / "1" / "assets.extra" / "tf_serving_warmup_requests"
    assert warm.stat().st_size > 1000


def test_evaluate_prints_both_directions_and_the_baseline(tiny_towers, drawn, capsys, tmp_path):
    words = ["--model", tiny_towers, "--data", f"csv:{drawn}", "--split", "dev+test",
             "--scores", tmp_path / "scores.json"]  # fmt: skip
    parsed = evaluate.parser().parse_args([str(word) for word in words])
    assert evaluate.main(parsed) == 0
    out = capsys.readouterr().out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert "linear layers" in out and "text_to_image_R@10" in out and scores["images"] == 6
    with pytest.raises(CaptionerError, match="--report: not an option for .*contrastive"):
        evaluate.main(evaluate.parser().parse_args([*map(str, words), "--report", "x"]))


def test_predict_compares_with_a_text(tiny_towers, tmp_path, capsys):
    (tmp_path / "a.jpg").write_bytes(jpeg(0))
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    words = ["--model", str(tiny_towers / "export"), "--json", str(tmp_path)]
    with pytest.raises(CaptionerError, match="add --prompt TEXT"):
        predict.main(predict.parser().parse_intermixed_args(words))
    words += ["--prompt", "a red ball"]
    assert predict.main(predict.parser().parse_intermixed_args(words)) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert -1 <= first["similarity"] <= 1 and first["error"] is None
    assert second["similarity"] is None and second["error"]
    with pytest.raises(CaptionerError, match="--beams: not an option"):
        predict.main(predict.parser().parse_intermixed_args([*words, "--beams", "2"]))


def test_options_of_captioners_are_refused(tiny_towers):
    with pytest.raises(CaptionerError, match="writes no captions: it is a model of another task"):
        checked(captioner.load(tiny_towers / "export"))
    with pytest.raises(CaptionerError, match="writes no captions: it takes no beams"):
        captioner.load(tiny_towers, beams=3)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.freeze=[]", "data.cache_features=false", "data.views=1"], "contrastive.start=sen"),
        (["model.text_encoder=none"], "needs a text encoder"),
    ],
)
def test_settings_that_can_not_be(tmp_path, drawn, tiny_encoder, overrides, message):
    from captioner.learning.run import train

    made = config.settings("lit", data=f"csv:{drawn}", overrides=[
        "model.image_side=64", "model.image_weights=none", f"model.text_encoder={tiny_encoder}",
        "train.distribution=none", f"data.folder={tmp_path}", *overrides,
    ])  # fmt: skip
    with pytest.raises(CaptionerError, match=message):
        train(made, tmp_path / "run", tmp_path / "export")
    assert not (tmp_path / "run").exists()
