"""A run of several tasks at once, what its export serves, and the commands."""

import json

import numpy as np
import pytest
import tiny_training as tiny
from clients import UNREADABLE, jpeg
from test_graph import ALLOWED

import captioner
from captioner import config, evaluate, predict, tasks
from captioner.errors import CaptionerError
from captioner.models import build as parts
from captioner.serving.contract import JOINT_SIGNATURES


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(parts, "image_encoder", tiny.quick_encoder)


@pytest.fixture(scope="module")
def tiny_joint(drawn, tiny_encoder, tmp_path_factory):
    """A finished run with one export in `export/1`."""
    from captioner.learning.run import train

    run = tmp_path_factory.mktemp("joint") / "tiny"
    made = config.settings("joint", data=f"csv:{drawn}", overrides=[
        "model.image_side=64", "model.image_weights=none", f"model.text_encoder={tiny_encoder}",
        "model.units=16", "model.heads=2", "model.neighbours=4", "data.views=1", "train.epochs=1",
        "train.batch_size=40", "train.distribution=none", "decode.beams=3", "decode.max_tokens=10",
        "matching.fusion=attention", f"data.folder={tmp_path_factory.mktemp('cache')}",
    ])  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "image_encoder", tiny.quick_encoder)
        train(made, run, run / "export")
    return run


@pytest.fixture(scope="module")
def models(tiny_joint):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "image_encoder", tiny.quick_encoder)
        return captioner.load(tiny_joint), captioner.load(tiny_joint / "export")


def test_a_run_has_the_scores_of_all_parts(tiny_joint):
    scores = json.loads((tiny_joint / "scores.json").read_text())
    for measure in tasks.get("joint").compared:
        assert isinstance(scores[measure], float), measure
    assert scores["images"] == 3 and scores["pairs"] == 3 * scores["texts"]
    assert {"hard", "baseline", "intervals"} <= set(scores)
    told = scores["settings"]["scorers"]
    assert all(one in told for one in ("coco-caption", "metrics.retrieval", "metrics.matching"))
    state = json.loads((tiny_joint / "checkpoints" / "best" / "state.json").read_text())
    firsts = [state[one] for one in ("CIDEr", "mean_recall", "mean_ROC_AUC")]
    assert state["joint"] == pytest.approx(np.mean(firsts))
    files = {path.name for path in tiny_joint.iterdir()}
    assert {"vocabulary.txt", "neighbours.npz", "baseline.npz", "curves.png"} <= files


@pytest.mark.slow
def test_the_export_gives_what_the_run_gives_by_every_signature(models):
    run, export = models
    rows = {
        "image_bytes": [jpeg(0), jpeg(1), b"no picture", jpeg(1)],
        "prompt": [b"", b"red ball", b"", b"a ball on\xe2\x80\xa6"],
        "text": [b"a red ball", b"", "\udcff é".encode("utf-8", "surrogatepass"), b"two dogs"],
    }
    wanted = {one: ("image_bytes", "prompt") for one in JOINT_SIGNATURES[1:3]}
    wanted |= {"serving_default": ("image_bytes",), "embed_image": ("image_bytes",)}
    wanted |= {"embed_text": ("text",), "match": ("image_bytes", "text")}
    assert set(wanted) == set(JOINT_SIGNATURES) == set(export._keep.signatures)
    for signature, inputs in wanted.items():
        ours, theirs = (
            model.call(signature, {key: rows[key] for key in inputs}) for model in models
        )
        assert set(ours) == set(theirs)
        for key, one in ours.items():
            if one.dtype == object:
                np.testing.assert_array_equal(one, theirs[key], f"{signature} {key}")
            else:
                np.testing.assert_allclose(one, theirs[key], atol=2e-5, err_msg=signature)
    assert run.identity == export.identity and run.width == export.width == 8
    similar = export.images(rows["image_bytes"])[0] @ export.texts(["a red ball"]).T
    assert similar.shape == (4, 1) and similar[2] == 0
    assert len(export.caption([jpeg(0), jpeg(1)], captions=3)[1].captions) == 3


def test_bad_images_have_a_reason_and_leave_their_neighbours_alone(models):
    export, texts = models[1], ["a red ball", "two dogs", "a red ball"]
    good = [jpeg(0), jpeg(1), jpeg(2)]
    vectors, _ = export.images(good)
    judged, _ = export.match(good, texts)
    captions = export.caption(good)
    for bad in UNREADABLE.values():
        shown = [jpeg(0), bad, jpeg(2)]
        for found, errors, expected in (
            (*export.images(shown), vectors), (*export.match(shown, texts), judged)
        ):  # fmt: skip
            assert errors[0] == errors[2] == "" and errors[1] and not found[1].any()
            np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])
        first, second, third = export.caption(shown)
        assert second.error and (first, third) == (captions[0], captions[2])


