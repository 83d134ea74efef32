"""Pairs of an image and a text, right ones and wrong ones: what is trained on, and what is judged.

A wrong text is never one of the image's own captions, nor says the same word for word. Nobody has
looked whether it happens to fit all the same: of photographs with much in common, some do.

Legend: N images, M captions, B captions of a step, P pairs, K nearest wrong images.
"""

import collections
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from captioner.errors import CaptionerError
from captioner.inputs.pipeline import Batch, CachedImages, Examples, ReadImages
from captioner.inputs.prompt_batches import ReadPrompts, TokenizedPrompts
from captioner.inputs.prompts import content_words
from captioner.inputs.text import normalised

# What a wrong text of an image is: drawn from all, or the most alike to one of its own.
OWN, DRAWN, HARD = "own", "drawn", "hard"


class Pair(NamedTuple):
    """An image and a text to judge.

    Attributes:
        image: position of the image.
        text: the text.
        kind: `OWN`, the only right one, `DRAWN` or `HARD`.
    """

    image: int
    text: str
    kind: str


def owners(texts: Sequence[str], image: Sequence[int]) -> list[frozenset[int]]:
    """For each of M captions, the images that it is a caption of, by its words: captions that say
    the same belong to each other's images.

    Args:
        texts: M captions.
        image: M positions of images.
    """
    said = normalised(texts)
    found = collections.defaultdict(set)
    for text, one in zip(said, image, strict=True):
        found[text].add(int(one))
    shared = {text: frozenset(images) for text, images in found.items()}
    return [shared[text] for text in said]


def judged_pairs(captions: Sequence[Sequence[str]], seed: int = 0) -> list[Pair]:
    """The pairs that models are scored by: each image with each of its captions, and beside each
    of these a caption that is drawn among those of other images, and the hardest: the caption of
    another image that has most of its content words in common with it, rare ones counting more
    (TF-IDF). They depend on the captions alone, so that any two models are asked the same.

    Args:
        captions: each image's.
        seed: draws.

    Returns:
        The pairs, image by image. Where all captions are an image's own, it has no wrong ones.
    """
    image = [at for at, own in enumerate(captions) for _ in own]
    texts = [text for own in captions for text in own]
    owned = owners(texts, image)
    mine: dict[int, set[str]] = collections.defaultdict(set)
    said = normalised(texts)
    for at, one in enumerate(image):
        mine[one].add(said[at])
    alike = _Alike(said)
    rng = np.random.default_rng(seed)
    pairs = []
    for at, one in enumerate(image):
        pairs.append(Pair(one, texts[at], OWN))
        wrong = [two for two in _tries(rng, len(texts)) if said[two] not in mine[one]][:1]
        if not wrong:
            wrong = [two for two in range(len(texts)) if said[two] not in mine[one]]
            wrong = wrong[int(rng.integers(len(wrong))) :][:1] if wrong else []
        if wrong:
            hard = alike.nearest(at, lambda two, one=one: one not in owned[two])
            pairs.append(Pair(one, texts[wrong[0]], DRAWN))
            pairs.append(Pair(one, texts[wrong[0] if hard is None else hard], HARD))
    return pairs


def _tries(rng: np.random.Generator, count: int) -> list[int]:
    """A few positions; nearly always one of them is another image's."""
    return [int(one) for one in rng.integers(count, size=8)]


class _Alike:
    """Captions by their words' TF-IDF.

    Args:
        said: M normalised captions.
    """

    def __init__(self, said: Sequence[str]):
        self._words = [content_words(text) or text.split() for text in said]
        places = collections.defaultdict(list)
        for row, words in enumerate(self._words):
            for word in words:
                places[word].append(row)
        self._places = {word: np.array(rows) for word, rows in places.items()}
        count = max(1, len(said))
        self._weights = {word: np.log(count / len(rows)) for word, rows in places.items()}
        self._lengths = np.array(
            [np.sqrt(sum(self._weights[word] ** 2 for word in words)) for words in self._words]
        )

    def nearest(self, row: int, allowed: Callable[[int], bool]) -> int | None:
        """The caption that is most like this one among those allowed, the first of equal ones; None
        where none has a word of it."""
        common = np.zeros(len(self._words))
        for word in self._words[row]:
            common[self._places[word]] += self._weights[word] ** 2
        # A caption without words has no length, and nothing in common with any.
        common = np.divide(common, self._lengths, where=self._lengths > 0, out=common)
        while True:  # a few times: what isn't allowed are an image's own
            found = int(np.argmax(common))
            if common[found] <= 0:
                return None
            if allowed(found):
                return found
            common[found] = 0


