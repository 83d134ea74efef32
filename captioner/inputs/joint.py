"""The batches of several objectives at once: those of captioning, and what comparing takes besides.

Every image of a step is there once for all objectives, and so is every caption, as the text encoder
reads it.

Legend: N images that captions belong to, M of them and wrong ones, B captions, k wrong images of a
caption, P pairs.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from captioner.inputs.pairs import PAIR_SPEC, WrongImages, pair_columns
from captioner.inputs.pipeline import Batch, Batches, Spec
from captioner.inputs.prompt_batches import ReadPrompts, TokenizedPrompts
from captioner.inputs.wordpiece import BERT_INPUTS, READ

CAPTION = "caption_"
"""What the names of columns begin with that are what the text encoder reads of the captions: the
prompts' are without it."""

PAIR = "pair_"
"""What the names of columns begin with that say which images and captions are compared."""

_TEXT = (*BERT_INPUTS, *READ)


class JointBatches(Batches):
    """As `Batches`, with what the text encoder takes of the captions, and with pairs.

    A wrong image that no caption of a replica's share belongs to stands behind the N of `position`:
    `image`, and whatever there is of images beside it, have M rows.

    Args:
        *given: as `Batches` takes it.
        texts: the captions as the text encoder is to read them.
        read: what the text encoder takes of these, or gives of them; None for neither.
        wrong: draws wrong images; None for no pairs.
        **options: as `Batches` takes them.
    """

    def __init__(
        self,
        *given,
        texts: Sequence[str],
        read: TokenizedPrompts | ReadPrompts | None = None,
        wrong: WrongImages | None = None,
        **options,
    ):
        super().__init__(*given, positions=True, **options)
        self._texts = texts
        self._read = read
        self._wrong = wrong

    def _step(self, groups: list[np.ndarray], rng: np.random.Generator) -> list[Batch]:
        parts = super()._step(groups, rng)
        captions = np.concatenate(groups)
        ends = np.cumsum([len(part["tokens"]) for part in parts])[:-1]
        if self._read is not None:
            for part, share in zip(parts, np.split(captions, ends), strict=True):
                read = self._read([self._texts[one] for one in share])
                part |= {CAPTION + name: read[name] for name in _TEXT if name in read}
        if self._wrong is not None:
            self._pair(parts, self._wrong(captions, rng), ends, rng)
        return parts

    def _pair(
        self, parts: list[Batch], wrong: np.ndarray, ends: np.ndarray, rng: np.random.Generator
    ) -> None:
        """Adds the pairs to each replica's share, and the images of them that it doesn't have.

        A wrong image that the step shows is the one that it shows first, whatever replica that is
        on; the others are drawn for the whole step.
        """
        shown = np.concatenate([part["position"] for part in parts])
        more = np.setdiff1d(wrong[wrong >= 0], shown)
        table = {
            name: np.concatenate([part[name] for part in parts]) for name in self._images.spec
        }
        if len(more):
            drawn = self._images(more, rng)
            table = {name: np.concatenate([one, drawn[name]]) for name, one in table.items()}
        known, first = np.unique(np.concatenate([shown, more]), return_index=True)
        rows = np.where(wrong >= 0, first[np.searchsorted(known, wrong) % len(known)], -1)
        begin = 0
        for part, theirs in zip(parts, np.split(rows, ends), strict=True):
            end = begin + len(part["position"])
            pairs = np.concatenate([begin + part["image_rows"][:, None], theirs], axis=1)
            mine = np.arange(begin, end)
            local = np.concatenate([mine, np.setdiff1d(pairs[pairs >= 0], mine)])
            part |= {name: column[local] for name, column in table.items()}
            place = np.full(len(shown) + len(more), -1)
            place[local] = np.arange(len(local))
            columns = pair_columns(np.where(pairs >= 0, place[pairs], -1))
            part |= {PAIR + name: column for name, column in columns.items()}
            begin = end

    def signature(self) -> Spec:
        """The type of a replica's batch, for tf.data."""
        spec: dict[str, tf.TensorSpec] = super().signature()
        if self._read is not None:
            spec |= {CAPTION + n: one for n, one in self._read.spec.items() if n in _TEXT}
        if self._wrong is not None:
            spec |= {PAIR + name: one for name, one in PAIR_SPEC.items()}
        return spec
