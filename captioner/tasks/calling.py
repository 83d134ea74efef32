"""Signatures as what `captioner.load` gives calls them."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

Inputs = dict[str, list[bytes]]
Outputs = dict[str, np.ndarray]


def caller(functions: Mapping[str, Callable]) -> Callable[[str, Inputs], Outputs]:
    """A function of a signature's name and its inputs by name, each a list of bytes [B], that gives
    its outputs by name, arrays [B, ...].

    Args:
        functions: by the signatures' names, of a run or as `tf.saved_model.load` gives them.
    """

    def call(signature: str, inputs: Inputs) -> Outputs:
        tensors = {name: tf.constant(rows, tf.string) for name, rows in inputs.items()}
        return {name: one.numpy() for name, one in functions[signature](**tensors).items()}

    return call
