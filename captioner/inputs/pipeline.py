"""Examples as the training step takes them.

A step's batch holds N images and the B captions that belong to them, so that an image is encoded
and projected once for all its captions. The order of an epoch is drawn from (seed, epoch): a
resumed run skips to its step and goes on as if nothing had happened, and a checkpoint holds no
iterator.

Legend: N images, B captions, T tokens, Q prompts that aren't empty, P prompt pieces, V views,
R regions, D encoder width, S sentence embedding's width.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from captioner.errors import CaptionerError
from captioner.inputs import prompts as drawing
from captioner.inputs.augment import augment, sided
from captioner.inputs.features import FeatureCache, decode_files
from captioner.inputs.prompt_batches import ReadPrompts, TokenizedPrompts
from captioner.inputs.records import Record
from captioner.inputs.text import CaptionTokenizer, normalised
from captioner.inputs.wordpiece import BertTokenizer

Batch = dict[str, np.ndarray]
Spec = dict[str, tf.TensorSpec]

TEACHER = "teacher_"
"""What the names of columns begin with that are for a teacher alone (`learning.distillation`)."""

_SENTENCES = {"sentences": tf.TensorSpec([None, None], tf.float32)}


class CachedImages:
    """Images as cached features, each epoch in a view that is drawn.

    Args:
        cache: the features.
        sentences: float32 [N, V, S] or None. What the decoder is told of each view, where that is
            not for the model to find.
        teacher: the same images in the same views as a teacher sees them, or None.
    """

    def __init__(
        self,
        cache: FeatureCache,
        sentences: np.ndarray | None = None,
        teacher: "CachedImages | None" = None,
    ):
        self.cache = cache
        self._sentences = sentences
        self.teacher = teacher

    def with_teacher(self, teacher: "CachedImages") -> "CachedImages":
        """The same images, which a teacher sees like this."""
        return CachedImages(self.cache, self._sentences, teacher)

    @property
    def spec(self) -> Spec:
        """The type of what a call gives."""
        spec = {"image": tf.TensorSpec([None, None, None], tf.float16)}
        spec |= {} if self._sentences is None else _SENTENCES
        shown = {} if self.teacher is None else self.teacher.spec
        return spec | {TEACHER + name: one for name, one in shown.items()}

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> Batch:
        """The images of these positions: columns with a row each."""
        return self.at(images, rng.integers(self.cache.views, size=len(images)))

    def at(self, images: np.ndarray, views: np.ndarray) -> Batch:
        """The same in these views."""
        columns = {"image": self.cache.rows(images, views)}
        if self._sentences is not None:
            columns["sentences"] = self._sentences[images, views]
        shown = {} if self.teacher is None else self.teacher.at(images, views)
        return columns | {TEACHER + name: one for name, one in shown.items()}


class ReadImages:
    """Images read from their files each time, augmented if wanted."""

    spec: Spec = {"image": tf.TensorSpec([None, None, None, 3], tf.uint8)}

    def __init__(self, records: Sequence[Record], side: int, augmented: bool):
        self._paths = [record.image for record in records]
        self._flip = [not sided(record) for record in records]
        self._side = side
        self._augmented = augmented

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> Batch:
        pixels, errors = decode_files([self._paths[i] for i in images], self._side)
        if any(errors):
            # All were read once before training began, so this file has changed since.
            at = next(i for i, error in enumerate(errors) if error)
            raise CaptionerError(f"{self._paths[images[at]]}: {errors[at]} (changed since start?)")
        if self._augmented:
            flip = [self._flip[i] for i in images]
            pixels = augment(pixels, flip, seed=int(rng.integers(2**31)))
        return {"image": pixels.numpy()}


class NoImages:
    """Captions without images, of which the decoder may be told what they are about.

    Args:
        sentences: function (positions [B], rng) -> float32 [B, S], or None to tell nothing.
    """

    def __init__(self, sentences: Callable[..., np.ndarray] | None = None):
        self._sentences = sentences

    @property
    def spec(self) -> Spec:
        """The type of what a call gives."""
        return {} if self._sentences is None else _SENTENCES

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> Batch:
        return {} if self._sentences is None else {"sentences": self._sentences(images, rng)}


@dataclass(frozen=True)
class Examples:
    """Captions to train on: parallel columns, one entry a caption."""

    image: np.ndarray
    """int64 [captions]: position of the image."""

    tokens: np.ndarray
    """int32 [captions, T + 1]: [START], tokens, [END], padding."""

    texts: list[str]
    """Normalised captions."""

    prompts: list[str] | None
    """The data set's own prompts, or None where they are drawn."""

    def __len__(self) -> int:
        return len(self.texts)


