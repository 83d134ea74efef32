"""Image-text matching: pairs that are trained on, fusions, replicas, runs, and what is served."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_training as tiny
from clients import UNREADABLE, jpeg
from test_contrastive import Still, records
from test_graph import ALLOWED

import captioner
from captioner import config, evaluate, predict
from captioner.captioning import checked
from captioner.errors import CaptionerError
from captioner.inputs.pairs import PairBatches
from captioner.inputs.pipeline import CachedImages
from captioner.inputs.prompt_batches import TokenizedPrompts
from captioner.inputs.records import Record
from captioner.inputs.text import normalised
from captioner.learning import closed_form, distribution, matching, pairs, sentences
from captioner.learning.data import Images
from captioner.learning.loop import Trainer
from captioner.models.fusion import FUSIONS
from captioner.models.matching import Built, Matching, begin_with
from captioner.models.sentences import SentenceHead

# Pairs.

SAME = (("a dog", "one dog"), ("a cat", "A dog!"), ("a bird", "two birds"), ("a kite", "red kite"))


def shown(made: list[Record]) -> Images:
    cache = tiny.Cache()
    cache.table = np.broadcast_to(  # an image's features say which it is
        np.arange(len(made), dtype=np.float16)[None, :, None, None], (2, len(made), 4, tiny.WIDTH)
    )
    cache.views = 2
    return Images(made, CachedImages(cache), frozenset())


def pair_batches(encoder, captions=SAME, **changes) -> PairBatches:
    train = shown([Record(str(at), None, own, "train") for at, own in enumerate(captions)])
    read = TokenizedPrompts(tiny.prompt_tokenizer(encoder))
    given = {"batch_size": 8, "negatives": 2} | changes
    return PairBatches(pairs.examples(train), train.source, read, **given)


def spelled(batch, made: PairBatches) -> list[tuple[int, str, float, float]]:
    """A batch's pairs: image, text, whether it is right, and what it counts."""
    texts = {
        tuple(row[row > 0]): text
        for text in made.data.prompts
        for row in made._prompts([text])["input_word_ids"]
    }
    return [
        (int(batch["image"][row, 0, 0]), texts[tuple(ids[ids > 0])], right, weight)
        for row, ids, right, weight in zip(
            batch["image_rows"], batch["input_word_ids"][batch["text_rows"]],
            batch["right"], batch["weight"], strict=True,
        )
    ]  # fmt: skip


@pytest.mark.parametrize("mined", [0.0, 0.5, 1.0])
def test_wrong_pairs_are_never_right(tiny_encoder, mined):
    """Not even by an identical text of another image."""
    nearest = np.array([[2, 3], [3, 2], [3, 2], [3, 2], [3, -1], [3, 1], [2, -1], [2, 0]])
    made = pair_batches(tiny_encoder, mined=mined, nearest=nearest)
    said = {(at, normalised([text])[0]) for at, own in enumerate(SAME) for text in own}
    row = {text: at for at, text in enumerate(made.data.prompts)}
    seen = set()
    for epoch in range(8):
        for step in made.epoch(epoch):
            for image, text, right, weight in spelled(step[0], made):
                owned = {at for at, one in said if one == normalised([text])[0]}
                assert (image in owned) == bool(right), (image, text)
                assert weight == (1 if right else 0.5)
                if not right and mined == 1.0:
                    assert image in nearest[row[text]]
                seen.add((text, image, right))
    # Every caption with its image, and in time with all the wrong ones that it may have.
    assert sum(right for _, _, right in seen) == 8
    if not mined:
        assert len(seen) == 8 * 4 - 2  # but for the dogs of each other


def test_steps_are_drawn_alike_however_they_are_divided(tiny_encoder):
    """Also from the middle of an epoch on; a replica's share has only the images it needs."""
    one, two = (pair_batches(tiny_encoder, batch_size=3, replicas=n) for n in (1, 2))
    assert one.steps == 3
    whole = [spelled(step[0], one) for step in one.epoch(1)]
    parts = [[pair for part in step for pair in spelled(part, two)] for step in two.epoch(1)]
    assert whole == parts
    assert [spelled(step[0], one) for step in one.epoch(1, first=2)] == whole[2:]
    assert [len(step) for step in whole] == [9, 9, 6]
    for step in two.epoch(1):
        for part in step:
            assert set(part["image_rows"]) == set(range(len(part["image"])))
    assert repr(whole[0][0][1].lower()) in one.describe(1, 0).lower()


