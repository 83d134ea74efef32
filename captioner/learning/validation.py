"""Validation by real decoding: what training keeps the best weights by."""

from collections.abc import Sequence, Set
from functools import partial

import numpy as np
import tensorflow as tf

from captioner.config import Settings
from captioner.decoding.captions import search
from captioner.drawing import attention_figure, figure_pixels, open_image
from captioner.inputs.pipeline import CachedImages, ReadImages
from captioner.inputs.records import Record
from captioner.metrics import Scorer
from captioner.models.build import Built

_BATCH = 64

# Images in TensorBoard's pictures.
_SAMPLES = 2


class Validation:
    """Captions the dev images with the weights as they are, and scores that.

    Args:
        settings: the run's.
        built: the model being trained.
        records: the dev images.
        images: gives them by position, as pixels where the image encoder is trained too.
        skip: set of int. Positions of those that can't be read.
    """

    curves = ("CIDEr", "BLEU_4", "ROUGE_L")
    """The scores to draw."""

    def __init__(
        self,
        settings: Settings,
        built: Built,
        records: Sequence[Record],
        images: CachedImages | ReadImages,
        skip: Set[int] = frozenset(),
    ):
        kept = [row for row in range(len(records)) if row not in skip]
        self._rows = np.array(kept)
        self._records = [records[row] for row in kept]
        self._images = images
        self._scorer = Scorer({record.id: record.captions for record in self._records})
        self._tokenizer = built.tokenizer
        self._grid = (built.model.image_encoder.rows, built.model.image_encoder.columns)

        def caption(images, attention):
            found = search(
                built.model,
                built.model.encode(images),
                settings.decode,
                attention=attention,
                tokenizer=built.tokenizer,
            )
            tokens = found.tokens[:, 0]
            maps = found.trace[:, 0] if attention else None
            return built.tokenizer.decode(tokens), tokens, maps

        signature = [images.spec["image"]]
        self._caption, self._explain = (
            tf.function(
                partial(caption, attention=attention), input_signature=signature, autograph=False
            )
            for attention in (False, True)
        )

    def _pictures(self, rows: np.ndarray):
        """Images by position; dev images have one view, so the generator decides nothing."""
        return self._images(rows, np.random.default_rng(0))["image"]

    def captions(self) -> dict[str, str]:
        """A caption for each image, by id, with the model's weights as they are."""
        found: dict[str, str] = {}
        for start in range(0, len(self._rows), _BATCH):
            rows = self._rows[start : start + _BATCH]
            texts, *_ = self._caption(self._pictures(rows))
            found |= {
                self._records[start + i].id: text.decode() for i, text in enumerate(texts.numpy())
            }
        return found

    def scores(self) -> dict[str, float]:
        """CIDEr, which training keeps the best of, and the other scores that need no Java."""
        scores = self._scorer.score(self.captions(), java=False)
        return {name: scores[name] for name in ("CIDEr", "BLEU_4", "ROUGE_L", "BLEU_1")}

    def samples(self) -> np.ndarray:
        """A picture of a few images, their captions, and where the model looked."""
        rows = self._rows[:_SAMPLES]
        texts, tokens, maps = self._explain(self._pictures(rows))
        pieces = self._tokenizer.pieces(tokens).numpy()
        panels = []
        for i in range(len(rows)):
            image = open_image(self._records[i].image.read_bytes())
            words = [piece.decode() for piece in pieces[i]]
            grid = maps[i].numpy().reshape(-1, *self._grid)
            figure = attention_figure(image, texts[i].numpy().decode(), words, grid)
            panels.append(figure_pixels(figure))
        width = max(panel.shape[1] for panel in panels)
        padded = [
            np.pad(panel, ((0, 0), (0, width - panel.shape[1]), (0, 0)), constant_values=255)
            for panel in panels
        ]
        return np.concatenate(padded)
