"""How much of the image encoder `train.freeze` leaves as it is."""

import functools
import re
from collections.abc import Sequence

# ResNet50's stages and how many blocks each has; the first has no blocks (He et al. 2016, table 1).
STAGES = {"conv1": 0, "conv2": 3, "conv3": 4, "conv4": 6, "conv5": 3}

# VGG19's stages and how many convolutions each has (Simonyan and Zisserman, 2015, table 1, E).
VGG19 = {"block1": 2, "block2": 2, "block3": 4, "block4": 4, "block5": 4}

# EfficientNet-Lite0's stages and how many blocks each has (Tan and Le, 2019, table 1).
LITE0 = {"conv1": 0, "conv2": 3, "conv3": 2, "conv4": 6, "conv5": 5}

# What a ViT is made of depends on its weights: it is frozen as a whole or not at all.
VIT = ("vit",)


def stages(encoder: str) -> tuple[str, ...]:
    """The stages of an image encoder, as `model.image_encoder` names it, from the pixels on."""
    return {
        "resnet50": tuple(STAGES),
        "efficientnet_lite0": tuple(LITE0),
        "vgg19": tuple(VGG19),
        "vit": VIT,
    }[encoder]


@functools.lru_cache(maxsize=32)
def frozen_stages(freeze: Sequence[str], encoder: str = "resnet50") -> int:
    """How many of the image encoder's stages, from the pixels on, are frozen altogether: 0 to all.

    Args:
        freeze: tuple of str. The patterns of `train.freeze`.
        encoder: as `model.image_encoder` has it. Defaults to resnet50.
    """
    for count, stage in enumerate(stages(encoder)):
        learned = _LEARNED[encoder](stage)
        if not all(any(re.match(one, name) for one in freeze) for name in learned):
            return count
    return len(stages(encoder))


def wholly_frozen(freeze: Sequence[str], encoder: str = "resnet50") -> bool:
    """Whether all of the image encoder is frozen."""
    return frozen_stages(freeze, encoder) == len(stages(encoder))


def _learned_resnet50(stage: str) -> list[str]:
    """Names of a stage's variables, as far as they could be learned."""
    layers = [stage] if stage == "conv1" else []
    for block in range(1, STAGES[stage] + 1):
        # The first block of a stage has a shortcut with weights, 0.
        layers += [f"{stage}_block{block}_{at}" for at in range(0 if block == 1 else 1, 4)]
    kinds = ("conv/kernel", "conv/bias", "bn/gamma", "bn/beta")
    return [f"image_encoder/{layer}_{kind}" for layer in layers for kind in kinds]


def _learned_lite0(stage: str) -> list[str]:
    layers = [stage] if stage == "conv1" else ["conv5_top"] if stage == "conv5" else []
    for block in range(1, LITE0[stage] + 1):
        # The very first block widens nothing.
        first = 2 if (stage, block) == ("conv2", 1) else 1
        layers += [f"{stage}_block{block}_{at}" for at in range(first, 4)]
    kinds = ("conv/kernel", "bn/gamma", "bn/beta")
    return [f"image_encoder/{layer}_{kind}" for layer in layers for kind in kinds]


def _learned_vgg19(stage: str) -> list[str]:
    return [
        f"image_encoder/{stage}_conv{at}/{kind}"
        for at in range(1, VGG19[stage] + 1)
        for kind in ("kernel", "bias")
    ]


def _learned_vit(stage: str) -> list[str]:
    # A pattern that matches this matches whatever follows.
    return ["image_encoder/"]


_LEARNED = {
    "resnet50": _learned_resnet50,
    "efficientnet_lite0": _learned_lite0,
    "vgg19": _learned_vgg19,
    "vit": _learned_vit,
}
