"""Classifying: what is trained, what is frozen, scores, the export, the commands, and classes known
by their names alone."""

import json
import shutil

import class_folders
import numpy as np
import pytest
import tensorflow as tf
import tiny_training as tiny
from class_folders import COLOURS
from clients import UNREADABLE, answers, jpeg, start_client
from PIL import Image
from test_graph import ALLOWED

import captioner
from captioner import config, evaluate, predict
from captioner.errors import CaptionerError
from captioner.inputs.pipeline import CachedImages
from captioner.inputs.records import Record
from captioner.learning import classes, distribution
from captioner.learning.data import Images
from captioner.learning.loop import Trainer
from captioner.learning.run import train
from captioner.models import build as parts
from captioner.models.classifier import Built, Classifier
from captioner.serving.exporting import export
from captioner.serving.trained import load_trained

NAMES = sorted(COLOURS)
_EINSUM = {"Einsum"}  # a core op, of a ViT's attention


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = class_folders.write(tmp_path_factory.mktemp("classes"))
    (made / "train" / "red" / "bad.jpg").write_bytes(b"no picture")
    return made


def settings(folder, cache, *overrides):
    return config.settings("classify", data=f"classes:{folder}", overrides=[
        "model.image_side=32", "model.image_weights=none", "train.distribution=none",
        "train.batch_size=8", "data.unreadable_limit=0.2", f"data.folder={cache}", *overrides,
    ])  # fmt: skip


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A finished run of a tiny ViT, an export in `export/1`: real parts from end to end."""
    hub = pytest.importorskip("keras_hub")
    preset = tmp_path_factory.mktemp("preset") / "vit"
    tf.keras.utils.set_random_seed(1)
    hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16).save_to_preset(str(preset))
    made = tmp_path_factory.mktemp("runs") / "vit"
    given = settings(folder, tmp_path_factory.mktemp("cache"), "model.image_encoder=vit",
                     f"model.image_weights={preset}", "train.epochs=40", "classify.top=2",
                     "train.learning_rate=0.05", "train.label_smoothing=0")  # fmt: skip
    train(given, made, made / "export")
    return made


# Training.


def trainer(run, strategy=None):
    """The tiny encoder, cached features in three views, 7 images in steps of 4 and 3."""
    strategy = strategy or tf.distribute.get_strategy()
    tiny.keras.utils.set_random_seed(0)
    with strategy.scope():
        model = Classifier(tiny.Grid(name="image_encoder"), 3, name="classifier")
    cache = tiny.Cache()
    cache.views = 1
    records = [Record(str(i), None, (NAMES[i % 3],), "train") for i in range(tiny.IMAGES)]
    given = config.settings("classify", overrides=[
        "train.batch_size=4", "train.epochs=2", "train.learning_rate=0.003",
    ])  # fmt: skip
    images = Images(records, CachedImages(cache), frozenset())
    stages = classes.stages(
        given, Built(model, tuple(NAMES)), images, strategy.num_replicas_in_sync
    )
    run.mkdir()
    return Trainer(model, given.train, strategy, stages, run, tiny.figure(model), tiny.Reports())


def test_two_replicas_equal_one(tmp_path):
    made = [
        trainer(tmp_path / str(i), where)
        for i, where in enumerate((None, distribution.strategy("mirrored")))
    ]
    for one in made:
        one.fit()
    first, second = (one._report.rows for one in made)
    assert len(first) == 4
    for key in ("loss", "nats_per_image", "gradient_norm"):
        np.testing.assert_allclose(
            [row[key] for row in first], [row[key] for row in second], rtol=1e-4, err_msg=key
        )


def test_the_loss_is_the_cross_entropy_of_the_class():
    model = Classifier(tiny.Grid(name="image_encoder"), 3)
    features = np.random.default_rng(0).normal(size=(2, tiny.REGIONS, tiny.WIDTH))
    batch = {"image": tf.constant(features, tf.float32), "tokens": tf.constant([[2], [0]])}
    losses = classes.class_loss(model, batch)
    logits = features.mean(1) @ model.output_layer.kernel.numpy()
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = -np.log(chances[[0, 1], [2, 0]]).sum()
    assert float(losses.nats) == pytest.approx(expected, rel=1e-5) and float(losses.count) == 2


@pytest.mark.parametrize(
    ("overrides", "moves"),
    [([], False), (["train.freeze=[]", "data.cache_features=false", "data.views=1"], True)],
)
def test_frozen_is_frozen_and_fine_tuned_is_not(tmp_path, folder, monkeypatch, overrides, moves):
    """Four colours' means are enough to tell these classes apart."""
    monkeypatch.setattr(parts, "image_encoder", tiny.quick_encoder)
    given = settings(folder, tmp_path, "train.epochs=12", "train.learning_rate=0.05", *overrides)
    tiny.keras.utils.set_random_seed(given.train.seed)
    before = tiny.quick_encoder(given).kernel.numpy()
    outcome = train(given, tmp_path / "run", tmp_path / "export")
    after = load_trained(tmp_path / "run").model.image_encoder.kernel.numpy()
    assert np.array_equal(before, after) != moves
    assert outcome["scores"]["accuracy"] == 1.0


