"""The image encoder as it is served: folded, in the place of the model's own."""

import keras
import tensorflow as tf

from captioner.models.encoders import Unfolded
from captioner.models.folded import FoldedLite0, FoldedResNet50


def folded(
    model: keras.Model, precision: str
) -> tuple[FoldedResNet50 | FoldedLite0 | Unfolded, list[tf.Variable]]:
    """The folded image encoder of a model that has an `image_encoder`, and the variables that are
    served: its own, and the model's but for those of the encoder that it stands for.

    Args:
        model: with weights that are not trained any more.
        precision: what the convolutions compute in, one of `folded.PRECISIONS`.
    """
    look = model.image_encoder.folded(precision=precision)
    own = {id(variable) for variable in model.image_encoder.variables}
    # Keras variables don't survive a model server's restore; the tf.Variables they hold do.
    rest = [one.value for one in model.variables if id(one) not in own]
    return look, [*rest, *look.variables]
