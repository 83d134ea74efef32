"""Image augmentation for training: crops, colours and flips that leave captions true.

The transformations are keras-cv's, the random numbers are not: its samplers draw from op-level
seeds, which give other pictures on every run. Here every number comes from the seed of the call,
so a view can be made again, cached, or made on another machine.

B batch; S side of the pictures in pixels.
"""

import functools
import re
from collections.abc import Iterable

from captioner.inputs.records import Record

# Mild on purpose: a caption names small things, things near the edge, and colours.
CROP_AREA = (0.7, 1.0)  # share of the picture kept
CROP_ASPECT = (0.9, 1.1)  # width over height of the crop
BRIGHTNESS = 0.1  # added, as a share of the range
CONTRAST = 0.2  # multiplied: 0.8 to 1.2
SATURATION = 0.05  # around 0.5, keras-cv's neutral place: 0.82 to 1.22 times
HUE = 0.02  # share of the colour circle: blue stays blue

_SIDE = re.compile(
    r"\b(?:left|right)(?:[ -]?hand(?:ed|er|ers)?|most|wards?|y|ies)?\b"
    r"|\b(?:counter|anti)?-?clockwise\b"
)
# "Right" as time, shape or assent. "Right behind" and "left over" stay, since "the dog on the
# right behind the fence" is common too, and to forgo a flip costs less than a false caption.
_NO_SIDE = re.compile(r"\bright (?:now|away)\b|\bright[ -]angle[sd]?\b|\ball right\b")


def mentions_side(captions: str | Iterable[str]) -> bool:
    """Whether English captions of a picture say left or right, so that a mirror image is false."""
    captions = [captions] if isinstance(captions, str) else captions
    return any(_SIDE.search(_NO_SIDE.sub(" ", caption.lower())) for caption in captions)


def sided(record: Record) -> bool:
    """Whether what is said of an image, or asked of it, names a side: "yes" is false of the mirror
    image where the question was whether the ball is on the left."""
    return mentions_side((*record.captions, *record.prompts))


def augment(pixels, flip_allowed, seed):
    """One random view of each picture of a batch; the same for the same seed, batch and order.

    pixels: uint8 [B, S, S, 3]. S must be known when the graph is built.
    flip_allowed: bool [B]. Where a horizontal flip may happen; it then does half the time.
    seed: int, or an integer scalar tensor. Different seeds give different views.

    Returns uint8 [B, S, S, 3]. Works eagerly, in a `tf.function` and in `tf.data`. Needs keras-cv.
    """
    import tensorflow as tf

    pixels = tf.convert_to_tensor(pixels)
    layers = _layers(pixels.shape[1])
    count = tf.shape(pixels)[0]
    draws = tf.random.stateless_uniform([9, count], [tf.cast(seed, tf.int64), 0])

    def uniform(row, low, high):
        return low + (high - low) * draws[row]

    area, aspect = uniform(0, *CROP_AREA), uniform(1, *CROP_ASPECT)
    height = tf.minimum(tf.sqrt(area / aspect), 1.0)
    width = tf.minimum(tf.sqrt(area * aspect), 1.0)
    top, left = (1.0 - height) * draws[2], (1.0 - width) * draws[3]
    boxes = tf.stack([top, left, top + height, left + width], -1)  # [B, 4], shares of the side
    images = tf.map_fn(
        lambda pair: layers["crop"].augment_image(pair[0], transformation=pair[1][None]),
        (tf.cast(pixels, tf.float32), boxes),
        fn_output_signature=tf.TensorSpec(pixels.shape[1:], tf.float32),
    )

    def column(values):  # [B] -> [B, 1, 1, 1]
        return values[:, None, None, None]

    changes = {
        "brightness": column(uniform(4, -255.0 * BRIGHTNESS, 255.0 * BRIGHTNESS)),
        "contrast": column(uniform(5, 1.0 - CONTRAST, 1.0 + CONTRAST)),
        "saturation": uniform(6, 0.5 - SATURATION, 0.5 + SATURATION),
        "hue": uniform(7, -HUE, HUE),
    }
    for name, change in changes.items():
        images = layers[name].augment_images(images, transformations=change)
    flipped = tf.convert_to_tensor(flip_allowed) & (draws[8] < 0.5)
    # The layer flips where its number exceeds 1 - rate, which is 0.5.
    flips = tf.cast(flipped, tf.float32)[:, None]
    change = {"flip_horizontals": flips, "flip_verticals": tf.zeros_like(flips)}
    images = layers["flip"].augment_images(images, transformations=change)
    return tf.ensure_shape(tf.saturate_cast(tf.round(images), tf.uint8), pixels.shape)


@functools.cache
def _layers(side: int) -> dict:
    """keras-cv's layers, used for their transformations; their own random numbers stay unused."""
    import tensorflow as tf

    try:
        from keras_cv import layers
    except ImportError as error:
        from captioner.errors import CaptionerError

        raise CaptionerError(
            "image augmentation needs keras-cv: pip install keras-cv, or turn augmentation off"
        ) from error

    with tf.init_scope():  # layers may be made first while tf.data traces a function
        colour = {"factor": (0.0, 0.0), "dtype": "float32"}
        return {
            "crop": layers.RandomCropAndResize(
                (side, side), CROP_AREA, CROP_ASPECT, dtype="float32"
            ),
            "brightness": layers.RandomBrightness(value_range=(0, 255), **colour),
            "contrast": layers.RandomContrast(value_range=(0, 255), **colour),
            "saturation": layers.RandomSaturation(**colour),
            "hue": layers.RandomHue(value_range=(0, 255), **colour),
            "flip": layers.RandomFlip("horizontal", rate=0.5, dtype="float32"),
        }
