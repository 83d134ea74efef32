"""Antialiased resizing to a square by TensorFlow's own op.

A triangle filter as wide as the reduction, as in Pillow's `BILINEAR`, straight from uint8: the op
takes whole bytes, so that only the picture's S rows are held as floats, at its full width.
The whole picture is squashed, without cropping: what a caption names may stand at the edge.

H, W input rows and columns; S output side; C channels, 3 or 4.
"""

import tensorflow as tf

# Rows of the result that are made at once of a picture with transparency.
_BAND = 14


def resize(image: tf.Tensor, side: int) -> tf.Tensor:
    """uint8 [H, W, C] to uint8 [S, S, 3]; C is static. Transparency is laid over white."""
    shape = tf.cast(tf.shape(image)[:2], tf.float32)
    if image.shape[-1] == 3:
        pixels = _scaled(image, [side, side], side / shape, tf.zeros([2]))
    else:
        pixels = _over_white(image, shape, side)
    return tf.saturate_cast(tf.round(pixels), tf.uint8)


def _scaled(image, size, scale, shift) -> tf.Tensor:
    return tf.raw_ops.ScaleAndTranslate(
        images=image[None], size=size, scale=scale, translation=shift, kernel_type="triangle"
    )[0]


def _over_white(image: tf.Tensor, shape: tf.Tensor, side: int) -> tf.Tensor:
    """float32 [S, S, 3] of uint8 [H, W, 4].

    Band by band of the rows that some rows of the result depend on: laid over white before it is
    filtered, a large picture would stand in memory as floats.
    """
    scale = side / shape
    reach = tf.maximum(shape[0] / side, 1.0) + 1.0  # the filter's, in input rows, and one to spare

    def band(first):
        centres = (tf.cast([first, first + _BAND], tf.float32) + [0.5, -0.5]) / scale[0]
        low = tf.cast(tf.maximum(centres[0] - reach, 0.0), tf.int32)
        rows = tf.cast(image[low : tf.cast(centres[1] + reach, tf.int32) + 1], tf.float32)
        opacity = rows[..., 3:] / 255.0
        rows = rows[..., :3] * opacity + 255.0 * (1.0 - opacity)
        shift = [tf.cast(low, tf.float32) * scale[0] - tf.cast(first, tf.float32), 0.0]
        return _scaled(rows, [_BAND, side], scale, shift)

    bands = tf.map_fn(  # the last one may reach beyond the picture, which is cut off
        band,
        tf.range(0, side, _BAND),
        fn_output_signature=tf.TensorSpec([_BAND, side, 3], tf.float32),
        parallel_iterations=1,
    )
    return tf.reshape(bands, [-1, side, 3])[:side]
