"""A batch's prompts as the model takes them: as the text encoder's inputs, or read already.

Legend: Q prompts, P prompt pieces, D text encoder's width.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf

from captioner.inputs.files import batches
from captioner.inputs.prompt_pieces import COPIED
from captioner.inputs.text import PAD
from captioner.inputs.wordpiece import READ, BertTokenizer

Columns = dict[str, np.ndarray]

_BATCH = 256


class TokenizedPrompts:
    """Prompts as the text encoder's inputs.

    Args:
        tokenizer: BertTokenizer.
    """

    def __init__(self, tokenizer: BertTokenizer):
        self._tokenize: Callable = tf.function(
            tokenizer.__call__,
            input_signature=[tf.TensorSpec([None], tf.string)],
            autograph=False,
        )

    @property
    def spec(self) -> dict[str, tf.TensorSpec]:
        """The type of what a call gives."""
        names = self._tokenize.get_concrete_function().structured_outputs
        return dict.fromkeys(names, tf.TensorSpec([None, None], tf.int32))

    def __call__(self, prompts: Sequence[str]) -> Columns:
        """str [Q] -> columns with a row each, as long as the longest prompt needs."""
        inputs = self._tokenize(tf.constant(prompts, tf.string))
        # Most prompts are a few words, and the encoder would read the padding as well.
        inputs = {name: one.numpy() for name, one in inputs.items()}
        longest = {name: inputs["input_mask"].sum(1).max(initial=1) for name in inputs}
        if COPIED[0] in inputs:
            pieces = (inputs[COPIED[0]] != PAD).sum(1).max(initial=1)
            longest |= dict.fromkeys(COPIED, pieces)
        return {name: one[:, : longest[name]] for name, one in inputs.items()}


class ReadPrompts:
    """Prompts with what a frozen text encoder gives of them, each read once.

    Args:
        prompts: iterable of str. All that will be asked for; empty ones are left out.
        tokenizer: BertTokenizer.
        encode: the text encoder: its inputs to (sequence [Q, P, D], pooled [Q, D]).
        progress: called with (prompts read, prompts in all).
    """

    def __init__(
        self,
        prompts: Iterable[str],
        tokenizer: BertTokenizer,
        encode: Callable,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ):
        self._tokenized = TokenizedPrompts(tokenizer)
        known = sorted({prompt for prompt in prompts if prompt.strip()})
        self._places = {prompt: place for place, prompt in enumerate(known)}
        spec = self._tokenized.spec
        run = tf.function(encode, input_signature=[spec], autograph=False)
        self._sequences: list[np.ndarray] = []
        pooled = [np.zeros((0, run.get_concrete_function().output_shapes[1][-1]), np.float16)]
        for part in batches(len(known), _BATCH):
            inputs = self._tokenized(known[part])
            sequence, summary = run({name: tf.constant(one) for name, one in inputs.items()})
            lengths = inputs["input_mask"].sum(1)
            rows = sequence.numpy().astype(np.float16)
            self._sequences += [row[:length] for row, length in zip(rows, lengths, strict=True)]
            pooled.append(summary.numpy().astype(np.float16))
            progress(min(part.stop, len(known)), len(known))
        self._pooled = np.concatenate(pooled)

    @property
    def spec(self) -> dict[str, tf.TensorSpec]:
        """The type of what a call gives."""
        shapes = ([None, None, self._pooled.shape[1]], [None, self._pooled.shape[1]])
        read = {
            name: tf.TensorSpec(shape, tf.float16)
            for name, shape in zip(READ, shapes, strict=True)
        }
        return self._tokenized.spec | read

    def __call__(self, prompts: Sequence[str]) -> Columns:
        """str [Q] -> the text encoder's inputs, and its output as float16 [Q, P, D] and [Q, D];
        zeros for padding."""
        columns = self._tokenized(prompts)
        places = [self._places[prompt] for prompt in prompts]
        shape = (*columns["input_mask"].shape, self._pooled.shape[1])
        sequence = np.zeros(shape, np.float16)
        for row, place in enumerate(places):
            known = self._sequences[place]
            sequence[row, : len(known)] = known
        pooled = self._pooled[np.array(places, np.int64)]
        return columns | dict(zip(READ, (sequence, pooled), strict=True))
