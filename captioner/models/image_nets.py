"""The networks that can look at pictures, as what `encoders.ImageEncoder` needs of each.

Legend: B batch, S side of the square in pixels, H, W rows and columns of a grid, D width.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from captioner.config.freezing import LITE0, STAGES, VGG19
from captioner.errors import CaptionerError
from captioner.inputs.images import normalise
from captioner.pretrained import efficientnet

TITLES = {
    "resnet50": "ResNet50",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "vgg19": "VGG19",
    "vit": "ViT",
}

# ViT-B/16 (Dosovitskiy et al. 2021, table 1), where nothing says how large it is to be.
_VIT_BASE = {
    "patch_size": 16, "num_layers": 12, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072,
}  # fmt: skip


class Net(NamedTuple):
    """A network for pictures.

    Attributes:
        model: without a top, its layers named as `train.freeze` has them; for `weights` to be
            loaded into, where these are a file.
        given: its input, float [B, S, S, 3].
        stages: what each stage gives, [B, H, W, D], in order.
        normalise: function (uint8 [B, S, S, 3], RGB) -> what the input takes.
    """

    model: keras.Model
    given: Any
    stages: Sequence[Any]
    normalise: Callable[[tf.Tensor], tf.Tensor]


def resnet50(side: int, weights: Path | None, load: bool = True) -> Net:
    """ResNet50 (He et al., 2016)."""
    net = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(side, side, 3), name="resnet50"
    )
    if load and weights is not None:
        net.load_weights(weights)
    ends = [f"{name}_block{count}_out" if count else "pool1_pool" for name, count in STAGES.items()]
    return Net(net, net.inputs, [net.get_layer(end).output for end in ends], normalise)


def vgg19(side: int, weights: Path | None, load: bool = True) -> Net:
    """VGG19 (Simonyan and Zisserman, 2015, E), which takes pixels as ResNet50 does."""
    net = keras.applications.VGG19(
        include_top=False, weights=None, input_shape=(side, side, 3), name="vgg19"
    )
    if load and weights is not None:
        _load(net, weights, "vgg19")
    return Net(net, net.inputs, [net.get_layer(f"{name}_pool").output for name in VGG19], normalise)


def efficientnet_lite0(side: int, weights: Path | None, load: bool = True) -> Net:
    """EfficientNet-Lite0 (see `pretrained.efficientnet`)."""
    net = efficientnet.efficientnet_lite0(side)
    if load and weights is not None:
        _load(net, weights, "efficientnet_lite0")
    ends = [net.get_layer(f"{name}_out").output for name in LITE0]
    return Net(net, net.inputs, ends, efficientnet.normalise)


def _load(net: keras.Model, weights: Path, kind: str) -> None:
    try:
        net.load_weights(weights)
    except ValueError as error:
        raise CaptionerError(
            f"{weights} holds no weights of a {TITLES[kind]} without its top: {_first_line(error)}"
        ) from error


def vit(side: int, weights: str | None, load: bool = True) -> Net:
    """A vision transformer of keras-hub (Dosovitskiy et al., 2021). Its patches are the regions;
    the class token is left out.

    Args:
        side: pixels.
        weights: a preset of keras-hub, by name or folder; imagenet for a ViT-B/16 of ImageNet;
            None for a random one.
        load: bool. Whether to load the preset's weights, or to take its dimensions alone.
    """
    try:
        import keras_hub
    except ImportError:
        raise CaptionerError(
            "model.image_encoder=vit needs keras-hub: pip install -e '.[vit]'"
        ) from None
    kind = keras_hub.models.ViTBackbone
    if weights is None:
        if side % _VIT_BASE["patch_size"]:
            raise CaptionerError(
                f"model.image_side={side}: a ViT-B/16 needs a multiple of "
                f"{_VIT_BASE['patch_size']} pixels"
            )
        net = kind(image_shape=(side, side, 3), **_VIT_BASE)
    else:
        name = f"vit_base_patch16_{side}_imagenet" if weights == "imagenet" else weights
        net = _preset(kind, name, load)
    height, width = net.image_shape[:2]
    if (height, width) != (side, side):
        raise CaptionerError(
            f"the ViT {weights} was made for {height} x {width} pixels: set "
            f"model.image_side={height}"
        )
    grid = (side // net.patch_size[0], side // net.patch_size[1], net.hidden_dim)
    patches = net.output[:, 1:] if net.use_class_token else net.output
    return Net(net, net.inputs, [keras.ops.reshape(patches, (-1, *grid))], _to_unit)


def _preset(kind: Any, name: str, load: bool) -> keras.Model:
    try:
        return kind.from_preset(name, load_weights=load)
    except Exception as error:  # of any kind: a hub's client raises what its many sources raise
        raise CaptionerError(
            f"cannot get the ViT preset {name} from keras-hub ({_first_line(error)}): get online, "
            "or name a local preset's folder with --set model.image_weights=DIR, or do without "
            "with --set model.image_weights=none"
        ) from error


def _to_unit(pixels: tf.Tensor) -> tf.Tensor:
    """uint8 [..., 3] -> float32 in -1 to 1, as ViT's weights expect them (mean and deviation 0.5
    of each channel)."""
    return tf.cast(pixels, tf.float32) / 127.5 - 1


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


_Make = Callable[[int, Any, bool], Net]
NETS: dict[str, _Make] = {
    "resnet50": resnet50,
    "efficientnet_lite0": efficientnet_lite0,
    "vgg19": vgg19,
    "vit": vit,
}