def test_a_step_of_one_image_takes_wrong_ones_from_all(tiny_encoder):
    made = pair_batches(tiny_encoder, (("a dog",), ("a cat",)), batch_size=1, negatives=1)
    for step in made.epoch(0):
        (_, _, first, _), (_, _, second, _) = spelled(step[0], made)
        assert (first, second) == (1, 0)
    alone = pair_batches(tiny_encoder, (("a dog",), ("A dog",)), batch_size=2, negatives=1)
    (step,) = alone.epoch(0)
    assert step[0]["right"].tolist() == [1, 1]  # nothing is wrong


def test_the_hardest_are_the_nearest_that_are_wrong():
    rng = np.random.default_rng(0)
    told = sentences.unit(rng.normal(size=(4, 2, 5)).astype(np.float32))
    vectors = rng.normal(size=(8, 5)).astype(np.float32)
    fit = sentences.Fit(None, None, np.zeros(5, np.float32), told, 0.0, 1.0)
    kept = np.array([0, 1, 3, 4])  # the third can't be read
    found = closed_form.Retrieval(kept, None, vectors, np.repeat(np.arange(4), 2), fit)
    made = [Record(str(at), None, own, "train") for at, own in enumerate(SAME)]
    made.insert(2, Record("lost", None, ("a kite",), "train"))
    data = pairs.examples(shown(made)._replace(unreadable=frozenset({2})))
    near = matching.hardest(found, data, 9)
    assert near.shape == (8, 4)
    for row, (text, image) in enumerate(zip(data.texts, data.image, strict=True)):
        wrong = [0, 1, 3, 4]
        for own in {0: (0, 1), 3: (0, 1)}.get(row, (int(image),)):  # the dogs
            wrong.remove(own)
        similar = {one: vectors[row] @ told[list(kept).index(one), 0] for one in wrong}
        expected = sorted(wrong, key=lambda one: -similar[one])
        assert near[row].tolist() == [*expected, *[-1] * (4 - len(expected))], text
    assert (matching.hardest(found, data, 2) == near[:, :2]).all()


# The model.


def model(encoder, fusion="product", head=(6, 4), sentence_head=True, bert=Still, dropout=0.0):
    keras.utils.set_random_seed(0)
    images = tiny.Grid(name="image_encoder")
    texts = bert(encoder, trainable=False, name="text_encoder")
    top = SentenceHead(texts.width, tiny.WIDTH, name="sentence_head") if sentence_head else None
    width = texts.width if sentence_head else 10
    fused = FUSIONS[fusion](width, tiny.WIDTH, texts.width, 4, 2, name="fusion")
    return Matching(images, texts, fused, (8,), head, top, dropout, dropout, name="matching")


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


def test_fusions_by_hand(tiny_encoder):
    from captioner.models.fusion import Sides

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


def trainer(run, encoder, strategy=None, overrides=(), report=None, dropout=0.0):
    strategy = strategy or tf.distribute.get_strategy()
    settings = config.settings("matching", overrides=[
        "train.batch_size=8", "train.epochs=2", "train.learning_rate=0.003", "train.patience=100",
        f"model.text_encoder={encoder}", "text.max_prompt=12", f"data.folder={run}", *overrides,
    ])  # fmt: skip
    with strategy.scope():
        made = model(
            encoder, settings.matching.fusion, settings.matching.head,
            settings.matching.start == "sentences", dropout=dropout,
        )  # fmt: skip
    built = Built(made, tiny.prompt_tokenizer(encoder))
    train = Images(records(), CachedImages(tiny.Cache()), frozenset())
    stages = matching.stages(settings, built, train, strategy.num_replicas_in_sync)
    run.mkdir(parents=True, exist_ok=True)
    return Trainer(made, settings.train, strategy, stages, run, tiny.figure(made),
                   report or tiny.Reports())  # fmt: skip


