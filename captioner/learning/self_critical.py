"""Self-critical training: captions that the model draws are pushed by what they score.

Rennie et al. (2017), https://arxiv.org/abs/1612.00563: captions are drawn as the model says them,
and those that score better than a baseline are made more probable, the others less. The baseline
is what the image's other draws score on average (Luo, 2020, https://arxiv.org/abs/2003.09971), or,
as first published, the greedy caption.

What is drawn from has training's dropout. Without it the model says nearly what it learned by
heart of a few hundred photographs, and there is nothing to learn from; with it, it sees every
training image about as badly as one that it has never seen.

Legend: N images, K draws, T tokens, V vocabulary.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from captioner.config import Decode
from captioner.decoding.captions import search
from captioner.inputs.text import START, CaptionTokenizer
from captioner.learning.objectives import Losses, cross_entropy, forced

Reward = Callable[[np.ndarray, np.ndarray], np.ndarray]


class SelfCritical:
    """An objective for batches that say which images they show (`Batches(positions=True)`).

    A batch's own captions are not used, but through the reward.

    Args:
        tokenizer: of the captions.
        reward: function (texts, bytes [N, K]; positions int32 [N]) -> float32 [N, K].
        samples: int. K.
        baseline: str. "others" or "greedy".
        max_tokens: int. T.

    Raises:
        ValueError: a single draw, which leaves no others to compare it with.
    """

    def __init__(
        self,
        tokenizer: CaptionTokenizer,
        reward: Reward,
        samples: int = 5,
        baseline: str = "others",
        max_tokens: int = 24,
    ):
        if baseline == "others" and samples < 2:
            raise ValueError("a draw is compared with the others: draw two or more")
        self.reward = reward
        self._tokenizer = tokenizer
        self._samples = samples
        self._baseline = baseline
        # As the model says them: no rule, no score but its own. Nor is anything near (`_say`).
        plain = {"max_tokens": max_tokens, "beams": 1, "no_repeat": 0, "length_penalty": 0.0}
        self._draw = Decode(search="sample", **plain)
        self._greedy = Decode(**plain)

    def __call__(self, model, batch, *, smoothing: float = 0.0, training: bool = True) -> Losses:
        """REINFORCE; `nats` is the draws' cross-entropy. Smoothing isn't used."""
        position, draw = batch["position"], batch["draw"]
        rows = tf.repeat(tf.range(tf.shape(position)[0]), self._samples)
        given = {"sentences": batch.get("sentences")}
        memory = model.encode(batch["image"], image_rows=rows, training=training, **given)
        number = tf.math.floormod(tf.range(tf.shape(rows)[0]), self._samples)
        requests = [tf.strings.as_string(one) for one in (tf.gather(draw, rows), number)]
        tokens, texts = self._say(model, memory, self._draw, requests)
        rewards = self._rewards(tf.reshape(texts, [-1, self._samples]), position)
        if self._baseline == "greedy":
            # As it would be served: without dropout.
            _, texts = self._say(model, model.encode(batch["image"], **given), self._greedy)
            advantages = rewards - self._rewards(texts[:, None], position)
        else:
            advantages = above_others(rewards)

        inputs = tf.concat([tf.fill([tf.shape(rows)[0], 1], START), tokens[:, :-1]], 1)

        def decoded(lengths):
            return model.decoder(inputs, memory, lengths=lengths, training=training)[0]

        logits, said, captions = forced(decoded, tokens)
        _, nats = cross_entropy(logits, said)
        loss = tf.reduce_sum(nats * tf.gather(tf.reshape(advantages, [-1]), captions))
        count, examples = (tf.cast(tf.shape(one)[0], tf.float32) for one in (nats, tokens))
        return Losses(loss, count, tf.reduce_sum(nats), examples)

    def _say(self, model, memory, decode, requests=()):
        """One caption a row: tokens int32 [B, T] and texts string [B]."""
        memory = {name: one for name, one in memory.items() if name != "near"}
        found = search(model, memory, decode, tokenizer=self._tokenizer, requests=requests)
        tokens = tf.stop_gradient(tf.squeeze(found.tokens, 1))
        return tokens, self._tokenizer.decode(tokens)

    def _rewards(self, texts, positions):
        rewards = tf.numpy_function(self.reward, [texts, positions], tf.float32, stateful=False)
        return tf.stop_gradient(tf.ensure_shape(rewards, texts.shape))


def above_others(rewards: tf.Tensor) -> tf.Tensor:
    """By how much each draw's reward [N, K] exceeds the mean of the others'."""
    others = tf.cast(tf.shape(rewards)[1] - 1, rewards.dtype)
    mean = (tf.reduce_sum(rewards, 1, keepdims=True) - rewards) / others
    return rewards - mean
