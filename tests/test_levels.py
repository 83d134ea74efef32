"""Regions of several stages: what stands where, folded or not, begun or not."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_folded import encoder as known
from test_graph import ALLOWED

from captioner import config
from captioner.errors import CaptionerError
from captioner.models import grids
from captioner.models.encoders import ImageEncoder
from captioner.models.folded import FoldedResNet50

SIDE = 64


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3)).astype(np.uint8)


def with_levels(levels: int, begun: int = 5, kind: str = "resnet50") -> ImageEncoder:
    made = ImageEncoder(SIDE, begun=begun, kind=kind, levels=levels, name="image_encoder")
    if kind == "resnet50":
        for mine, theirs in zip(made.net.variables, known().net.variables, strict=True):
            mine.assign(theirs)
    return made


def stage(images: ImageEncoder, name: str, pixels) -> np.ndarray:
    """What a stage gives, [B, H, W, D]."""
    part = keras.Model(images.net.inputs, images.net.get_layer(name).output)
    return part(images._normalise(pixels), training=False).numpy()


def test_a_region_is_the_last_stage_and_the_mean_of_the_earlier_ones_there(pixels):
    images = with_levels(3)
    found = tf.reshape(images(pixels), [3, images.rows, images.columns, -1]).numpy()
    last, before, third = (
        stage(images, f"{name}_out", pixels)
        for name in ("conv5_block3", "conv4_block6", "conv3_block4")
    )
    widths = np.cumsum([one.shape[-1] for one in (last, before, third)])
    assert found.shape[-1] == images.width == widths[-1]
    parts = np.split(found, widths[:-1], axis=-1)
    np.testing.assert_allclose(parts[0], last, rtol=1e-5, atol=1e-5)
    for part, whole in zip(parts[1:], (before, third), strict=True):
        way = whole.shape[1] // images.rows
        mean = whole.reshape(3, images.rows, way, images.columns, way, -1).mean((2, 4))
        np.testing.assert_allclose(part, mean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("levels", "begun"), [(1, 5), (2, 5), (3, 5), (2, 4), (3, 3)])
def test_in_two_parts_and_folded_it_is_the_same(levels, begun, pixels):
    images = with_levels(levels, begun)
    whole = images(pixels).numpy()
    slack = 2e-5 * np.abs(whole).max()
    kept = images.begin(pixels)
    assert kept.shape[1:] == images.begun_shape
    np.testing.assert_allclose(images(kept), whole, atol=slack)
    np.testing.assert_allclose(images.folded(begun)(pixels), kept, atol=slack)
    folded = tf.function(images.folded(), autograph=False)
    graph = folded.get_concrete_function(tf.TensorSpec([None, SIDE, SIDE, 3], tf.uint8)).graph
    assert {one.type for one in graph.get_operations()} <= ALLOWED | {"Placeholder"}
    np.testing.assert_allclose(folded(pixels), whole, atol=slack)
    features = tf.constant(whole)
    assert images(features) is features


def test_other_networks_and_bfloat16(pixels):
    images = with_levels(2, kind="efficientnet_lite0")
    assert images.width > ImageEncoder(SIDE, kind="efficientnet_lite0").width
    whole = images(pixels).numpy()
    np.testing.assert_allclose(images.folded()(pixels), whole, atol=2e-5 * np.abs(whole).max())
    half = FoldedResNet50(with_levels(2).net, precision="bfloat16", levels=2)(pixels)
    assert half.dtype == tf.float32


def test_odd_grids_are_averaged_over_what_there_is():
    fine = tf.reshape(tf.range(9.0), [1, 3, 3, 1])
    found = grids.beside([tf.zeros([1, 2, 2, 1]), fine])[..., 1]
    np.testing.assert_allclose(found[0], [[2, 3.5], [6.5, 8]])


def test_grids_that_do_not_fit():
    with pytest.raises(CaptionerError, match="no .4, 4. places of one size"):
        grids.beside([tf.zeros([1, 4, 4, 1]), tf.zeros([1, 6, 6, 1])])


@pytest.mark.parametrize(("levels", "begun"), [(3, 4), (2, 5)])
def test_more_levels_than_are_left(levels, begun):
    kind = "resnet50" if begun == 4 else "vit"
    if kind == "vit":
        pytest.importorskip("keras_hub", reason="the extra vit")
        begun = 1
    with pytest.raises(CaptionerError, match=f"model.levels={levels}: .* has {levels - 1}"):
        ImageEncoder(SIDE, begun=begun, kind=kind, levels=levels)


def test_levels_are_a_setting_of_the_recipes(tiny_overrides):
    from captioner.models.build import build

    words = ["[PAD]", "[UNK]", "[START]", "[END]", "dog"]
    made = config.settings("demo", overrides=[*tiny_overrides, "model.levels=2"])
    one = build(config.settings("demo", overrides=tiny_overrides), words).model.image_encoder
    assert build(made, words).model.image_encoder.width > one.width
