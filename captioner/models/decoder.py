"""The LSTM decoder: words out of what it is shown.

Legend: B batch, T caption tokens, K beams, R regions, P prompt tokens, U units, W word width,
V vocabulary, S tokens of all captions together.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from captioner.models.attention import CrossModalAttention
from captioner.models.copying import Copying
from captioner.models.dropout import Dropout
from captioner.models.lstm import LSTM
from captioner.models.packing import group, pack

Memory = dict[str, Any]
State = dict[str, tf.Tensor]


@keras.saving.register_keras_serializable("captioner")
class Decoder(keras.layers.Layer):
    """An LSTM whose state asks what matters now.

    The LSTM reads the words and, at every step, the picture as a whole; its state asks the image
    regions and the prompt (`CrossModalAttention` each), and state and answers together give the
    next word, as in Luong et al. (2015, "Effective approaches to attention-based neural machine
    translation", section 3). What was found doesn't go back into the LSTM, so that teacher forcing
    is one pass over T instead of T steps. Output and input words share one table (Press and Wolf,
    2017).

    Args:
        vocabulary: int. V.
        units: int. U.
        heads: int. Heads of the attention.
        word_width: int. W, the width of the word table.
        dropout: float. Dropout on the words' vectors (what a batch drops of a word, it drops
            wherever the word is said) and before the output.
        word_dropout: float. Share of words that are hidden in training, as `unknown`.
        unknown: int. The token that stands for a hidden word.
        continuing: sequence of int or None. The tokens that continue a word, for words of the
            prompt to have scores of their own (`Copying`); None for a decoder without.
        end: int. The token that ends a caption. Ignored without `continuing`.
        **kwargs: as every `keras.layers.Layer` takes them.
    """

    def __init__(
        self,
        vocabulary: int,
        units: int,
        heads: int = 1,
        word_width: int | None = None,
        dropout: float = 0.0,
        word_dropout: float = 0.0,
        unknown: int = 1,
        continuing: Sequence[int] | None = None,
        end: int = 3,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary = vocabulary
        self.units = units
        self.heads = heads
        self.word_width = word_width or units
        self.dropout = dropout
        self.word_dropout = word_dropout
        self.unknown = unknown
        self.end = end
        self._seed = keras.random.SeedGenerator()
        self.words = keras.layers.Embedding(vocabulary, self.word_width, name="words")
        self._start = keras.layers.Dense(2 * units, activation="tanh", name="start")
        self._language = LSTM(units, name="language")
        self._image = CrossModalAttention(units, heads, name="image_attention")
        self._prompt = CrossModalAttention(units, heads, name="prompt_attention")
        self._fusion = keras.layers.Dense(units, activation="tanh", name="fusion")
        self._output = keras.layers.Dense(self.word_width, name="output")
        self._drop = Dropout(dropout)
        self.copying = None
        if continuing is not None:
            self.copying = Copying(vocabulary, continuing, end, name="copying")

    def build(self, memory_width: int):
        """Args: memory_width: int. Width of regions, prompt and summary."""
        unit = self.units
        self.words.build()
        self._start.build((None, memory_width))
        self._language.build((None, None, self.word_width + memory_width))
        self._image.build((None, None, unit), (None, None, memory_width))
        self._prompt.build((None, None, unit), (None, None, memory_width))
        self._fusion.build((None, 2 * unit))
        self._output.build((None, None, 2 * unit))
        self._bias = self.add_weight(
            shape=(self.vocabulary,), initializer="zeros", name="output_bias"
        )
        if self.copying is not None:
            self.copying.build(2 * unit, memory_width, self.word_width)
        self.built = True

    def prepare(
        self,
        summary: tf.Tensor,
        regions: tf.Tensor,
        prompt: tf.Tensor,
        prompt_mask: tf.Tensor,
        regions_mask: tf.Tensor | None = None,
    ) -> Memory:
        """What every step needs of the image and the prompt, computed once.

        Keys and values come back with the first dimensions that regions and prompt have; where
        captions share them, the caller spreads them to B rows.

        Args:
            summary: [B, D]. Both modalities as one vector.
            regions: [N, R, D].
            prompt: [Q, P, D]; Q and P may be 0.
            prompt_mask: bool [Q, P].
            regions_mask: bool [N, R] or None.
        """
        return projected(
            self._image, self._prompt, summary, regions, prompt, prompt_mask, regions_mask
        )

    def initial(self, memory: Memory) -> State:
        """The state before the first token: `cells` [B, 2U], the LSTM's h and c in one tensor, as
        beams are reordered at every step; where prompts are copied, `copied` is a nest of
        [B, S]."""
        state = {"cells": self._start(memory["summary"])}
        if "copied" in memory:
            state["copied"] = self.copying.initial(memory["copied"])
        return state

    def call(self, tokens, memory, lengths=None, training=False):
        """Teacher forcing.

        Args:
            tokens: int32 [B, T]. What has been said, [START] first.
            memory: from `prepare`. Where it has `image_rows`, int32 [B], the captions of an image
                share its keys and values. With `copied` in it (`Copying.prepare`), words of the
                prompt are scored besides.
            lengths: int32 [B] or None. How many of its tokens each caption has; the rest is
                padding, for which nothing is computed. S of them in all.

        Returns:
            (logits, attention): float32 [B, T, V] of the next tokens, and [B, T, R]; with lengths
            [S, V] and [S, R], one caption's tokens after the other's.
        """
        batch, longest = tf.unstack(tf.shape(tokens))
        packing = pack(tf.fill([batch], longest) if lengths is None else lengths)
        h, c = _cells(self.initial(memory)["cells"])
        said = tf.gather_nd(tokens, tf.stack([packing.captions, packing.steps], 1))
        words, places = self._words(said, packing.steps > 0, training)
        summary = tf.cast(memory["summary"], words.dtype)
        heard = self._language.read(words, h, c, packing, places=places, told=summary)
        # From here on the captions stand one after the other again.
        heard = tf.gather(heard, packing.unpacked)
        captions, steps = (
            tf.gather(one, packing.unpacked) for one in (packing.captions, packing.steps)
        )
        answer, weights = self._look_packed(heard, memory, captions, training)
        fused = self._fused(heard, answer)
        logits = self._logits(fused, training=training)
        if "copied" in memory:
            logits = self._copied_packed(logits, fused, tokens, memory, captions, steps)
        if lengths is None:
            logits = tf.reshape(logits, [batch, longest, self.vocabulary])
            weights = tf.reshape(weights, [batch, longest, tf.shape(weights)[-1]])
        return logits, weights

    def step(self, tokens, state, memory):
        """One token for every beam.

        Args:
            tokens: int32 [B, K].
            state: entries [B, K, ...].
            memory: from `prepare`, shared by a row's beams.

        Returns:
            (logits, attention, state): float32 [B, K, V], [B, K, R], entries [B, K, ...].
        """
        h, c = _cells(state["cells"])
        words = tf.cast(tf.gather(self.words.embeddings, tokens), h.dtype)
        known = memory if "told" in memory else self.told(memory)
        heard, c = self._language.step(words, h, c, known["told"])
        # The beams stand where teacher forcing has time: attention can't tell the difference.
        answer, weights = self._look(heard, memory)
        # As one matrix: of three dimensions, TensorFlow's product takes many times as long.
        fused = self._fused(*(tf.reshape(one, [-1, self.units]) for one in (heard, answer)))
        beams = tokens.shape[1] or tf.shape(tokens)[1]
        logits = tf.reshape(
            self._logits(fused, words=known["words"]), [-1, beams, self.vocabulary]
        )
        after = {"cells": tf.concat([heard, c], -1)}
        if "copied" in memory:
            after["copied"] = self.copying.step(tokens, state["copied"], memory["copied"])
            fused = tf.reshape(fused, [-1, beams, 2 * self.units])
            logits += self.copying(fused, after["copied"], memory["copied"])
        return logits, weights, after

    def _words(self, tokens, hideable, training):
        """Tokens and whether they may be hidden, [S] each -> the words among them, each once,
        [N, W], and which of these every token is, [S]. A batch says most of its words many times;
        what is dropped of one is dropped wherever it is said."""
        if training and self.word_dropout:
            hidden = keras.random.uniform(tf.shape(tokens), seed=self._seed) < self.word_dropout
            # The first token starts the caption and is no word.
            tokens = tf.where(hidden & hideable, self.unknown, tokens)
        words, places = tf.unique(tokens)
        return self._drop(self.words(words), training=training), places

    def told(self, memory: Memory) -> Memory:
        """What every `step` uses, for the memory to hold, so that it isn't computed at each:
        `told`, what the LSTM hears of the picture, [B, 1, 4U]; `words`, the table of words lying
        down, [W, V]: of a few rows, TensorFlow's product with one that must be turned takes two
        to six times as long."""
        summary = tf.cast(memory["summary"], self.compute_dtype)
        words = tf.transpose(tf.cast(self.words.embeddings, self.compute_dtype))
        return {"told": self._language.told(summary)[:, None], "words": words}

    def _look(self, heard, memory):
        """[B, K, U] -> what is seen there, [B, K, U], and where in the image, [B, K, R]."""
        image, weights = self._image.attend(heard, memory["image"], memory["image_mask"])
        if 0 in memory["prompt"][0].shape:  # there can be no prompt
            return image, weights
        prompt, _ = self._prompt.attend(heard, memory["prompt"], memory["prompt_mask"])
        # Both answers are of the same width and kind; an empty prompt's is zero.
        return image + prompt, weights

    def _look_packed(self, heard, memory, captions, training):
        """`_look` for tokens of different captions: [S, U], and int32 [S], whose they are, ->
        [S, U] and [S, R]."""

        def attend(attention, name):
            projected, rows = memory[name], memory.get(f"{name}_rows")
            count = tf.shape(projected[0])[0]
            # A memory is looked at by the tokens of all its captions at once.
            groups = group(captions if rows is None else tf.gather(rows, captions), count)
            query = groups.gather(heard)
            found = attention.attend(query, projected, memory[f"{name}_mask"], training=training)
            return groups, *found

        groups, image, weights = attend(self._image, "image")
        answer, weights = groups.scatter(image), groups.scatter(weights)
        if 0 not in memory["prompt"][0].shape:  # there may be prompts
            groups, prompt, _ = attend(self._prompt, "prompt")
            answer += groups.scatter(prompt)
        return answer, weights

    def _fused(self, heard, answer):
        """State and answer, [S, U] each -> what words are made of, [S, 2U]: both as one, and what
        the attention found once more, which so goes straight to the words."""
        return tf.concat([self._fusion(tf.concat([heard, answer], -1)), answer], -1)

    def _logits(self, fused, words=None, training=False):
        """[S, 2U] -> float32 [S, V]; `words` as `told` has them, if it was asked."""
        out = self._output(self._drop(fused, training=training))
        if words is None:
            table = tf.cast(self.words.embeddings, out.dtype)
            logits = tf.matmul(out, table, transpose_b=True)
        else:
            logits = tf.matmul(out, words)
        return tf.cast(logits, tf.float32) + tf.cast(self._bias, tf.float32)

    def _copied_packed(self, logits, fused, tokens, memory, captions, steps):
        """Logits [S, V] of captions one after the other, with the scores of their prompts' words;
        nothing is computed for captions without one."""
        copied = memory["copied"]
        count = tf.shape(copied["pieces"])[0]
        rows = memory.get("prompt_rows", tf.range(tf.shape(tokens)[0]))
        prompts = tf.gather(rows, captions)  # [S]
        places = tf.where(prompts >= 0)
        at = tf.gather_nd(tf.stack([prompts, steps], 1), places)

        def spread(values):  # of those tokens: one row a prompt
            values = tf.gather_nd(values, places)
            shape = tf.concat([[count, tf.shape(tokens)[1]], tf.shape(values)[1:]], 0)
            return tf.scatter_nd(at, values, shape)

        said = spread(tf.gather_nd(tokens, tf.stack([captions, steps], 1)))
        progress = self.copying.progress(said, copied)
        scores = self.copying(spread(fused), progress, copied)
        return tf.tensor_scatter_nd_add(logits, places, tf.gather_nd(scores, at))

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary": self.vocabulary,
            "units": self.units,
            "heads": self.heads,
            "word_width": self.word_width,
            "dropout": self.dropout,
            "word_dropout": self.word_dropout,
            "unknown": self.unknown,
            "continuing": None if self.copying is None else self.copying.continuing,
            "end": self.end,
        }


def _cells(cells):
    """[..., 2U] -> h and c, [..., U] each."""
    return tf.split(cells, 2, axis=-1)


def projected(
    image_attention, prompt_attention, summary, regions, prompt, prompt_mask, regions_mask
) -> Memory:
    """The memory of `Decoder.prepare`, by two `CrossModalAttention`s."""
    return {
        "summary": summary,
        "image": image_attention.project(regions),
        "image_mask": regions_mask,
        "prompt": prompt_attention.project(prompt),
        "prompt_mask": prompt_mask,
    }