def test_a_run_goes_on_with_its_own_classes(tmp_path, folder, monkeypatch):
    """A folder that was added since would shift them all."""
    monkeypatch.setattr(parts, "image_encoder", tiny.quick_encoder)
    mine = tmp_path / "classes"
    shutil.copytree(folder, mine)
    given = settings(mine, tmp_path, "train.epochs=2")
    train(given, tmp_path / "run", tmp_path / "export")
    shutil.copytree(mine / "train" / "red", mine / "train" / "a new one")
    (tmp_path / "run" / "scores.json").unlink()
    outcome = train(given, tmp_path / "run", tmp_path / "export")
    assert list(outcome["scores"]["classes"]) == NAMES
    (tmp_path / "run" / "classes.txt").write_text("red\nred\n")
    with pytest.raises(CaptionerError, match="classes.txt is damaged"):
        load_trained(tmp_path / "run")


# A run, its export, and the commands.


def test_a_run_learns_and_reports(run, folder):
    scores = json.loads((run / "scores.json").read_text())
    assert scores["images"] == 9 and scores["accuracy"] == 1.0 and scores["macro_F1"] == 1.0
    assert scores["always"]["accuracy"] == pytest.approx(1 / 3)
    assert scores["always"]["most_frequent_in"] == "training"
    assert {name: one["images"] for name, one in scores["classes"].items()} == dict.fromkeys(
        NAMES, 3
    )
    assert scores["confusion"] == {"classes": NAMES, "images": (3 * np.eye(3, dtype=int)).tolist()}
    assert (run / "classes.txt").read_text().split("\n") == [*NAMES, ""]
    with Image.open(run / "confusion.png") as picture:
        assert picture.format == "PNG"
    assert not (run / "vocabulary.txt").exists()


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_the_export_gives_what_the_run_gives(run, folder, tmp_path, storage):
    version = run / "export" / "1"
    if storage != "float32":
        given = config.load(run / "config.json")
        version = export(load_trained(run), given, tmp_path, {}, storage=storage)
    mine, theirs = captioner.load(run), captioner.load(version)
    assert mine.classes == tuple(NAMES)
    # The other was exported without any facts: it goes without knowing all names.
    assert theirs.classes == (mine.classes if storage == "float32" else ())
    pictures = [*sorted(folder.glob("test/*/*.png")), *UNREADABLE.values(), jpeg(1)]
    ours, found = mine.classify(pictures), theirs.classify(pictures)
    for one, other in zip(ours, found, strict=True):
        assert one.classes == other.classes and one.error == other.error
        tolerance = 1e-5 if storage == "float32" else 1e-2
        assert one.probabilities == pytest.approx(other.probabilities, abs=tolerance)
    assert [bool(one.error) for one in found] == [False] * 9 + [True] * len(UNREADABLE) + [False]
    assert all(len(one.classes) == 2 for one in found if not one.error)
    assert all(one.probabilities[0] >= one.probabilities[1] for one in found if not one.error)
    assert mine.classify([]) == []


@pytest.mark.slow
def test_it_is_served_in_a_session(run):
    """Where restoring and initialising run as in a model server."""
    import base64

    requests = [
        [name, {"image_bytes": [base64.b64encode(one).decode() for one in (jpeg(1), b"x")]}]
        for name in ("serving_default", "classify")
    ]
    client = start_client("session", run / "export" / "1")
    first, second = answers(client, json.dumps(requests))["results"]
    assert first == second
    (found,) = captioner.load(run).classify([jpeg(1)])
    assert tuple(first["classes"][0]) == found.classes and first["error"][0] == ""
    assert first["probabilities"][0] == pytest.approx(found.probabilities, abs=1e-5)
    assert first["classes"][1] == ["", ""] and first["error"][1] and not any(
        first["probabilities"][1]
    )


