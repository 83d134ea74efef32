"""What several stages of a network see, on one grid.

Legend: B batch, H, W rows and columns of the coarsest grid, D channels of all together.
"""

from collections.abc import Sequence

import keras

from captioner.errors import CaptionerError


def beside(stages: Sequence) -> object:
    """What stages give, [B, H, W, D]: the first as it is, the finer grids of the others averaged
    over its places.

    Args:
        stages: float [B, h, w, d] each, tensors or Keras's symbolic ones; the coarsest first. Rows
            and columns are known.

    Raises:
        CaptionerError: a finer grid doesn't divide into the first one's places.
    """
    first, *others = stages
    if not others:
        return first
    places, found = _size(first), [first]
    for other in others:
        size = _size(other)
        ways = [-(-fine // coarse) for fine, coarse in zip(size, places, strict=True)]
        if [-(-fine // way) for fine, way in zip(size, ways, strict=True)] != places:
            raise CaptionerError(
                f"model.levels: a grid of {size} has no {places} places of one size; choose "
                "another model.image_side, or model.levels=1"
            )
        pooled = keras.ops.average_pool(other, tuple(ways), tuple(ways), padding="same")
        found.append(keras.ops.cast(pooled, first.dtype))
    return keras.ops.concatenate(found, axis=-1)


def _size(grid) -> list[int]:
    return [int(size) for size in grid.shape[1:3]]
