"""The model: encoders, cross-modal attention and a decoder.

Legend: N images, B captions, R regions, D encoder width, Q prompts that aren't empty, P prompt
tokens, T caption tokens, K beams, U units, V vocabulary, E sentence embedding's width,
S tokens of all captions together.
"""

import keras
import tensorflow as tf

from captioner.inputs.prompt_pieces import COPIED
from captioner.models.attention import CrossModalAttention
from captioner.models.decoder import Decoder, Memory, State
from captioner.models.dropout import Dropout
from captioner.models.encoders import ImageEncoder, TextEncoder
from captioner.models.neighbours import Neighbours
from captioner.models.rows import by_rows
from captioner.models.sentences import SentenceHead, mean_embedding


class Captioner(keras.Model):
    """Describes images, guided by prompts.

    An empty prompt contributes exactly nothing, so it never costs a pass through the text encoder
    and means the same as no prompt.

    Args:
        image_encoder: `ImageEncoder`.
        text_encoder: `TextEncoder`, or None for a captioner without prompts.
        decoder: `Decoder`, or what takes its place (`AnswerHead`), which then says what of `call`,
            `initial` and `step` there is.
        dropout: float. Dropout on the image encoder's features and on the projected regions.
        sentence_head: `SentenceHead`, or None: what sentence would describe the image, as the
            text encoder embeds it. The decoder hears it beside the regions' mean.
        places: float. How large the vectors of the regions' places begin, beside what is seen
            there, which is normalised to 1.
    """

    def __init__(
        self,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder | None,
        decoder: Decoder,
        dropout: float = 0.0,
        sentence_head: SentenceHead | None = None,
        places: float = 0.02,
        **kwargs,
    ):
        super().__init__(**kwargs)
        units, heads = decoder.units, decoder.heads
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.decoder = decoder
        self.units = units
        self.region_projection = keras.layers.Dense(units, name="region_projection")
        self.region_place = keras.layers.Embedding(
            image_encoder.regions,
            units,
            keras.initializers.RandomNormal(stddev=places),
            name="region_place",
        )
        self.region_norm = keras.layers.LayerNormalization(name="region_norm")
        self.feature_dropout = Dropout(dropout)
        self.sentence_head = sentence_head
        self.neighbours: Neighbours | None = None
        """Captions for the search to go by, once there are any. Teacher forcing makes no use of
        them: those of training would know the answer."""
        if sentence_head is not None:
            self.sentence_projection = keras.layers.Dense(units, name="sentence_projection")
        if text_encoder is not None:
            self.prompt_projection = keras.layers.Dense(units, name="prompt_projection")
            self.pooled_projection = keras.layers.Dense(units, name="pooled_projection")
            self.grounding = CrossModalAttention(units, heads, name="grounding")
            self.prompt_norm = keras.layers.LayerNormalization(name="prompt_norm")
        self._build_parts()

    def _build_parts(self) -> None:
        """Every width is known, so every variable is made here and not by a first call."""
        wide = (None, None, self.units)
        self.region_projection.build((None, None, self.image_encoder.width))
        self.region_place.build()
        self.region_norm.build(wide)
        if self.sentence_head is not None:
            self.sentence_projection.build((None, self.sentence_head.width))
        if self.text_encoder is not None:
            self.prompt_projection.build((None, None, self.text_encoder.width))
            self.pooled_projection.build((None, self.text_encoder.width))
            self.grounding.build(wide, wide)
            self.prompt_norm.build(wide)
        self.decoder.build(self.units)
        self.built = True

    def encode(
        self,
        images,
        prompts=None,
        *,
        image_rows=None,
        prompt_rows=None,
        sentences=None,
        spread=True,
        training=False,
    ) -> Memory:
        """Encodes images and prompts for the decoder.

        Args:
            images: uint8 [N, H, W, 3] pixels, or float [N, R, D], the image encoder's output, or
                [N, r, d], that of its `begin`; None for captions without images.
            prompts: the text encoder's inputs, int32 [Q, P] each, or None for no prompts. For a
                decoder that copies, all that `PromptTokenizer` gives.
            image_rows: int32 [B]. Which image each caption belongs to; None: N = B, in order.
                Needed without images, where N = B too.
            prompt_rows: int32 [B]. Which prompt, -1 for the empty one; a prompt belongs to one
                caption. None: Q = B, in order.
            sentences: float [N, E]. Embeddings to hear instead of the sentence head's own: those
                that training fitted without the image, or of captions without images.
            spread: bool. Whether each caption has its image's and its prompt's keys and values to
                itself, as `step` needs them. Otherwise `image_rows` and `prompt_rows` in the memory
                say whose they are, which is enough for the decoder's `call`.
        """
        regions, regions_mask, summary, features = self._look(images, image_rows, training)
        if self.sentence_head is not None and (sentences is not None or features is not None):
            if sentences is None:
                sentences = self.sentence_head(features)
            summary += self.sentence_projection(tf.cast(sentences, summary.dtype))
        rows = tf.range(tf.shape(regions)[0]) if image_rows is None else image_rows
        summary = tf.gather(summary, rows)  # [B, U]

        if self.text_encoder is None or prompts is None:
            prompt = tf.zeros([0, 0, self.units], summary.dtype)
            prompt_mask = tf.zeros([0, 0], tf.bool)
            prompt_rows = tf.fill([tf.shape(rows)[0]], -1)
        else:
            if prompt_rows is None:
                prompt_rows = tf.range(tf.shape(rows)[0])
            prompt, prompt_mask, pooled, meant = self._prompts(
                prompts, prompt_rows, regions, regions_mask, rows, training
            )
            summary += _take(pooled, prompt_rows)

        memory = self.decoder.prepare(summary, regions, prompt, prompt_mask, regions_mask)
        if self.decoder.copying is not None and prompts is not None:
            words = self.decoder.words.embeddings
            pieces = (prompts[name] for name in COPIED)
            memory["copied"] = self.decoder.copying.prepare(*pieces, prompt, words)
        # Keys and values were made once per image and prompt; captions share an image's.
        if not spread:
            return memory | {"image_rows": rows, "prompt_rows": prompt_rows}
        memory |= self.decoder.told(memory)
        memory["prompt"] = tuple(_take(one, prompt_rows) for one in memory["prompt"])
        memory["prompt_mask"] = _take(prompt_mask, prompt_rows)
        if "copied" in memory:
            copied = memory["copied"].items()
            memory["copied"] = {name: _take(one, prompt_rows) for name, one in copied}
        if self.neighbours is not None and sentences is not None and not training:
            about = tf.gather(tf.cast(sentences, tf.float32), rows)
            prompted = self.decoder.copying is not None and prompts is not None
            if prompted:
                about += _take(meant, prompt_rows)  # near to what the prompt says, as well
            memory["near"] = self.neighbours(about, whole=prompted)
        if image_rows is not None:
            memory["image"] = tuple(tf.gather(one, rows) for one in memory["image"])
            if regions_mask is not None:
                memory["image_mask"] = tf.gather(regions_mask, rows)
        return memory

    def _look(self, images, image_rows, training):
        """-> regions [N, R, U], their mask or None, their mean [N, U], features [N, R, D]."""
        if images is None:  # one region that nobody may look at
            regions = tf.zeros([tf.shape(image_rows)[0], 1, self.units], self.compute_dtype)
            return regions, tf.zeros_like(regions[..., 0], tf.bool), regions[:, 0], None
        features = self.image_encoder(images)
        regions = self._regions(tf.cast(features, self.compute_dtype), training)
        return regions, None, tf.reduce_mean(regions, axis=1), features

    def _regions(self, features, training):
        features = self.feature_dropout(features, training=training)
        seen = self.region_norm(by_rows(self.region_projection, features))
        places = tf.cast(self.region_place.embeddings, seen.dtype)
        return self.feature_dropout(seen + places, training=training)

    def _prompts(self, prompts, prompt_rows, regions, regions_mask, rows, training):
        """Grounded prompts [Q, P, U], their mask [Q, P], pooled [Q, U], and what they mean, as
        sentences are embedded [Q, S]."""
        sequence, pooled = self.text_encoder(prompts, training=training)
        meant = mean_embedding(sequence, prompts["input_mask"])
        sequence, pooled = (tf.cast(one, self.compute_dtype) for one in (sequence, pooled))
        sequence, pooled = self.prompt_projection(sequence), self.pooled_projection(pooled)
        # The image each prompt belongs to; prompts of empty rows belong to none, and any will do.
        count = tf.shape(sequence)[0]
        given = prompt_rows >= 0
        image = tf.scatter_nd(
            tf.boolean_mask(prompt_rows, given)[:, None], tf.boolean_mask(rows, given), [count]
        )
        # The words of the prompt look at the picture: query the text, key and value the regions.
        # Of images that nobody asks about there are no keys and values.
        asked, asks = tf.unique(image)
        projected = self.grounding.project(tf.gather(regions, asked))
        projected = tuple(tf.gather(one, asks) for one in projected)
        seen_mask = None if regions_mask is None else tf.gather(regions_mask, image)
        seen, _ = self.grounding.attend(sequence, projected, seen_mask, training=training)
        mask = tf.cast(prompts["input_mask"], tf.bool)
        return self.prompt_norm(sequence + seen), mask, pooled, meant

    def call(self, inputs, training=False):
        """Teacher forcing: {tokens} and, if wanted, {image, prompt, image_rows, prompt_rows,
        sentences} as `encode` has them -> (logits [B, T, V], attention [B, T, R]).

        With {lengths}, int32 [B], too, only the tokens that each caption has, and no padding:
        (logits [S, V], attention [S, R]), one caption after the other."""
        memory = self.encode(
            inputs.get("image"),
            inputs.get("prompt"),
            image_rows=inputs.get("image_rows"),
            prompt_rows=inputs.get("prompt_rows"),
            sentences=inputs.get("sentences"),
            spread=False,
            training=training,
        )
        return self.decoder(
            inputs["tokens"], memory, lengths=inputs.get("lengths"), training=training
        )

    def initial(self, memory: Memory, beams: int) -> State:
        """The search's first state: entries [B, K, ...], and attention [B, K, R]."""
        state = tf.nest.map_structure(
            lambda one: tf.tile(one[:, None], [1, beams] + [1] * (len(one.shape) - 1)),
            self.decoder.initial(memory),
        )
        batch = tf.shape(memory["summary"])[0]
        state["attention"] = tf.zeros([batch, beams, self.image_encoder.regions])
        return state

    def step(self, tokens, state: State, memory: Memory):
        """tokens int32 [B, K] -> (log_probs float32 [B, K, V], state)."""
        logits, attention, state = self.decoder.step(tokens, state, memory)
        return tf.nn.log_softmax(logits), {**state, "attention": attention}


def _take(table, rows):
    """table[rows] [B, ...] of a [Q, ...], zeros where a row is -1."""
    padded = tf.pad(table, [[0, 1]] + [[0, 0]] * (len(table.shape) - 1))
    return tf.gather(padded, tf.where(rows >= 0, rows, tf.shape(table)[0]))
