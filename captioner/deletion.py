"""The deletion test of a run: its captions read to it again with parts of the pictures covered.

What is covered are pixels, not image features. A feature of ResNet50's last grid has seen nearly
the whole picture, and one that the attention weighs most is missed most by construction; covered
pixels test the claim that a map makes to its reader, that this *place* mattered. They take the mean
colour of ImageNet, which the network reads as zero, like what lies beyond the border: a blurred
place would keep its colours, and with them `grass` and `snow`. A grey square is strange to the
network, but equally strange wherever it is. (On 100 photographs of Flickr8k a word of an earlier
model lost 0.79 nats with the place looked at covered and 0.39 with others; blurred, 0.81 and 0.37;
with the features replaced by their mean, 0.23 and 0.03.)

The model alone is asked, without what near captions (`model.neighbours`) add to its probabilities.

Legend: P places, T caption tokens, R regions in H rows and W columns, S side of the square in
pixels.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from captioner import config
from captioner.inputs.files import read_file
from captioner.inputs.images import decode_images
from captioner.inputs.prompts import content_words
from captioner.inputs.records import Record
from captioner.inputs.text import PAD
from captioner.metrics import deletion
from captioner.metrics.deletion import Places, Words
from captioner.models.build import Built
from captioner.serving.trained import load_trained

# ImageNet's means in red, green, blue, to the nearest of 256 steps.
_FILL = (124, 117, 104)


class Reader:
    """Reads captions to a model with a block of the picture covered, at every place in turn.

    Args:
        built: the model and its tokenizers.
        side: int. Pixels of the square that images are resized to.
        length: int. The most tokens of a caption, the end token included.

    Attributes:
        places: `Places`. The block and where it is put.
    """

    def __init__(self, built: Built, side: int, length: int):
        encoder = built.model.image_encoder
        self._built = built
        self._length = length
        self.places = deletion.places(encoder.rows, encoder.columns)
        uncovered = np.zeros([1, side, side], bool)
        covers = np.concatenate([uncovered, _covers(self.places, side)])[..., None]

        def read(image_bytes, tokens):
            pixels, errors = decode_images(image_bytes[None], side)
            pixels = tf.where(covers, tf.constant(_FILL, tf.uint8), pixels)  # [1 + P, S, S, 3]
            said = tf.repeat(tokens[None], len(covers), axis=0)
            logits, attention = built.model({"image": pixels, "tokens": said[:, :-1]})
            log_probs = tf.gather(tf.nn.log_softmax(logits), said[:, 1:], batch_dims=2)
            return log_probs, attention[0], errors[0]  # [1 + P, T], [T, R]

        signature = [tf.TensorSpec([], tf.string), tf.TensorSpec([length + 1], tf.int32)]
        self._read = tf.function(read, input_signature=signature, autograph=False)

    def read(self, image_bytes: bytes, caption: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """A caption's pieces ('' for the end token), their log-probabilities in nats with nothing
        covered, then with each place, float32 [1 + P, T], and their maps, float32 [T, H, W].

        Nothing of an image that can't be read.
        """
        (tokens,) = self._built.tokenizer.encode([caption], self._length)
        log_probs, attention, error = (
            one.numpy() for one in self._read(tf.constant(image_bytes), tokens)
        )
        said = tokens[1:][tokens[1:] != PAD]
        said = said[:0] if error else said
        pieces = [piece.decode() for piece in self._built.tokenizer.pieces(said).numpy()]
        maps = attention.reshape(-1, *self.places.grid)
        return pieces, log_probs[:, : len(said)], maps[: len(said)]

    def __call__(self, image_bytes: bytes, caption: str) -> Words:
        """What the content words of a caption lose with each place covered; no words where the
        image can't be read."""
        pieces, log_probs, maps = self.read(image_bytes, caption)
        spans = content_spans(pieces)
        drops = np.empty([len(spans), len(self.places.corners)])
        shown = np.empty([len(spans), *self.places.grid])
        for row, span in enumerate(spans.values()):
            drops[row] = (log_probs[0, span] - log_probs[1:, span]).sum(-1)
            shown[row] = maps[span].mean(0)  # as a word's map is drawn
        looked_at = self.places.looked_at(shown)
        return Words(tuple(spans), drops, looked_at, self.places.middle)


def content_spans(pieces: Sequence[str]) -> dict[str, slice]:
    """Where a caption's content words stand among its pieces; a word said twice, where it stands
    first."""
    spans: dict[str, slice] = {}
    starts = [i for i, piece in enumerate(pieces) if piece and not piece.startswith("##")]
    for start, stop in pairwise([*starts, len(pieces)]):
        span = pieces[start:stop]
        word = span[0] + "".join(piece[2:] for piece in span[1:])
        stop = start + sum(map(bool, span))  # the end token is no piece
        spans.setdefault(word, slice(start, stop))
    return {word: spans[word] for word in content_words(" ".join(spans))}


def _covers(places: Places, side: int) -> np.ndarray:
    """The pixels that the block covers at each place: bool [P, S, S]."""
    edges = [np.rint(np.arange(cells + 1) * side / cells).astype(int) for cells in places.grid]
    covers = np.zeros([len(places.corners), side, side], bool)
    for cover, (row, column) in zip(covers, places.corners, strict=True):
        top, bottom = edges[0][[row, row + places.block[0]]]
        left, right = edges[1][[column, column + places.block[1]]]
        cover[top:bottom, left:right] = True
    return covers


def measure(
    run: Path,
    captioned: Sequence[tuple[Record, str]],
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """The deletion test of a run folder's model.

    An image costs a pass through the image encoder for every place, 26 on a 7 by 7 grid.

    Args:
        run: the run folder. An export can't be told what to say.
        captioned: images and the model's captions of them, made without prompts.
        progress: told how many images are done, and of how many.
        seed: int. Of the resamples of the images.

    Returns:
        `metrics.deletion.figures`, with `grid` and `block` (rows and columns) and `places`.

    Raises:
        CaptionerError: no run folder, or one that holds no sound weights.
    """
    settings = config.load(run / "config.json")
    reader = Reader(load_trained(run), settings.model.image_side, settings.decode.max_tokens)
    found = []
    for done, (record, caption) in enumerate(captioned, 1):
        contents, _ = read_file(record.image)
        found.append(reader(contents, caption))
        progress(done, len(captioned))
    places = reader.places
    return {
        "grid": list(places.grid),
        "block": list(places.block),
        "places": len(places.corners),
        **deletion.figures(found, seed=seed),
    }
