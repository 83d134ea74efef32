"""Validation by captions that have prompts: what training with a data set's own prompts keeps the
best weights by.

Legend: N images, B prompts.
"""

from collections.abc import Callable, Sequence, Set

import numpy as np
import tensorflow as tf

from captioner.config import Settings
from captioner.decoding.captions import search
from captioner.inputs.pipeline import CachedImages, ReadImages
from captioner.inputs.questions import Asked
from captioner.models.build import Built

# Images at once; each has a few prompts.
_BATCH = 32

Answer = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
Score = Callable[[Sequence[Asked], Sequence[str]], dict[str, float]]


def answer_by_search(settings: Settings, built: Built) -> Answer:
    """(images, image_rows int32 [B], prompts string [B]) -> captions string [B]."""

    def answer(images, image_rows, prompts):
        inputs = built.prompt_tokenizer(prompts)
        memory = built.model.encode(images, inputs, image_rows=image_rows)
        found = search(built.model, memory, settings.decode, tokenizer=built.tokenizer)
        return built.tokenizer.decode(found.tokens[:, 0])

    return answer


class PromptedValidation:
    """Captions the dev images with their prompts and the weights as they are, and scores that.

    Args:
        answer: gives the captions, as `answer_by_search` makes one.
        score: (what was asked, what was said) -> scores, the first of which is what counts.
        curves: the scores to draw.
        asked: what to ask of each of the dev images.
        images: gives them by position.
        skip: set of int. Positions of those that can't be read.
    """

    samples = None

    def __init__(
        self,
        answer: Answer,
        score: Score,
        curves: Sequence[str],
        asked: Sequence[Sequence[Asked]],
        images: CachedImages | ReadImages,
        skip: Set[int] = frozenset(),
    ):
        self._images = images
        self._score = score
        self.curves = curves
        self._asked = {
            row: rows for row, rows in enumerate(asked) if rows and row not in skip
        }
        signature = [
            images.spec["image"], tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.string)
        ]  # fmt: skip
        self._answer = tf.function(answer, input_signature=signature, autograph=False)

    def scores(self) -> dict[str, float]:
        """The scores, with the model's weights as they are; none where nothing is asked."""
        rows = list(self._asked)
        asked: list[Asked] = []
        said: list[str] = []
        for start in range(0, len(rows), _BATCH):
            part = np.array(rows[start : start + _BATCH])
            chunk = [(at, one) for at, row in enumerate(part) for one in self._asked[row]]
            # Dev images have one view, so the generator decides nothing.
            answers = self._answer(
                self._images(part, np.random.default_rng(0))["image"],
                tf.constant([at for at, _ in chunk], tf.int32),
                tf.constant([one.text for _, one in chunk]),
            )
            asked += [one for _, one in chunk]
            said += [answer.decode() for answer in answers.numpy()]
        return self._score(asked, said) if asked else {}