def examples(
    records: Sequence[Record], tokenizer: CaptionTokenizer, max_tokens: int, skip: set[int]
) -> Examples:
    """The captions of all records but those at the positions in `skip`."""
    kept = [record for i, record in enumerate(records) if i not in skip]
    captions = [caption for record in kept for caption in record.captions]
    prompts = None
    if any(record.prompts for record in kept):
        prompts = [
            prompt
            for record in kept
            for prompt in (record.prompts or ("",) * len(record.captions))
        ]
    places = np.setdiff1d(np.arange(len(records)), list(skip))
    return Examples(
        image=np.repeat(places, [len(record.captions) for record in kept]),
        tokens=tokenizer.encode(captions, max_tokens),
        texts=normalised(captions),
        prompts=prompts,
    )


def text_examples(
    captions: Sequence[str], tokenizer: CaptionTokenizer, max_tokens: int
) -> Examples:
    """Captions without images; each counts as an image of its own that shows nothing."""
    return Examples(
        image=np.arange(len(captions), dtype=np.int64),
        tokens=tokenizer.encode(captions, max_tokens),
        texts=normalised(captions),
        prompts=None,
    )


class Batches:
    """The batches of each epoch.

    Args:
        data: The captions.
        images: Gives the images of positions: a `CachedImages`, `ReadImages` or `NoImages`.
        batch_size: Captions of a step, over all replicas; met on average, since an image's
            captions stay together.
        captions_per_image: The most captions of one image in a step.
        replicas: Each step is divided among so many.
        prompt_share: Share of captions that are given a drawn prompt.
        prompt_tokenizer: Prompts to encoder inputs, or None for a model without prompts; or
            prompts that the encoder has read.
        positions: Whether batches say which images they show, `position` int32 [N], and have a
            number for each to draw by, `draw` int32 [N].
        seed: Of the order, the views and the prompts.
    """

    def __init__(
        self,
        data: Examples,
        images: CachedImages | ReadImages | NoImages,
        *,
        batch_size: int,
        captions_per_image: int,
        replicas: int = 1,
        prompt_share: float = 0.0,
        prompt_tokenizer: BertTokenizer | ReadPrompts | None = None,
        positions: bool = False,
        seed: int = 0,
    ):
        self.data = data
        self._positions = positions
        self._images = images
        self._replicas = replicas
        self._share = prompt_share
        self._seed = seed
        if isinstance(prompt_tokenizer, BertTokenizer):
            prompt_tokenizer = TokenizedPrompts(prompt_tokenizer)
        self._prompts: TokenizedPrompts | ReadPrompts | None = prompt_tokenizer
        self._ends = _group_ends(data.image, captions_per_image)
        groups = len(self._ends)
        # A step takes whole groups: as many as hold batch_size captions on average.
        self._groups = max(1, round(batch_size * groups / max(1, len(data))))
        if self._groups < replicas:
            raise CaptionerError(
                f"train.batch_size={batch_size} gives {self._groups} image(s) a step, fewer than "
                f"the {replicas} replicas: raise it or lower train.captions_per_image"
            )
        self.steps = -(-groups // self._groups)
        """Steps of an epoch."""

    def _order(self, epoch: int) -> Callable[[int, int], list[np.ndarray]]:
        """The epoch's groups, from one up to another: captions of one image that a step takes
        together."""
        rng = np.random.default_rng([self._seed, epoch, 0])
        # Image by image, and an image's captions in a drawn order; of a million of them, a few
        # arrays and not a million.
        captions = np.lexsort([rng.random(len(self.data), np.float32), self.data.image])
        captions = captions.astype(np.int32)
        drawn = rng.permutation(len(self._ends)).astype(np.int32)

        def groups(first: int, last: int) -> list[np.ndarray]:
            starts = (int(self._ends[one - 1]) if one else 0 for one in drawn[first:last])
            ends = self._ends[drawn[first:last]]
            return [captions[start:end] for start, end in zip(starts, ends, strict=True)]

        return groups

    def epoch(self, epoch: int, first: int = 0) -> Iterator[list[Batch]]:
        """Steps `first`, … of an epoch, each as one batch per replica (the last ones of an uneven
        step may be smaller or hold no caption)."""
        groups = self._order(epoch)
        for step in range(first, self.steps):
            taken = groups(step * self._groups, (step + 1) * self._groups)
            yield self._step(taken, np.random.default_rng([self._seed, epoch, 1, step]))

    def _step(self, groups: list[np.ndarray], rng: np.random.Generator) -> list[Batch]:
        """A step's batch, divided among the replicas."""
        captions = np.concatenate(groups)
        # Drawn for the whole step: the number of replicas changes nothing that is learned from.
        positions = self.data.image[[group[0] for group in groups]]
        images = self._images(positions, rng)
        prompts = self._draw(captions, rng)
        if self._positions:
            columns = {"position": positions, "draw": rng.integers(2**31, size=len(positions))}
            images |= {name: one.astype(np.int32) for name, one in columns.items()}
        sizes = np.array([len(group) for group in groups])
        ends = np.cumsum([len(part) for part in np.array_split(sizes, self._replicas)])[:-1]
        caption_ends = np.cumsum([0, *sizes])[ends]
        parts = {name: np.split(column, ends) for name, column in images.items()}
        shares = zip(
            [dict(zip(parts, part, strict=True)) for part in zip(*parts.values(), strict=True)]
            or [{}] * self._replicas,
            np.split(sizes, ends),
            np.split(captions, caption_ends),
            np.split(prompts, caption_ends),
            strict=True,
        )
        return [self._batch(*share) for share in shares]

    def _batch(
        self,
        images: Batch,
        sizes: np.ndarray,
        captions: np.ndarray,
        prompts: np.ndarray,
    ) -> Batch:
        batch = {
            **images,
            "image_rows": np.repeat(np.arange(len(sizes), dtype=np.int32), sizes),
            "tokens": self.data.tokens[captions],
        }
        if self._prompts is not None:
            batch["prompt_rows"], given = prompt_rows(prompts)
            batch |= self._prompts(given)
        return batch

    def _draw(self, captions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """object [B]: each caption's prompt, the data set's own or a drawn one."""
        if self.data.prompts is not None:
            prompts = [self.data.prompts[i] for i in captions]
        else:
            prompts = drawing.draw([self.data.texts[i] for i in captions], self._share, rng)
        return np.array(prompts, object)

    def describe(self, epoch: int, step: int) -> str:
        """The first captions of a step, to find it by."""
        groups = self._order(epoch)(step * self._groups, step * self._groups + 3)
        return ", ".join(repr(self.data.texts[group[0]]) for group in groups)

    def signature(self) -> dict[str, tf.TensorSpec]:
        """The type of a replica's batch, for tf.data."""
        spec = {
            **self._images.spec,
            "image_rows": tf.TensorSpec([None], tf.int32),
            "tokens": tf.TensorSpec([None, self.data.tokens.shape[1]], tf.int32),
        }
        if self._positions:
            spec |= {name: tf.TensorSpec([None], tf.int32) for name in ("position", "draw")}
        if self._prompts is not None:
            spec |= {"prompt_rows": tf.TensorSpec([None], tf.int32), **self._prompts.spec}
        return spec


def _group_ends(image: np.ndarray, most: int) -> np.ndarray:
    """int64 [groups]: with captions image by image, where each group of at most so many ends; an
    image's groups are as even as can be."""
    _, counts = np.unique(image, return_counts=True)
    parts = -(-counts // most)
    sizes, larger = np.divmod(counts, parts)
    place = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    return np.cumsum(np.repeat(sizes, parts) + (place < np.repeat(larger, parts)))


def prompt_rows(prompts: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Which given prompt each row has (-1 for the empty one), and the prompts that are given."""
    given = [prompt for prompt in prompts if prompt.strip()]
    filled = np.array([bool(prompt.strip()) for prompt in prompts], bool)
    return np.where(filled, np.cumsum(filled) - 1, -1).astype(np.int32), given
