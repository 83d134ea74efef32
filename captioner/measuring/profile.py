"""Where the time goes between file bytes and caption."""

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from captioner.decoding.captions import search
from captioner.inputs import image_headers
from captioner.inputs.images import decode_images
from captioner.inputs.resample import resize
from captioner.measuring.bench import Bench
from captioner.measuring.comparison import aligned, number, quartiles, seconds_of, span
from captioner.serving.contract import SIGNATURES

IMAGES = 32


class Profile:
    """The road step by step, each step by itself on what the one before it gave.

    Args:
        bench: where to measure; its subject must have a model, not only an export.
    """

    name = "profile"

    def __init__(self, bench: Bench):
        self._bench = bench
        self._about = f"{IMAGES} photographs at once, {bench.subject.own}"
        self.samples: dict[str, list[float]] = {}
        self.notes = [
            "  each step by itself; in one graph some of them overlap, so the whole may take less "
            "than their sum",
        ]

    def measure(self, rounds: int) -> None:
        """Takes the samples of all steps, in turns."""
        steps = self._steps()
        for call in steps.values():  # traced, and optimised
            call()
        self.samples = {name: [] for name in steps}
        for _ in range(rounds):
            for name, call in steps.items():
                self.samples[name].append(seconds_of(call))

    def _steps(self) -> dict[str, Callable[[], Any]]:
        bench, built = self._bench, self._bench.subject.built
        model, tokenizer = built.model, built.tokenizer
        side, decode = bench.side, bench.subject.settings.decode
        files = tf.constant(bench.photos(IMAGES))
        whole = bench.subject.call(bench.subject.own)
        inputs = {"image_bytes": bench.photos(IMAGES)}
        pictures = [decoded(one, side) for one in files]
        flat = tf.concat([tf.reshape(one, [-1]) for one in pictures], 0)
        shapes = tf.stack([tf.shape(one) for one in pictures])
        starts = tf.cumsum(tf.reduce_prod(shapes, 1), exclusive=True)

        def header(contents):
            return tf.strings.length(image_headers.inspect(contents).reason)

        def corner(contents):
            return tf.cast(decoded(contents, side)[0, 0, 0], tf.int32)

        def resized(start, shape):
            picture = tf.reshape(flat[start : start + tf.reduce_prod(shape)], shape)
            picture = tf.ensure_shape(picture, [None, None, 3])
            return tf.cast(resize(picture, side)[0, 0, 0], tf.int32)

        pixels = decode_images(files, side)[0]
        encode = tf.function(model.image_encoder.folded(), autograph=False)
        features = encode(pixels)
        project = tf.function(lambda grid: model.encode(grid), autograph=False)
        memory = project(features)
        find = tf.function(
            lambda known: search(model, known, decode, tokenizer=tokenizer).tokens, autograph=False
        )
        tokens = find(memory)
        say = tf.function(tokenizer.decode, autograph=False)
        lengths = tf.reduce_sum(tf.cast(tokens[:, 0] != 0, tf.int32), 1)
        self.notes.append(
            f"  captions of {float(tf.reduce_mean(tf.cast(lengths, tf.float32))):.1f} tokens, the "
            f"longest of {int(tf.reduce_max(lengths))}; the search takes a step for each"
        )
        return {
            "read the headers": _each(header, files),
            "decode": _each(corner, files),
            "resize": _each(resized, starts, shapes),
            "all of the above, as served": lambda: decode_images(files, side)[0].numpy(),
            "encode": lambda: encode(pixels).numpy(),
            "project": lambda: _wait(project(features)),
            "search": lambda: find(memory).numpy(),
            "detokenise": lambda: say(tokens).numpy(),
            "the whole, as exported": lambda: whole(SIGNATURES[0], inputs),
        }

    def rows(self) -> list[dict[str, Any]]:
        """The steps that were measured: seconds of a batch, and their share of the whole."""
        found = {name: statistics.median(some) for name, some in self.samples.items() if some}
        # Before its graphs are made, a profile doesn't know its steps, either.
        complete = found and len(found) == len(self.samples)
        whole = list(found.values())[-1] if complete else None
        return [
            {
                "name": name,
                "samples": len(self.samples[name]),
                "median": 1000 * seconds,
                "quartiles": [1000 * one for one in quartiles(self.samples[name])],
                "an_image": 1000 * seconds / IMAGES,
                "share": seconds / whole if whole else None,
            }
            for name, seconds in found.items()
        ]

    def lines(self) -> list[str]:
        """The table."""
        rows = self.rows()
        if not rows:
            return []
        head = ("", "ms a batch", "quartiles", "ms an image", "of the whole")
        cells = [
            (
                one["name"],
                number(one["median"]),
                span(one["quartiles"]),
                number(one["an_image"]),
                "" if one["share"] is None else f"{one['share']:.1%}",
            )
            for one in rows
        ]
        title = f"where the time goes: {self._about} (median of {rows[0]['samples']})"
        return [title, *aligned([head, *cells]), *self.notes]

    def result(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "name": self.name,
            "title": f"where the time goes: {self._about}",
            "unit": "ms",
            "better": "lower",
            "rows": self.rows(),
            "notes": self.notes,
        }


def profile(bench: Bench) -> Iterator[Profile]:
    """The profile; nothing of a bare export, whose steps can't be run one by one."""
    if bench.subject.built is not None:
        yield Profile(bench)


def decoded(contents: tf.Tensor, side: int) -> tf.Tensor:
    """A file's pixels uint8 [H, W, 3], before they are resized: JPEGs at the scale at which
    `inputs.images` reads them, at least 1.5 times the square."""

    def jpeg():
        shorter = tf.reduce_min(tf.io.extract_jpeg_shape(contents)[:2])
        room = tf.cast(shorter, tf.float32) / (1.5 * side)
        choice = tf.reduce_sum(tf.cast(room >= [2.0, 4.0, 8.0], tf.int32))
        return tf.switch_case(
            choice,
            [
                lambda ratio=ratio: tf.io.decode_jpeg(
                    contents, 3, ratio=ratio, dct_method="INTEGER_ACCURATE"
                )
                for ratio in (1, 2, 4, 8)
            ],
        )

    def other():
        return tf.io.decode_image(contents, 3, expand_animations=False)

    return tf.cond(tf.io.is_jpeg(contents), jpeg, other)


def _each(step: Callable[..., tf.Tensor], *columns: Any) -> Callable[[], Any]:
    """A call that does a step, which gives an int32, for each row; in parallel, in a data set
    within the graph, as `inputs.images` does."""

    @tf.function(autograph=False)
    def each():
        rows = tf.data.Dataset.from_tensor_slices(columns)
        rows = rows.map(step, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return rows.batch(len(columns[0])).get_single_element()

    return lambda: each().numpy()


def _wait(nest: Any) -> None:
    """Until an accelerator has computed all of a nest's tensors."""
    for one in tf.nest.flatten(nest):
        if one is not None:
            one.numpy()
