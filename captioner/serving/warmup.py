"""What a model server calls once while it loads a version: `tf_serving_warmup_requests`.

The first call of a signature takes two to three seconds, in which TensorFlow prunes and optimises
its graph; the first call of a further batch size takes no longer than the second on a CPU, but an
accelerator picks its kernels anew for each. So every signature is called with every batch size
that the server's batching forms (`batching.SIZES`), before the version takes requests. The largest
also shows whether the memory suffices.

A record that failed would keep the server from loading the version, so the records are few and
plain: a drawn picture of a few hundred bytes, beside it files that can't be read (they get a
reason, they don't fail), and prompts of every kind.

https://www.tensorflow.org/tfx/serving/saved_model_warmup: a TFRecord of `PredictionLog`s, at most
1,000 of them.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import tensorflow as tf
from PIL import Image, ImageDraw

from captioner.serving.batching import SIZES

# The name that the server looks for, in `assets.extra`.
FILE = "tf_serving_warmup_requests"

# Requests carry a model's name; in a warm-up the server doesn't look at it.
_MODEL = "captioner"
_SIDE = 64  # pixels
_PROMPTS = ("", "red ball", "a ball on…", "what is on the grass?")


def write(folder: Path, signatures: Mapping[str, Iterable[str]]) -> None:
    """Writes the records into a version's `assets.extra`.

    Args:
        folder: `assets.extra`.
        signatures: those that are served, with the names of their inputs: `image_bytes`, or
            another for texts.

    Raises:
        tf.errors.OpError: the disk is full, or can't be written.
    """
    # Only here: it is needed by nobody who loads or trains.
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    with tf.io.TFRecordWriter(str(folder / FILE)) as file:
        for name in sorted(signatures):
            for inputs in _batches(signatures[name]):
                log = PredictionLog()
                request = log.predict_log.request
                request.model_spec.name = _MODEL
                request.model_spec.signature_name = name
                for key, rows in inputs.items():
                    request.inputs[key].CopyFrom(tf.make_tensor_proto(rows, tf.string))
                file.write(log.SerializeToString(deterministic=True))


def _batches(names: Iterable[str]) -> Iterator[dict[str, list[bytes]]]:
    """A signature's inputs, a batch of each size.

    The first holds the picture alone. In the others, one row in eight can't be read, and kinds of
    prompts take turns.
    """
    picture = _picture()
    unreadable = (b"", b"no picture", picture[: len(picture) // 2])
    for size in SIZES:
        rows = [picture] * size
        for turn, row in enumerate(range(1, size, 8)):
            rows[row] = unreadable[turn % len(unreadable)]
        texts = [_PROMPTS[(size + row) % len(_PROMPTS)].encode() for row in range(size)]
        yield {name: rows if name == "image_bytes" else texts for name in names}


def _picture() -> bytes:
    """A red ball on a meadow, as a JPEG of some 700 bytes."""
    image = Image.new("RGB", (_SIDE, _SIDE), (150, 190, 230))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, _SIDE * 2 // 3, _SIDE, _SIDE), fill=(90, 150, 70))
    draw.ellipse((_SIDE // 4, _SIDE // 3, _SIDE * 3 // 4, _SIDE * 5 // 6), fill=(200, 60, 50))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=75, optimize=True)
    return file.getvalue()