@pytest.mark.parametrize("fusion", ["sum", "attention"])
def test_two_replicas_equal_one(tmp_path, tiny_encoder, fusion):
    """Steps of 8 and 6 captions, each with a wrong image that may be any."""
    mirrored = distribution.strategy("mirrored")
    made = [
        trainer(tmp_path / str(at), tiny_encoder, where, [f"matching.fusion={fusion}"])
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
    """A fusion that looks at no region is trained on their means, to rounding."""
    rows = []
    for looks in (True, False):
        monkeypatch.setattr(FUSIONS["product"], "looks", looks)
        made = trainer(tmp_path / str(looks), tiny_encoder)
        image = made._stages[0].batches.signature()["image"]
        assert image.dtype == tf.float16
        (step,) = list(made._stages[0].batches.epoch(0))[:1]
        assert step[0]["image"].shape[1] == (tiny.REGIONS if looks else 1)
        made.fit()
        rows.append([row["loss"] for row in made._report.rows])
    np.testing.assert_allclose(*rows, rtol=5e-3)


def test_what_is_frozen_stays_and_the_rest_moves(tmp_path, tiny_encoder):
    made = trainer(tmp_path, tiny_encoder)
    before = tiny.weights(made)
    made.fit()
    after = tiny.weights(made)
    same = {name for name in before if np.array_equal(before[name], after[name])}
    frozen = ("image_encoder", "text_encoder", "sentence_head")
    assert same == {name for name in before if name.startswith(frozen)}


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


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path, tiny_encoder):
    """With dropout, drawn views and drawn wrong pairs."""
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


# A run, its export, and the commands.


@pytest.fixture(scope="module")
def tiny_matching(drawn, tiny_encoder, tmp_path_factory):
    """A finished run with one export in `export/1`."""
    from captioner.learning.run import train

    run = tmp_path_factory.mktemp("matching") / "tiny"
    settings = config.settings("matching", data=f"csv:{drawn}", overrides=[
        "model.image_side=64", "model.image_weights=none", f"model.text_encoder={tiny_encoder}",
        "matching.fusion=attention", "model.units=8", "model.heads=2", "train.epochs=2",
        "train.batch_size=40", "train.distribution=none",
        f"data.folder={tmp_path_factory.mktemp('cache')}",
    ])  # fmt: skip
    train(settings, run, run / "export")
    return run


MEASURES = {"accuracy", "precision", "recall", "F1", "ROC_AUC"}


def test_a_run_scores_both_kinds_and_the_baseline(tiny_matching):
    scores = json.loads((tiny_matching / "scores.json").read_text())
    assert set(scores) == MEASURES | {"hard", "baseline", "images", "texts", "pairs", "settings"}
    assert set(scores["hard"]) == MEASURES
    assert set(scores["baseline"]) == MEASURES | {"hard"}
    assert scores["images"] == 3 and scores["pairs"] == 3 * scores["texts"]
    state = json.loads((tiny_matching / "checkpoints" / "best" / "state.json").read_text())
    both = state["ROC_AUC"], state["hard_ROC_AUC"]
    assert state["mean_ROC_AUC"] == pytest.approx(np.mean(both))


def test_the_export_gives_what_the_run_gives(tiny_matching):
    run, export = captioner.load(tiny_matching), captioner.load(tiny_matching / "export")
    texts = ["a red ball", "", "two blue squares above a green circle", "\udcff é", "a red ball"]
    pictures = [jpeg(0), jpeg(1), jpeg(0), jpeg(1), jpeg(1)]
    ours, _ = run.match(pictures, texts)
    theirs, errors = export.match(pictures, texts)
    assert errors == [""] * 5 and ((theirs > 0) & (theirs < 1)).all()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    # A pair is judged alike alone, and images that are there twice are told apart.
    for row in range(5):
        alone, _ = export.match(pictures[row : row + 1], texts[row : row + 1])
        np.testing.assert_allclose(alone[0], theirs[row], atol=1e-5)
    assert export.match([], [])[1] == []
    with pytest.raises(ValueError, match="no pairs"):
        export.match(pictures, texts[:2])


def test_bad_images_have_a_reason_and_leave_their_neighbours_alone(tiny_matching):
    export = captioner.load(tiny_matching / "export")
    texts = ["a red ball", "two dogs", "a red ball"]
    good, _ = export.match([jpeg(0), jpeg(1), jpeg(2)], texts)
    for bad in UNREADABLE.values():
        found, errors = export.match([jpeg(0), bad, jpeg(2)], texts)
        assert errors[0] == errors[2] == "" and errors[1]
        np.testing.assert_array_equal(found[[0, 2]], good[[0, 2]])
        assert found[1] == 0


