"""ResNet50 with its batch norms folded gives what the whole one gives."""

import numpy as np
import pytest
import tensorflow as tf

from captioner.config.freezing import STAGES
from captioner.models.encoders import ImageEncoder
from captioner.models.folded import FoldedResNet50


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


def test_bfloat16_is_near_and_half_the_size(pixels):
    net = encoder().net
    whole, half = FoldedResNet50(net), FoldedResNet50(net, precision="bfloat16")
    expected, found = whole(pixels).numpy(), half(pixels).numpy()
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).mean() < 0.05 * np.abs(expected).mean()
    sizes = [sum(one.numpy().nbytes for one in some.variables) for some in (whole, half)]
    assert sizes[0] == 2 * sizes[1]
