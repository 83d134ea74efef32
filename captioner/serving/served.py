"""What is saved of a model: its signatures, and the variables and tables that they need."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import tensorflow as tf

from captioner.serving.compact import compacted


class Hidden(Protocol):
    """The functions themselves; no trackable object, so that nothing else is saved with them."""

    functions: dict[str, Callable]
    """`tf.function`s with an input signature, by the signature's name."""


class Served(tf.Module):
    """The signatures over a built model.

    Args:
        hidden: the functions.
        variables: what they read.
        tables: tokenizers that they look up words in.
        storage: what matrices are stored in when this is saved, one of `compact.STORAGES`.
    """

    def __init__(
        self, hidden: Hidden, variables: Sequence[tf.Variable], tables: Sequence[Any], storage: str
    ):
        super().__init__()
        # The Keras objects, the Hub's own functions and the tf.functions stay out of sight of
        # tf.Module: what it sees is saved, once more than the signatures need it.
        self._hidden = hidden
        self._variables = compacted(variables, storage)
        self._tables = list(tables)

    @property
    def functions(self) -> dict[str, Callable]:
        """The functions by signature name; traced when they are first called."""
        return dict(self._hidden.functions)

    def signatures(self) -> dict:
        """The concrete functions by signature name."""
        return {name: one.get_concrete_function() for name, one in self.functions.items()}