def test_the_graph_and_the_card(run):
    from tensorflow.core.protobuf import saved_model_pb2

    version = run / "export" / "1"
    saved = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    (graph,) = saved.meta_graphs
    used = {node.op for node in graph.graph_def.node}
    used |= {node.op for one in graph.graph_def.library.function for node in one.node_def}
    functions = {one.signature.name for one in graph.graph_def.library.function}
    assert used - functions <= ALLOWED | _EINSUM, used - functions - ALLOWED
    assert {"serving_default", "classify"} <= set(graph.signature_def)
    card = (version / "MODEL_CARD.md").read_text()
    for part in ("a ViT looks", "`green $x$`", "| `red` | 3 | 1.000", "`probabilities` float32"):
        assert part in card, part
    assert "None" not in card and "BERT" not in card
    with pytest.raises(CaptionerError, match="ViT computes in float32: bfloat16 is for ResNet50"):
        export(load_trained(run), config.load(run / "config.json"), run / "x", {},
               precision="bfloat16")  # fmt: skip


def evaluated(*words):
    return evaluate.main(evaluate.parser().parse_args([str(word) for word in words]))


def test_evaluate_reports_each_class(run, folder, tmp_path, capsys):
    mine = tmp_path / "mine"
    shutil.copytree(folder / "test", mine / "test")
    shutil.copytree(folder / "val", mine / "val")
    shutil.copytree(mine / "test" / "red", mine / "test" / "unknown")
    (mine / "test" / "red").rename(mine / "test" / "wrong")
    (mine / "test" / "wrong").rename(mine / "test" / "deep_blue" / "more")
    (mine / "test" / "red").mkdir()
    words = ["--model", run / "export", "--data", f"classes:{mine}", "--scores", tmp_path / "s",
             "--confusion", tmp_path / "c.png", "--rows", tmp_path / "rows"]  # fmt: skip
    assert evaluated(*words) == 0
    printed = capsys.readouterr()
    assert "3 images of classes that the model doesn't know" in printed.err
    scores = json.loads((tmp_path / "s").read_text())
    # Three red pictures lie in the blue ones' folder.
    assert scores["images"] == 9 and scores["accuracy"] == pytest.approx(6 / 9)
    assert scores["classes"]["deep_blue"]["recall"] == 0.5
    assert scores["classes"]["red"] == {"images": 0, "precision": 0, "recall": 0, "F1": 0}
    assert scores["confusion"]["images"][0] == [3, 0, 3]
    assert scores["always"] == {
        "class": "deep_blue", "most_frequent_in": "these images",
        "accuracy": pytest.approx(6 / 9), "macro_F1": pytest.approx(0.8 / 2),
    }  # fmt: skip
    line = next(line for line in printed.out.splitlines() if line.startswith("deep_blue"))
    assert line.split() == ["deep_blue", "6", "1.000", "0.500", "0.667"]
    rows = [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]
    assert len(rows) == 9 and set(rows[0]) == {
        "image_id", "image", "class", "classes", "probabilities",
    }  # fmt: skip
    assert Image.open(tmp_path / "c.png").format == "PNG"
    with pytest.raises(CaptionerError, match="--report: not an option for .*classify"):
        evaluated(*words, "--report", "x")


def test_data_without_a_class_that_is_known(run, tmp_path):
    class_folders.write(tmp_path)
    for path in tmp_path.glob("*/*"):
        path.rename(path.with_name(f"other {path.name}"))
    with pytest.raises(CaptionerError, match="none is of a class that the model knows"):
        evaluated("--model", run, "--data", f"classes:{tmp_path}")


def test_predict_prints_the_first_classes(run, folder, tmp_path, capsys):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    words = ["--model", str(run), str(folder / "test" / "red" / "0.png"), str(tmp_path / "bad.jpg")]
    assert predict.main(predict.parser().parse_intermixed_args(words)) == 1
    printed = capsys.readouterr()
    assert "0.png\tred " in printed.out and "bad.jpg: not an image" in printed.err
    assert predict.main(predict.parser().parse_intermixed_args([*words, "--json"])) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["classes"][0]["name"] == "red" and first["error"] is None
    assert second["classes"] == [] and second["error"]
    with pytest.raises(CaptionerError, match="takes no beams"):
        captioner.load(run, beams=3)