def test_the_graph_holds_core_ops_only(tiny_matching):
    from tensorflow.core.protobuf import saved_model_pb2

    path = tiny_matching / "export" / "1" / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    (graph,) = saved.meta_graphs
    used = {node.op for node in graph.graph_def.node}
    used |= {node.op for one in graph.graph_def.library.function for node in one.node_def}
    functions = {one.signature.name for one in graph.graph_def.library.function}
    assert used - functions <= ALLOWED, used - functions - ALLOWED
    for name in ("serving_default", "match"):
        signature = graph.signature_def[name]
        assert set(signature.inputs) == {"image_bytes", "text"}
        assert set(signature.outputs) == {"probability", "error"}
    card = (tiny_matching / "export" / "1" / "MODEL_CARD.md").read_text()
    assert "cross-modal attention" in card and "512, 256, 128, 1" in card and "None" not in card
    warm = tiny_matching / "export" / "1" / "assets.extra" / "tf_serving_warmup_requests"
    assert warm.stat().st_size > 1000


def test_evaluate_prints_the_scores_and_writes_a_page(tiny_matching, drawn, capsys, tmp_path):
    words = ["--model", tiny_matching, "--data", f"csv:{drawn}", "--split", "dev+test",
             "--scores", tmp_path / "scores.json", "--rows", tmp_path / "rows.jsonl",
             "--report", tmp_path / "page"]  # fmt: skip
    assert evaluate.main(evaluate.parser().parse_args([str(word) for word in words])) == 0
    out = capsys.readouterr().out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert "untrained similarity, hard captions" in out and scores["images"] == 6
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == scores["pairs"]
    used = [row for row in rows if row["kind"] != "hard"]
    hits = [(row["probability"] >= 0.5) == row["right"] for row in used]
    assert scores["accuracy"] == pytest.approx(np.mean(hits))
    page = (tmp_path / "page" / "report.html").read_text()
    assert "<polyline" in page and "Judgements at 0.5" in page and "data:image/jpeg" in page
    assert "<script" not in page
    with pytest.raises(CaptionerError, match="--deletion: not an option for .*matching"):
        evaluate.main(evaluate.parser().parse_args([*map(str, words), "--deletion"]))


def test_predict_prints_probabilities(tiny_matching, tmp_path, capsys):
    (tmp_path / "a.jpg").write_bytes(jpeg(0))
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    words = ["--model", str(tiny_matching / "export"), "--json", str(tmp_path)]
    with pytest.raises(CaptionerError, match="add --prompt TEXT"):
        predict.main(predict.parser().parse_intermixed_args(words))
    words += ["--prompt", "a red ball"]
    assert predict.main(predict.parser().parse_intermixed_args(words)) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert 0 < first["probability"] < 1 and first["error"] is None
    assert second["probability"] is None and second["error"]


def test_options_of_captioners_are_refused(tiny_matching):
    with pytest.raises(CaptionerError, match="writes no captions: it is a model of another task"):
        checked(captioner.load(tiny_matching / "export"))
    with pytest.raises(CaptionerError, match="writes no captions: it takes no beams"):
        captioner.load(tiny_matching, beams=3)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.freeze=[]", "data.cache_features=false", "data.views=1"], "matching.start=sen"),
        (["train.freeze=[]", "data.cache_features=false", "data.views=1", "matching.start=random"],
         "matching.mined needs data.cache_features=true"),
        (["model.text_encoder=none"], "needs a text encoder"),
    ],
)  # fmt: skip
def test_settings_that_can_not_be(tmp_path, drawn, tiny_encoder, overrides, message):
    from captioner.learning.run import train

    made = config.settings("matching", data=f"csv:{drawn}", overrides=[
        "model.image_side=64", "model.image_weights=none", f"model.text_encoder={tiny_encoder}",
        "train.distribution=none", f"data.folder={tmp_path}", *overrides,
    ])  # fmt: skip
    with pytest.raises(CaptionerError, match=message):
        train(made, tmp_path / "run", tmp_path / "export")
    assert not (tmp_path / "run").exists()
