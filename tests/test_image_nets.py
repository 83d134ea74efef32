"""Encoders beside ResNet50: VGG19 in parts, a ViT of keras-hub, their pixels, and what is missing.

Legend: B batch, R regions, D encoder width.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from captioner import config, pretrained
from captioner.errors import CaptionerError
from captioner.learning import data
from captioner.learning.optimisation import name
from captioner.models.build import image_encoder
from captioner.models.encoders import ImageEncoder
from captioner.pretrained import sources

hub = pytest.importorskip("keras_hub")


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """A tiny ViT, and the folder of its preset."""
    keras.utils.set_random_seed(1)
    net = hub.models.ViTBackbone((64, 64, 3), 16, 2, 2, 8, 16)
    folder = tmp_path_factory.mktemp("presets") / "vit"
    net.save_to_preset(str(folder))
    return net, str(folder)


def test_vgg19_goes_on_from_what_its_first_stages_gave(pixels):
    """Its last two stages have as many channels: what is whole goes by the places, too."""
    parts = ImageEncoder(64, begun=4, kind="vgg19", name="image_encoder")
    assert (parts.regions, parts.width, parts.begun_shape) == (4, 512, (16, 512))
    whole = parts(pixels)
    kept = parts.begin(pixels)
    np.testing.assert_allclose(parts(kept), whole, rtol=1e-4, atol=1e-6)
    assert parts(whole) is whole
    # Read from a cache, nothing is known of their shape.
    finish = tf.function(parts, input_signature=[tf.TensorSpec([None, None, None], tf.float16)])
    np.testing.assert_allclose(
        finish(tf.cast(kept, tf.float16)), whole, rtol=0.05, atol=0.02 * np.abs(whole).max()
    )
    np.testing.assert_allclose(tf.function(parts.folded())(pixels), whole, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(tf.function(parts.folded(4))(pixels), kept, rtol=1e-4, atol=1e-5)
    names = [name(variable) for variable in parts.variables]
    assert names[0] == "image_encoder/block1_conv1/kernel" and len(set(names)) == 32


def test_vgg19_sees_pixels_as_its_weights_were_trained_with(pixels):
    encoder = ImageEncoder(64, kind="vgg19", name="image_encoder")
    given = keras.applications.vgg19.preprocess_input(pixels.astype(np.float32))
    expected = encoder.net(given, training=False).numpy().reshape(2, 4, 512)
    np.testing.assert_allclose(encoder(pixels), expected, rtol=1e-4, atol=1e-5)


def test_a_vit_is_keras_hub_s_own(preset, pixels):
    """From -1 to 1, patches row by row, without the class token."""
    net, folder = preset
    encoder = ImageEncoder(64, folder, kind="vit", name="image_encoder")
    assert (encoder.rows, encoder.columns, encoder.width, encoder.begun) == (4, 4, 8, 1)
    expected = net(pixels.astype(np.float32) / 127.5 - 1).numpy()[:, 1:]
    np.testing.assert_allclose(encoder(pixels), expected, atol=1e-5)
    np.testing.assert_allclose(tf.function(encoder.folded())(pixels), expected, atol=1e-5)
    names = [name(variable) for variable in encoder.variables]
    assert len(set(names)) == len(names)
    assert all(one.startswith("image_encoder/vit_") for one in names)
    # A checkpoint brings the weights: the preset says how large it is.
    empty = ImageEncoder(64, folder, kind="vit", load=False, name="image_encoder")
    assert empty.digest() != encoder.digest()
    assert [v.shape for v in empty.variables] == [v.shape for v in encoder.variables]


def test_a_vit_that_can_not_be(preset, tmp_path):
    with pytest.raises(CaptionerError, match="made for 64 x 64 pixels: set model.image_side=64"):
        ImageEncoder(32, preset[1], kind="vit")
    with pytest.raises(CaptionerError, match="a ViT-B/16 needs a multiple of 16 pixels"):
        ImageEncoder(40, kind="vit")
    with pytest.raises(CaptionerError, match="cannot get the ViT preset .*model.image_weights=DIR"):
        ImageEncoder(64, str(tmp_path / "nothing"), kind="vit")


def test_vgg19_s_weights_where_there_is_no_network(tmp_path, monkeypatch):
    def fails(*arguments):
        raise sources.SourceError("no route to host")

    monkeypatch.setenv("CAPTIONER_CACHE", str(tmp_path))
    monkeypatch.setattr(sources, "_convert", fails)
    with pytest.raises(CaptionerError) as caught:
        pretrained.image_weights("imagenet", "vgg19")
    said = str(caught.value)
    for part in ("VGG19's ImageNet weights", "no route to host", "get online",
                 "model.image_weights=PATH", "model.image_weights=none"):  # fmt: skip
        assert part in said


def test_weights_of_another_network(tmp_path):
    path = tmp_path / "other.weights.h5"
    model = keras.Sequential([keras.layers.Dense(2, name="block1_conv1")])
    model.build((None, 3))
    model.save_weights(path)
    with pytest.raises(CaptionerError, match="holds no weights of a VGG19 without its top"):
        ImageEncoder(64, path, kind="vgg19")


class Kept(Exception):
    """Says what a cache goes by."""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "random 0"),
        (['train.freeze=["image_encoder/conv[1-4]"]', "train.seed=3"], "random 3, 4 stages"),
        (["model.image_encoder=vgg19"], "vgg19 "),
    ],
)
def test_what_caches_of_features_go_by(tmp_path, monkeypatch, words, expected):
    """That of ResNet50 is what it was before there were others: its caches are still good."""

    def stop(*arguments, fingerprint, **options):
        raise Kept(fingerprint)

    monkeypatch.setattr(data, "open_features", stop)
    given = config.settings("classify", overrides=[
        "model.image_side=32", "model.image_weights=none", f"data.folder={tmp_path}", *words,
    ])  # fmt: skip
    encoder = image_encoder(given)
    with pytest.raises(Kept) as caught:
        data._features(given, encoder, [], 1, "train", given.train.seed)
    found = str(caught.value)
    assert found == (expected + encoder.digest() if expected.endswith(" ") else expected)