def test_the_graph_holds_core_ops_and_the_weights_once(tiny_joint, models):
    from tensorflow.core.protobuf import saved_model_pb2

    version = tiny_joint / "export" / "1"
    saved = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    (graph,) = saved.meta_graphs
    library = graph.graph_def.library.function
    used = {node.op for node in graph.graph_def.node}
    used |= {node.op for one in library for node in one.node_def}
    functions = {one.signature.name for one in library}
    allowed = ALLOWED | {"AvgPool"}  # of the tests' own image encoder
    assert used - functions <= allowed, used - functions - allowed
    # What looks at images is one function, whatever signatures call it.
    assert sum(node.op == "AvgPool" for one in library for node in one.node_def) == 1
    kept = models[0]._keep.variables
    assert len({id(one) for one in kept}) == len(kept)
    stored = sum(path.stat().st_size for path in (version / "variables").iterdir())
    assert stored < 1.02 * sum(one.numpy().nbytes for one in kept) + 100_000
    card = (version / "MODEL_CARD.md").read_text()
    assert "None" not in card and "judging: fusion" in card and "holds captions" in card
    assert "captioning, a token: 1; contrastive learning, a caption: 1; matching, a pair: 1" in card


def test_evaluate_and_predict_know_all_of_it(tiny_joint, drawn, capsys, tmp_path):
    words = [
        "--model", str(tiny_joint / "export"), "--data", f"csv:{drawn}", "--split", "dev+test",
        "--scores", str(tmp_path / "scores.json"), "--predictions", str(tmp_path / "said.json"),
    ]  # fmt: skip
    assert evaluate.main(evaluate.parser().parse_args(words)) == 0
    out = capsys.readouterr().out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["images"] == len(json.loads((tmp_path / "said.json").read_text())) == 6
    assert all(one in out for one in ("CIDEr", "text_to_image_R@10", "model, hard captions"))
    with pytest.raises(CaptionerError, match="--confusion is about classes"):
        evaluate.main(evaluate.parser().parse_args([*words, "--confusion", "x.png"]))
    (tmp_path / "a.jpg").write_bytes(jpeg(0))
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    common = ["--model", str(tiny_joint / "export"), "--json", str(tmp_path)]

    def said(*more):
        assert predict.main(predict.parser().parse_intermixed_args([*common, *more])) == 1
        first, second = map(json.loads, capsys.readouterr().out.splitlines())
        assert first["error"] is None and second["error"]
        return first

    assert len(said("--beams", "2")["captions"]) == 2
    assert 0 < said("--match", "a red ball")["probability"] < 1
    assert {one["name"] for one in said("--classes", "dog,cat")["classes"]} == {"dog", "cat"}
    with pytest.raises(CaptionerError, match="--match says something else .* than --beams"):
        said("--match", "a red ball", "--beams", "2")


def test_it_is_searched_with(tiny_joint, models, monkeypatch, tmp_path):
    from captioner.searching import load_towers

    monkeypatch.setattr("captioner.loading.load", lambda folder: models[1])
    assert load_towers(tiny_joint / "export").texts(["a ball"]).shape == (1, 8)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (['train.freeze=["image_encoder"]'], "model.sentence_head=true needs the text encoder"),
        (["train.reward_epochs=1"], "train.reward_epochs is for captioning alone"),
        (["data.text={text}", "data.text_epochs=2"], "data.text_epochs=2 is for captioning alone"),
        (["model.text_encoder=none", "model.sentence_head=false", "model.neighbours=0",
          "model.copying=false"], "the task joint needs a text encoder"),
        (['train.freeze=["text_encoder"]', "data.cache_features=false", "data.views=1",
          "model.sentence_head=false", "model.neighbours=0"], "contrastive.start=sentences needs"),
    ],
)  # fmt: skip
def test_settings_that_can_not_be(tmp_path, drawn, tiny_encoder, overrides, message):
    from captioner.learning.run import train

    (tmp_path / "text.txt").write_text("a dog runs\n")
    made = config.settings("joint", data=f"csv:{drawn}", overrides=[
        "model.image_side=64", "model.image_weights=none", f"model.text_encoder={tiny_encoder}",
        "train.distribution=none", f"data.folder={tmp_path}",
        *(one.format(text=tmp_path / "text.txt") for one in overrides),
    ])  # fmt: skip
    with pytest.raises(CaptionerError, match=message):
        train(made, tmp_path / "run", tmp_path / "export")
    assert not (tmp_path / "run").exists()
