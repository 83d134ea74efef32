"""Image-text matching from a run to what is served: scores, the export, and the commands."""

import json

import numpy as np
import pytest
from clients import UNREADABLE, jpeg
from test_graph import ALLOWED

import captioner
from captioner import config, evaluate, predict
from captioner.captioning import checked
from captioner.errors import CaptionerError
from captioner.learning.run import train


@pytest.fixture(scope="module")
def tiny_matching(drawn, tiny_encoder, tmp_path_factory):
    """A finished run with one export in `export/1`."""
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
    made = config.settings("matching", data=f"csv:{drawn}", overrides=[
        "model.image_side=64", "model.image_weights=none", f"model.text_encoder={tiny_encoder}",
        "train.distribution=none", f"data.folder={tmp_path}", *overrides,
    ])  # fmt: skip
    with pytest.raises(CaptionerError, match=message):
        train(made, tmp_path / "run", tmp_path / "export")
    assert not (tmp_path / "run").exists()
