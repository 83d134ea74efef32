"""How much of the image encoder `train.freeze` leaves as it is."""

import functools
import re
from collections.abc import Sequence

# ResNet50's stages and how many blocks each has; the first has no blocks (He et al. 2016, table 1).
STAGES = {"conv1": 0, "conv2": 3, "conv3": 4, "conv4": 6, "conv5": 3}


@functools.lru_cache(maxsize=32)
def frozen_stages(freeze: Sequence[str]) -> int:
    """How many of the image encoder's stages, from the pixels on, are frozen altogether: 0 to 5.

    Args:
        freeze: tuple of str. The patterns of `train.freeze`.
    """
    for count, stage in enumerate(STAGES):
        if not all(any(re.match(one, name) for one in freeze) for name in _learned(stage)):
            return count
    return len(STAGES)


def _learned(stage: str) -> list[str]:
    """Names of a stage's variables, as far as they could be learned."""
    layers = [stage] if stage == "conv1" else []
    for block in range(1, STAGES[stage] + 1):
        # The first block of a stage has a shortcut with weights, 0.
        layers += [f"{stage}_block{block}_{at}" for at in range(0 if block == 1 else 1, 4)]
    kinds = ("conv/kernel", "conv/bias", "bn/gamma", "bn/beta")
    return [f"image_encoder/{layer}_{kind}" for layer in layers for kind in kinds]
