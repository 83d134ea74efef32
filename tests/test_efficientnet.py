"""EfficientNet-Lite0: its weights from PyTorch's file, its stages, and as it is served.

Legend: S side of the square in pixels.
"""

import io
import pickle
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_graph import ALLOWED

from captioner import pretrained
from captioner.config.freezing import LITE0, frozen_stages
from captioner.learning.optimisation import is_frozen, name
from captioner.models.encoders import ImageEncoder
from captioner.pretrained import efficientnet, sources
from captioner.pretrained.efficientnet import BLOCKS, assign, read_torch

SIDE = 64


def encoder(begun: int = len(LITE0)) -> ImageEncoder:
    """One whose batch norms all do something, in every channel something else."""
    made = ImageEncoder(side=SIDE, begun=begun, kind="efficientnet_lite0", name="image_encoder")
    rng = np.random.default_rng(0)
    for variable in made.net.variables:
        if variable.name in ("beta", "moving_mean"):
            variable.assign(rng.normal(0, 0.2, variable.shape))
        elif variable.name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return made


@pytest.fixture(scope="module")
def pixels():
    made = np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3)).astype(np.uint8)
    made[1] = 0  # black up to its borders, where padding shows
    return made


@pytest.mark.parametrize("stages", range(1, len(LITE0) + 1))
def test_stages_add_up_to_the_whole_folded_or_not(stages, pixels):
    made = encoder(stages)
    begun = made.begin(pixels)
    assert begun.shape[1:] == made.begun_shape
    whole = made(pixels).numpy()
    assert whole.shape == (3, made.regions, made.width) == (3, 4, 1280)
    np.testing.assert_allclose(made(begun), whole, atol=1e-5 * np.abs(whole).max())
    folded = tf.function(made.folded(stages), autograph=False)
    graph = folded.get_concrete_function(tf.TensorSpec([None, SIDE, SIDE, 3], tf.uint8)).graph
    assert {one.type for one in graph.get_operations()} <= ALLOWED | {"Placeholder"}
    np.testing.assert_allclose(folded(pixels), begun, atol=1e-4 * np.abs(begun).max())


def test_stages_are_frozen_by_their_names():
    made = encoder(4)
    learned = made.trainable_variables
    patterns = ["image_encoder/conv[1-4]"]
    assert frozen_stages(tuple(patterns), "efficientnet_lite0") == 4
    assert frozen_stages(("image_encoder",), "efficientnet_lite0") == 5
    assert frozen_stages(("image_encoder/conv5",), "efficientnet_lite0") == 0
    left = {name(one) for one in learned if not is_frozen(one, patterns)}
    assert left and all(one.startswith("image_encoder/conv5_") for one in left)
    # What the settings think a stage is made of is what there is.
    known = {one for stage in BLOCKS for one in known_names(stage)}
    assert known == {name(one) for one in learned}


def known_names(stage):
    from captioner.config.freezing import _LEARNED

    return _LEARNED["efficientnet_lite0"](stage)


# PyTorch's file.


@pytest.fixture
def torch(monkeypatch):
    """As much of PyTorch as a pickle of its tensors names."""
    module, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2(*_):
        raise AssertionError("called")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    for kind in ("FloatStorage", "LongStorage", "DoubleStorage"):
        setattr(module, kind, type(kind, (), {"__module__": "torch", "__qualname__": kind}))
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return module


class Shown:
    """Stands for a tensor: a part of a storage."""

    def __init__(self, torch, storage, offset, shape, strides, function=None):
        self.function = function or sys.modules["torch._utils"]._rebuild_tensor_v2
        self.arguments = (storage, offset, shape, strides, False, {})

    def __reduce__(self):
        return self.function, self.arguments


class Stored:
    def __init__(self, torch, key, numbers):
        self.key, self.numbers = key, numbers
        self.kind = torch.FloatStorage if numbers.dtype == np.float32 else torch.LongStorage


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, Stored):
            return ("storage", obj.kind, obj.key, "cpu", len(obj.numbers), None)
        return None


