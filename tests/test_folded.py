"""ResNet50 with its batch norms folded gives what the whole one gives."""

import json

import numpy as np
import pytest
import tensorflow as tf
from clients import jpeg, loaded
from tensorflow.core.protobuf import saved_model_pb2
from test_graph import ALLOWED

from captioner import config
from captioner.config.freezing import STAGES
from captioner.models.encoders import ImageEncoder
from captioner.models.folded import PRECISIONS, FoldedResNet50
from captioner.serving.exporting import export
from captioner.serving.trained import load_trained


def encoder(begun: int = len(STAGES)) -> ImageEncoder:
    """One whose batch norms all do something, in every channel something else."""
    made = ImageEncoder(side=64, begun=begun)
    rng = np.random.default_rng(0)
    for variable in made.net.variables:
        kind = variable.name
        if kind in ("beta", "moving_mean", "bias"):
            variable.assign(rng.normal(0, 0.2, variable.shape))
        elif kind in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return made


@pytest.fixture(scope="module")
def pixels():
    made = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    made[1] = 0  # black up to its borders, where padding shows
    return made


@pytest.mark.parametrize("stages", range(1, len(STAGES) + 1))
def test_every_number_of_stages_gives_what_the_encoder_gives(stages, pixels):
    whole = encoder(stages)
    expected = whole.begin(pixels).numpy()
    found = tf.function(FoldedResNet50(whole.net, stages))(pixels).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("kind", ["resnet50", "efficientnet_lite0", "vgg19"])
def test_images_encoded_in_parts_give_what_they_give_at_once(kind, count, monkeypatch):
    pixels = np.random.default_rng(count).integers(0, 256, (count, 64, 64, 3)).astype(np.uint8)
    look = ImageEncoder(side=64, kind=kind).folded()
    expected = look.encode(tf.constant(pixels)).numpy()
    seen = []
    encode = look.encode
    monkeypatch.setattr(look, "encode", lambda part: seen.append(part) or encode(part))
    monkeypatch.setattr("captioner.models.folded.PART", 2 * 64 * 64 + 1)
    found = look(pixels)
    assert [len(part) for part in seen] == [2] * (count // 2) + [1] * (count % 2)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_an_image_of_more_pixels_than_a_part_is_a_part(pixels, monkeypatch):
    look = encoder().folded()
    expected = look.encode(tf.constant(pixels)).numpy()
    monkeypatch.setattr("captioner.models.folded.PART", 100)
    graph = tf.function(look, autograph=False)
    np.testing.assert_allclose(graph(pixels), expected, atol=1e-5 * np.abs(expected).max())


def test_bfloat16_is_near_and_about_half_the_size(pixels):
    net = encoder().net
    whole, half = FoldedResNet50(net), FoldedResNet50(net, precision="bfloat16")
    expected, found = whole(pixels).numpy(), half(pixels).numpy()
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).mean() < 0.05 * np.abs(expected).mean()
    sizes = [sum(one.numpy().nbytes for one in some.variables) for some in (whole, half)]
    assert 1.9 < sizes[0] / sizes[1] < 2
    # The first stages are the same, to the bit.
    first = [FoldedResNet50(net, 2, precision)(pixels) for precision in PRECISIONS]
    np.testing.assert_array_equal(*first)


@pytest.mark.slow
def test_an_export_in_bfloat16(tiny_run, tmp_path):
    """It is a captioner like any other, says what it is, and has no op that others lack."""
    settings = config.load(tiny_run / "config.json")
    version = export(load_trained(tiny_run), settings, tmp_path, {}, precision="bfloat16")
    images = [jpeg(seed) for seed in range(4)]
    inputs = {"image_bytes": [*images, b"no image"], "prompt": [b"a red car"] * 4 + [b""]}
    found, expected = (
        loaded(one).call("caption_beams", inputs) for one in (version, tiny_run)
    )
    assert all(found["captions"][:4, 0]) and found["error"][4] == expected["error"][4] != b""
    # Where the search chose another caption, its probability is another matter.
    same = (found["captions"] == expected["captions"])[:4, 0]
    difference = np.abs(found["log_probs"] - expected["log_probs"])[:4, 0][same]
    assert same.sum() >= 2 and 0 < difference.max() < 0.5
    saved = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    library = saved.meta_graphs[0].graph_def.library.function
    calls = {one.signature.name for one in library}
    assert {node.op for one in library for node in one.node_def} - calls <= ALLOWED
    extra = version / "assets.extra"
    assert json.loads((extra / "captioner.json").read_text())["precision"] == "bfloat16"
    assert "computes in bfloat16" in next(version.rglob("*.md")).read_text(encoding="utf-8")
