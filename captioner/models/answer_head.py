"""The head that chooses an answer instead of saying one.

Legend: B questions, R regions, U units, A answers.
"""

import keras
import tensorflow as tf

from captioner.models.attention import CrossModalAttention
from captioner.models.decoder import Memory, projected
from captioner.models.dropout import Dropout


@keras.saving.register_keras_serializable("captioner")
class AnswerHead(keras.layers.Layer):
    """A classifier over the most frequent answers, in a captioner's decoder's place.

    The picture and the question as one vector ask the question's words (which have looked at the
    picture, see `Captioner`) what matters, and with that the picture's regions; what was asked,
    what was found, and their product give the answer. That is stacked attention (Yang et al.,
    Stacked Attention Networks for Image Question Answering, CVPR 2016, section 3.3) whose first
    look is the words'.

    Args:
        answers: int. A.
        units: int. U.
        heads: int. Heads of the attention.
        dropout: float. Dropout before the output.
        **kwargs: as every `keras.layers.Layer` takes them.
    """

    copying = None
    """It says no words, and so copies none."""

    def __init__(
        self, answers: int, units: int, heads: int = 1, dropout: float = 0.0, **kwargs
    ):
        super().__init__(**kwargs)
        self.answers = answers
        self.units = units
        self.heads = heads
        self.dropout = dropout
        self._prompt = CrossModalAttention(units, heads, name="prompt_attention")
        self._image = CrossModalAttention(units, heads, name="image_attention")
        self._hidden = keras.layers.Dense(2 * units, activation="gelu", name="hidden")
        self._drop = Dropout(dropout)
        self._output = keras.layers.Dense(answers, name="output")

    def build(self, memory_width: int):
        """Args: memory_width: int. Width of regions, prompt and summary; it is U."""
        for attention in (self._prompt, self._image):
            attention.build((None, None, memory_width), (None, None, memory_width))
        self._hidden.build((None, 3 * self.units))
        self._output.build((None, 2 * self.units))
        self.built = True

    def prepare(self, summary, regions, prompt, prompt_mask, regions_mask=None) -> Memory:
        """As `Decoder.prepare`."""
        return projected(
            self._image, self._prompt, summary, regions, prompt, prompt_mask, regions_mask
        )

    def told(self, memory: Memory) -> Memory:
        """As `Decoder.told`: there are no steps that would use anything."""
        return {}

    def call(self, memory: Memory, training=False):
        """A captioner's memory, spread to B rows -> (logits float32 [B, A], attention to the
        regions [B, R])."""
        query = memory["summary"][:, None]  # (B, 1, U)
        words, _ = self._prompt.attend(
            query, memory["prompt"], memory["prompt_mask"], training=training
        )
        query += words
        seen, weights = self._image.attend(
            query, memory["image"], memory["image_mask"], training=training
        )
        hidden = self._hidden(tf.concat([query, seen, query * seen], -1)[:, 0])
        logits = self._output(self._drop(hidden, training=training))
        return tf.cast(logits, tf.float32), weights[:, 0]

    def get_config(self):
        return {
            **super().get_config(),
            "answers": self.answers,
            "units": self.units,
            "heads": self.heads,
            "dropout": self.dropout,
        }