def saved(tensors, storages) -> bytes:
    """A file as `torch.save` wrote it before 2020."""
    file = io.BytesIO()
    for one in (efficientnet._MAGIC, 1001, {"little_endian": True}):
        pickle.dump(one, file, 2)
    Pickler(file, 2).dump(tensors)
    pickle.dump([one.key for one in storages], file, 2)
    for one in storages:
        file.write(len(one.numbers).to_bytes(8, "little") + one.numbers.tobytes())
    return file.getvalue()


def test_tensors_of_a_torch_file(torch):
    """Turned, shared, empty and single ones; of floats and of whole numbers."""
    floats = Stored(torch, "7", np.arange(12, dtype=np.float32))
    whole = Stored(torch, "8", np.array([5], np.int64))
    tensors = {
        "turned": Shown(torch, floats, 0, (3, 4), (1, 3)),
        "part": Shown(torch, floats, 6, (2, 3), (3, 1)),
        "one": Shown(torch, whole, 0, (), ()),
    }
    found = read_torch(io.BytesIO(saved(tensors, [floats, whole])))
    np.testing.assert_array_equal(found["turned"], np.arange(12).reshape(4, 3).T)
    np.testing.assert_array_equal(found["part"], [[6, 7, 8], [9, 10, 11]])
    assert found["one"] == 5 and found["one"].dtype == np.int64


def test_nothing_in_a_torch_file_is_called(torch, capsys):
    floats = Stored(torch, "7", np.zeros(4, np.float32))
    for wrong in (
        {"a": Shown(torch, "print me", 0, (), (), print)},
        {"a": Shown(torch, floats, 0, (5,), (1,))},  # beyond the end
        {"a": Shown(torch, floats, -1, (2,), (1,))},
        {"a": Shown(torch, floats, 3, (2,), (-1,))},
        [1],
        {"a": {1, 2}},
    ):
        with pytest.raises(ValueError):
            read_torch(io.BytesIO(saved(wrong, [floats])))
    with pytest.raises(ValueError, match="old format"):
        read_torch(io.BytesIO(pickle.dumps(3, 2)))
    assert capsys.readouterr().out == ""


def test_weights_go_where_they_belong():
    """A 3 x 3 kernel is turned, a depthwise one, too; a missing one is named."""
    model = efficientnet.efficientnet_lite0(SIDE)
    rng = np.random.default_rng(2)
    weights = {}
    for layer in model.layers:
        for variable in layer.variables:
            shape = tuple(variable.shape)
            if variable.name == "kernel":
                rows, columns, given, made = shape
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                shape = (given, made) if depthwise else (made, given)
                shape += (rows, columns)
            key = efficientnet._torch_name(layer.name, variable.name)
            assert key not in weights
            weights[key] = rng.normal(size=shape).astype(np.float32)
    assign(model, weights)
    stem, around = weights["_conv_stem.weight"], weights["_blocks.1._depthwise_conv.weight"]
    kernel = model.get_layer("conv1_conv").kernel.numpy()
    assert kernel[0, 2, 1, 7] == stem[7, 1, 0, 2]
    kernel = model.get_layer("conv2_block2_2_conv").kernel.numpy()
    assert kernel[2, 1, 5, 0] == around[5, 0, 2, 1]
    scale = model.get_layer("conv5_block5_3_bn").gamma.numpy()
    np.testing.assert_array_equal(scale, weights["_blocks.15._bn2.weight"])
    np.testing.assert_array_equal(
        model.get_layer("conv5_top_bn").moving_variance, weights["_bn1.running_var"]
    )
    del weights["_blocks.3._expand_conv.weight"]
    with pytest.raises(ValueError, match="_blocks.3._expand_conv.weight is missing"):
        assign(model, weights)


def test_the_imagenet_weights_load():
    entry = pretrained.cache_folder() / sources.EFFICIENTNET.folder
    if not entry.is_dir():
        pytest.skip("EfficientNet-Lite0's weights are not in the cache")
    made = ImageEncoder(SIDE, entry / sources.EFFICIENTNET.file, kind="efficientnet_lite0")
    found = made(np.full((1, SIDE, SIDE, 3), 127, np.uint8)).numpy()
    # Grey says little, and ReLU6 keeps within bounds.
    assert 0 < found.mean() < 1 and 0 <= found.min() and found.max() <= 6