# What can't be.


def test_data_that_has_no_classes(tmp_path, drawn, folder):
    def begun(spec):
        given = config.settings("classify", data=spec, overrides=[f"data.folder={tmp_path}"])
        train(given, tmp_path / "run", tmp_path / "export")

    with pytest.raises(CaptionerError, match="no images of one class in training"):
        begun(f"csv:{drawn}")
    one = tmp_path / "one"
    shutil.copytree(folder / "train" / "red", one / "red")
    with pytest.raises(CaptionerError, match=r"one class \(red\) in training"):
        begun(f"classes:{one}")
    rows = [f"{folder}/train/red/{i}.png,caption {i},train\n" for i in range(5)]
    (tmp_path / "a.csv").write_text("image,caption,split\n" + "".join(rows))
    with pytest.raises(CaptionerError, match="5 classes for as many training images"):
        begun(f"csv:{tmp_path / 'a.csv'}")
    assert not (tmp_path / "run").exists()


def test_templates_must_hold_a_name():
    assert config.settings(overrides=["classify.templates=a {}"]).classify.templates == ("a {}",)
    for wrong in ("a photo", "[]"):
        with pytest.raises(CaptionerError, match="where the class's name goes"):
            config.settings(overrides=[f"classify.templates={wrong}"])


# By their names alone.


def test_two_towers_classify_by_names(tiny_towers, folder, tmp_path, capsys):
    words = ["--model", tiny_towers / "export", "--data", f"classes:{folder}", "--scores",
             tmp_path / "s", "--confusion", tmp_path / "c.png", "--rows", tmp_path / "rows",
             "--set", 'classify.templates=["a {} thing", "{}"]']  # fmt: skip
    assert evaluated(*words) == 0
    # Training has one more of these, if it could be read.
    assert "always 'red'" in capsys.readouterr().out
    scores = json.loads((tmp_path / "s").read_text())
    model = captioner.load(tiny_towers / "export")
    texts = np.stack([
        model.texts([f"a {one} thing", one]).mean(0) for one in ("deep blue", "green $x$", "red")
    ])  # fmt: skip
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    pictures = sorted(folder.glob("test/*/*.png"))
    vectors, _ = model.images(pictures)
    expected = [NAMES[at] for at in (vectors @ texts.T).argmax(1)]
    right = [path.parent.name == name for path, name in zip(pictures, expected, strict=True)]
    assert scores["accuracy"] == pytest.approx(np.mean(right)) and scores["images"] == 9
    rows = [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]
    assert [row["classes"][0] for row in rows] == expected
    assert scores["settings"]["zero_shot"] == ["a {} thing", "{}"]
    assert (tmp_path / "c.png").is_file()


def test_captions_are_no_classes(tiny_towers, drawn, tmp_path):
    words = ["--model", tiny_towers, "--data", f"csv:{drawn}", "--rows", tmp_path / "x"]
    with pytest.raises(CaptionerError, match="--rows is about classes"):
        evaluated(*words)


def test_predict_finds_the_nearest_name(tiny_towers, folder, capsys):
    picture = str(folder / "test" / "red" / "0.png")
    words = ["--model", str(tiny_towers), picture, "--classes", "a dog, red,a dog"]
    assert predict.main(predict.parser().parse_intermixed_args([*words, "--json"])) == 0
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert {one["name"] for one in row["classes"]} == {"a dog", "red"}
    first, second = (one["similarity"] for one in row["classes"])
    assert 1 >= first >= second >= -1
    told = ["--json", "--set", 'classify.templates="red {}"']
    assert predict.main(predict.parser().parse_intermixed_args([*words, *told])) == 0
    (other,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert other["classes"] != row["classes"]
    with pytest.raises(CaptionerError, match="decode.beams is part of the trained run; only class"):
        predict.main(predict.parser().parse_intermixed_args([*words, "--set", "decode.beams=3"]))
    with pytest.raises(CaptionerError, match="--prompt and --classes"):
        predict.main(predict.parser().parse_intermixed_args([*words, "--prompt", "x"]))
    with pytest.raises(CaptionerError, match="--classes is for two towers"):
        words[:2] = ["--server", "http://127.0.0.1:9"]
        predict.main(predict.parser().parse_intermixed_args(words))
