"""Self-critical training: the captions that the search finds are pushed by what they score.

Rennie et al. (2017), https://arxiv.org/abs/1612.00563, with the candidates and baseline of
Cornia et al. (2020), https://arxiv.org/abs/1912.08226, section 3.3: the candidates are the K beams
of the search that also serves, and the baseline of each is what the others score on average. Beams
of a model that was trained with smoothing are far better captions than samples of it, so that what
is learned is to rank good captions, not to avoid bad ones.

Legend: N images, K candidates, T tokens, V vocabulary.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from captioner.config import Decode
from captioner.decoding.captions import search
from captioner.errors import CaptionerError
from captioner.inputs.text import START, CaptionTokenizer
from captioner.learning.objectives import Losses, forced
from captioner.metrics.cider import Cider
from captioner.metrics.tokenizer import tokenize


class SelfCritical:
    """An objective for batches that say which images they show (`Batches(positions=True)`).

    The reward is CIDEr-D against an image's own captions, with the document frequencies of all the
    training captions. A batch's own captions are not used otherwise.

    Args:
        tokenizer: of the captions.
        references: the training images' captions, by position.
        decode: the search; `beams` are the candidates of an image, at least two.

    Raises:
        CaptionerError: one beam, which leaves nothing to compare a caption with.
    """

    def __init__(
        self, tokenizer: CaptionTokenizer, references: Sequence[Sequence[str]], decode: Decode
    ):
        if decode.beams < 2:
            raise CaptionerError(
                "train.reward_epochs compares an image's candidates with each other: set "
                "decode.beams to 2 or more"
            )
        if decode.search != "beam":
            raise CaptionerError("train.reward_epochs compares beams: set decode.search=beam")
        self._tokenizer = tokenizer
        self._decode = decode
        self._cider = Cider(
            {str(at): [tokenize(text) for text in texts] for at, texts in enumerate(references)}
        )

    def __call__(self, model, batch, *, smoothing: float = 0.0, training: bool = True) -> Losses:
        """REINFORCE over the candidates; `nats` is their cross-entropy. Smoothing isn't used."""
        images = batch["image"]
        # The search sees no dropout, as in serving; what is learned from does.
        sentences = batch.get("sentences")
        memory = model.encode(images, sentences=sentences)
        memory.pop("near", None)  # the images' own captions would be among them
        found = search(model, memory, self._decode, tokenizer=self._tokenizer)
        texts = self._tokenizer.decode(found.tokens)
        rewards = tf.numpy_function(
            self.rewards, [texts, batch["position"]], tf.float32, stateful=False
        )
        advantages = tf.stop_gradient(advantage(tf.ensure_shape(rewards, texts.shape)))

        beams = self._decode.beams
        tokens = tf.reshape(found.tokens, [-1, self._decode.max_tokens])
        count = tf.shape(tokens)[0]
        inputs = {
            "image": images,
            "image_rows": tf.repeat(tf.range(tf.shape(images)[0]), beams),
            "tokens": tf.concat([tf.fill([count, 1], START), tokens[:, :-1]], 1),
            "sentences": sentences,
        }
        _, nats, captions = forced(model, inputs, tokens, training=training)
        loss = tf.reduce_sum(nats * tf.gather(tf.reshape(advantages, [-1]), captions))
        said, examples = (tf.cast(tf.shape(one)[0], tf.float32) for one in (nats, tokens))
        return Losses(loss, said, tf.reduce_sum(nats), examples)

    def rewards(self, texts: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """CIDEr-D of candidates, bytes [N, K], of the images at `positions` [N]: float32 [N, K]."""
        pairs = (
            (str(position), text.decode("utf-8", "replace").split())
            for position, row in zip(positions, texts, strict=True)
            for text in row
        )
        return self._cider.score(pairs).astype(np.float32).reshape(texts.shape)


def advantage(rewards: tf.Tensor) -> tf.Tensor:
    """How much each candidate's reward [N, K] exceeds the mean of the others'."""
    others = tf.cast(tf.shape(rewards)[1] - 1, rewards.dtype)
    mean = (tf.reduce_sum(rewards, 1, keepdims=True) - rewards) / others
    return rewards - mean