class WrongImages:
    """Draws wrong images for captions.

    Args:
        data: the captions.
        negatives: k, wrong images of each caption.
        mined: the share of them that is drawn among the nearest.
        nearest: int [M, K]. Positions of the nearest wrong images, -1 where there are no more; None
            with mined=0.
    """

    def __init__(
        self,
        data: Examples,
        negatives: int = 1,
        mined: float = 0.0,
        nearest: np.ndarray | None = None,
    ):
        self._image = data.image
        self._negatives = negatives
        self._mined = mined if nearest is not None else 0.0
        self._nearest = nearest
        self._owners = owners(data.texts, data.image)
        self._known = np.unique(data.image)

    def __call__(self, captions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """int64 [B, k]: wrong images of each caption of a step, of the step but for those that are
        mined; -1 where there is none."""
        pool = np.unique(self._image[captions])
        found = np.full((len(captions), self._negatives), -1, np.int64)
        for row, caption in enumerate(captions):
            own = np.fromiter(self._owners[caption], np.int64)
            others = pool[~np.isin(pool, own)]
            if not len(others):  # a step of one image
                others = self._known[~np.isin(self._known, own)]
            if not len(others):
                continue
            near = np.zeros(0, np.int64)
            if self._nearest is not None:
                near = self._nearest[caption]
                near = near[near >= 0]
            for place in range(self._negatives):
                hard = rng.random() < self._mined and len(near)
                found[row, place] = rng.choice(near if hard else others)
        return found


def pair_columns(rows: np.ndarray) -> Batch:
    """Each of B captions with its own image and with wrong ones, as a step takes them.

    Args:
        rows: int [B, 1 + k]. Which image, the caption's own first; -1 where there is none.

    Returns:
        `image_rows` and `text_rows`, int32 [P]; `right`, float32 [P]; and `weight`, what a pair
        counts: an image's wrong ones together as much as the right one.
    """
    there = rows >= 0
    right = np.zeros(rows.shape, np.float32)
    right[:, 0] = 1
    wrong = np.maximum(there.sum(1, keepdims=True) - 1, 1)
    weight = np.where(right > 0, 1, 1 / wrong).astype(np.float32)
    text_rows = np.broadcast_to(np.arange(len(rows))[:, None], rows.shape)
    return {
        "image_rows": rows[there].astype(np.int32),
        "text_rows": text_rows[there].astype(np.int32),
        "right": right[there],
        "weight": weight[there],
    }


_ROWS, _FIGURES = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.float32)

PAIR_SPEC = {"image_rows": _ROWS, "text_rows": _ROWS, "right": _FIGURES, "weight": _FIGURES}
"""The type of what `pair_columns` gives."""


class PairBatches:
    """The batches of each epoch: every caption once with its image, and with wrong images.

    The order and all that is drawn come from (seed, epoch, step), as those of `Batches` do, and for
    the whole step: the number of replicas changes nothing that is learned from.

    Args:
        data: the captions; `prompts` are what the text encoder reads.
        images: gives the images of positions.
        prompts: what the text encoder takes of texts, or what it gives of them.
        batch_size: captions of a step, over all replicas.
        negatives, mined, nearest: as `WrongImages` takes them.
        replicas: each step is divided among so many.
        seed: of all that is drawn.

    Raises:
        CaptionerError: fewer captions a step than replicas.
    """

    def __init__(
        self,
        data: Examples,
        images: CachedImages | ReadImages,
        prompts: TokenizedPrompts | ReadPrompts,
        *,
        batch_size: int,
        negatives: int = 1,
        mined: float = 0.0,
        nearest: np.ndarray | None = None,
        replicas: int = 1,
        seed: int = 0,
    ):
        if batch_size < replicas:
            raise CaptionerError(
                f"train.batch_size={batch_size} is fewer captions a step than the {replicas} "
                "replicas: raise it"
            )
        self.data = data
        self._images = images
        self._prompts = prompts
        self._batch_size = batch_size
        self._wrong = WrongImages(data, negatives, mined, nearest)
        self._replicas = replicas
        self._seed = seed
        self.steps = -(-len(data) // batch_size)
        """Steps of an epoch."""

    def _order(self, epoch: int, step: int) -> np.ndarray:
        drawn = np.random.default_rng([self._seed, epoch, 0]).permutation(len(self.data))
        return drawn[step * self._batch_size : (step + 1) * self._batch_size]

    def epoch(self, epoch: int, first: int = 0) -> Iterator[list[Batch]]:
        """Steps `first`, … of an epoch, each as one batch per replica (the last ones of an uneven
        step may be smaller or hold no caption)."""
        for step in range(first, self.steps):
            rng = np.random.default_rng([self._seed, epoch, 1, step])
            yield self._step(self._order(epoch, step), rng)

    def _step(self, captions: np.ndarray, rng: np.random.Generator) -> list[Batch]:
        own = self.data.image[captions]
        pairs = np.concatenate([own[:, None], self._wrong(captions, rng)], axis=1)  # (B, 1 + k)
        shown = np.unique(pairs[pairs >= 0])
        images = self._images(shown, rng)
        return [
            self._batch(shown, images, captions[rows], pairs[rows])
            for rows in np.array_split(np.arange(len(captions)), self._replicas)
        ]

    def _batch(self, shown, images: Batch, captions: np.ndarray, pairs: np.ndarray) -> Batch:
        """A replica's share: its captions' pairs, with the images that they need."""
        needed = np.unique(pairs[pairs >= 0])
        rows = np.searchsorted(shown, needed)
        texts = self.data.prompts if self.data.prompts is not None else self.data.texts
        return {
            **{name: column[rows] for name, column in images.items()},
            **self._prompts([texts[one] for one in captions]),
            **pair_columns(np.where(pairs >= 0, np.searchsorted(needed, pairs), -1)),
        }

    def describe(self, epoch: int, step: int) -> str:
        """The first captions of a step, to find it by."""
        return ", ".join(repr(self.data.texts[one]) for one in self._order(epoch, step)[:3])

    def signature(self) -> dict[str, tf.TensorSpec]:
        """The type of a replica's batch, for tf.data."""
        return {**self._images.spec, **self._prompts.spec, **PAIR_SPEC}
