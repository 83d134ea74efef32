"""From image files to pixels: the one image function of the project.

Training, evaluation, prediction and the exported SavedModel call the same graph, so that training
and serving cannot see different pixels. It uses core TensorFlow ops alone and so runs in a stock
model server. JPEG, PNG, GIF (first frame) and BMP are read; EXIF orientation is applied,
transparency laid over white, and the whole picture squashed to a square, antialiased.

B batch; S side of the square in pixels; H, W rows and columns of a picture.
"""

import functools
import io

import numpy as np
import tensorflow as tf
from PIL import Image

from captioner.errors import CaptionerError
from captioner.inputs import image_headers
from captioner.inputs.image_headers import Header
from captioner.inputs.image_kinds import BMP, GIF, JPEG, JPEG_MARK, PNG
from captioner.inputs.resample import resize

# ImageNet's channel means in blue, green, red, as ResNet50's weights expect them
# (keras.applications.imagenet_utils, mode "caffe").
BGR_MEANS = (103.939, 116.779, 123.68)
# A JPEG is decoded at 1/2, 1/4 or 1/8 if it stays this much larger than the square; the filter
# then still smooths what libjpeg's block-wise reduction leaves.
_HEADROOM = 1.5
_DAMAGED = "the image is damaged or truncated"
# A GIF frame of one pixel with a palette of its own (GIF89a, sections 20 to 22).
_GIF_PIXEL = bytes.fromhex("2c 00000000 01000100 80 000000 ffffff 02 02 4401 00")


def decode_images(image_bytes: tf.Tensor, side: int = 224) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads a batch of image files; bad ones neither fail the batch nor change their neighbours.

    image_bytes: string [B]. The contents of JPEG, PNG, GIF or BMP files. B may be 0.
    side: int. Rows and columns of the result, in pixels. Defaults to 224.

    Returns `pixels`, uint8 [B, S, S, 3], RGB, zeros where an image was not read, and `errors`,
    string [B], empty where it was, else a short reason. Works eagerly, in a `tf.function`, in a
    v1 Session, in `tf.data` and in a SavedModel. Decoding takes at most about 300 MB an image,
    one image per processor at a time (`image_headers.MAX_PIXELS` and its neighbours).
    """
    image_bytes = tf.convert_to_tensor(image_bytes, tf.string)
    pixels, errors = _decode_batch(side)(image_bytes)
    pixels.set_shape([image_bytes.shape[0], side, side, 3])
    errors.set_shape(image_bytes.shape)
    return pixels, errors


def decode_image(data: tf.Tensor, side: int = 224) -> tf.Tensor:
    """Reads one image file: `data`, a scalar string, to uint8 [S, S, 3], RGB.

    Raises `tf.errors.InvalidArgumentError` when it runs on a file that cannot be read.
    """
    header = image_headers.inspect(data)
    return _pixels(_checked(data, header), header, side)


def blank_file() -> bytes:
    """A picture that shows nothing, as a file: ImageNet's mean colour, of which ResNet50 is given
    zeros."""
    return array_file(np.full((32, 32, 3), (124, 117, 104), np.uint8))


def array_file(array: np.ndarray) -> bytes:
    """A picture in memory as the contents of a PNG file, which loses nothing and then takes every
    file's road.

    array: [H, W], [H, W, 1], [H, W, 3] (RGB) or [H, W, 4] (RGBA), uint8 in 0 to 255 or floating
        point in 0 to 1.

    Raises `CaptionerError` for any other shape, type or range.
    """
    array = np.asarray(array)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or 0 in array.shape:
        raise CaptionerError(
            f"image array of shape {np.shape(array)}: give [height, width], or [height, width, "
            "channels] with 1, 3 or 4 channels last, of at least one pixel"
        )
    pixels, longer = array.shape[0] * array.shape[1], max(array.shape[:2])
    if pixels > image_headers.MAX_PIXELS or longer > image_headers.MAX_SIDE:
        raise CaptionerError(
            f"image array of shape {array.shape}: the limit is {image_headers.MAX_PIXELS} pixels "
            f"and {image_headers.MAX_SIDE} a side; make it smaller"
        )
    if np.issubdtype(array.dtype, np.floating):
        low, high = array.min(), array.max()
        if not (0 <= low and high <= 1):  # so worded, NaN is caught too
            raise CaptionerError(
                f"image array of {array.dtype} with values from {low} to {high}: floating-point "
                "pixels must lie in 0 to 1; divide by 255, or give uint8"
            )
        array = np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise CaptionerError(
            f"image array of {array.dtype}: give uint8 in 0 to 255 or floating point in 0 to 1"
        )
    if array.shape[-1] == 1:
        array = array[:, :, 0]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def normalise(pixels: tf.Tensor) -> tf.Tensor:
    """uint8 RGB pixels [..., 3] as ResNet50 takes them: float32, BGR, ImageNet's means removed."""
    return tf.cast(pixels, tf.float32)[..., ::-1] - tf.constant(BGR_MEANS)


@functools.cache
def _decode_batch(side: int):
    """The batch function of one side, traced once."""

    def decode(image_bytes):
        alone = tf.equal(tf.size(image_bytes), 1)
        jpeg = tf.reduce_all(tf.equal(tf.strings.substr(image_bytes, 0, 3), JPEG_MARK))
        return tf.cond(
            alone & jpeg,
            lambda: _decode_one_jpeg(image_bytes, side),
            lambda: _decode_several(image_bytes, side),
        )

    signature = [tf.TensorSpec([None], tf.string)]
    return tf.function(decode, input_signature=signature, autograph=False)


def _decode_several(image_bytes: tf.Tensor, side: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Any number of files of any kind, in parallel."""

    def read(index, data):
        header = image_headers.inspect(data)
        pixels = tf.cond(
            tf.equal(header.reason, ""),
            lambda: _pixels(data, header, side),
            lambda: tf.zeros([side, side, 3], tf.uint8),
        )
        return index, pixels, header.reason

    # A failing decoder fails its whole graph, except inside a data set that leaves failed
    # elements out. Rows that are missing afterwards take element 0, which says so.
    count = tf.size(image_bytes)
    blank = (tf.constant([-1]), tf.zeros([1, side, side, 3], tf.uint8), [_DAMAGED])
    rows = tf.data.Dataset.from_tensor_slices((tf.range(count), image_bytes))
    rows = rows.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    rows = rows.ignore_errors()
    rows = tf.data.Dataset.from_tensor_slices(blank).concatenate(rows)
    rows = rows.batch(tf.cast(count, tf.int64) + 1)
    index, pixels, errors = rows.get_single_element()
    survivors = index[1:]
    element = tf.scatter_nd(
        survivors[:, None], tf.range(1, tf.size(survivors) + 1), tf.shape(image_bytes)
    )
    return tf.gather(pixels, element), tf.gather(errors, element)


def _decode_one_jpeg(image_bytes: tf.Tensor, side: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The same of one JPEG. What a data set does to its elements is prepared anew at every call,
    which takes as long as decoding a photograph; here it does nothing but what can fail."""
    data = image_bytes[0]
    header = image_headers.inspect(data)

    def decode(contents):
        return tf.expand_dims(_decode_jpeg(_checked(contents, header), header, side), 0)

    rows = tf.data.Dataset.from_tensors(data).map(decode).ignore_errors()
    rows = rows.concatenate(tf.data.Dataset.from_tensors(tf.zeros([0, 1, 1, 3], tf.uint8)))
    decoded = rows.take(1).get_single_element()  # one picture, or none
    broken = tf.equal(tf.shape(decoded)[0], 0)
    pixels = tf.cond(
        broken,
        lambda: tf.zeros([side, side, 3], tf.uint8),
        lambda: _upright(resize(decoded[0], side), header),
    )
    reason = tf.where(broken & tf.equal(header.reason, ""), _DAMAGED, header.reason)
    return pixels[None], reason[None]


def _checked(data: tf.Tensor, header: Header) -> tf.Tensor:
    """The same file, for a decoder that then waits for the check: it keeps memory bounded."""
    readable = tf.debugging.Assert(tf.equal(header.reason, ""), [header.reason])
    with tf.control_dependencies([readable]):
        return tf.identity(data)


def _pixels(data: tf.Tensor, header: Header, side: int) -> tf.Tensor:
    """Decodes a file whose header was found good; raises if the rest of it is not."""
    pixels = tf.cond(
        header.alpha,
        lambda: resize(
            tf.cond(
                tf.equal(header.kind, PNG),
                lambda: _decode_png(data, 4),
                lambda: _decode_bmp(data, header, 4),
            ),
            side,
        ),
        lambda: resize(
            tf.switch_case(
                header.kind,
                {
                    JPEG: lambda: _decode_jpeg(data, header, side),
                    PNG: lambda: _decode_png(data, 3),
                    GIF: lambda: _decode_gif(data, header),
                    BMP: lambda: _decode_bmp(data, header, 3),
                },
            ),
            side,
        ),
    )
    return tf.ensure_shape(_upright(pixels, header), [side, side, 3])


def _upright(pixels: tf.Tensor, header: Header) -> tf.Tensor:
    """Turns a square [S, S, 3] as its file says; that is the same as turning the picture."""
    turned = tf.transpose(pixels, [1, 0, 2])
    return tf.switch_case(
        header.orientation - 1,
        [
            lambda: pixels,
            lambda: pixels[:, ::-1],
            lambda: pixels[::-1, ::-1],
            lambda: pixels[::-1],
            lambda: turned,
            lambda: turned[:, ::-1],
            lambda: turned[::-1, ::-1],
            lambda: turned[::-1],
        ],
    )


def _decode_jpeg(data: tf.Tensor, header: Header, side: int) -> tf.Tensor:
    # libjpeg's own view of the size guards against a header that reads two ways.
    shape = tf.cast(tf.io.extract_jpeg_shape(data), tf.int64)
    same = tf.equal(shape[0], header.height) & tf.equal(shape[1], header.width)
    with tf.control_dependencies([tf.debugging.Assert(same, [_DAMAGED])]):
        data = tf.identity(data)
    shorter = tf.cast(tf.minimum(header.height, header.width), tf.float32)
    room = shorter / (_HEADROOM * side)
    choice = tf.reduce_sum(tf.cast(room >= [2.0, 4.0, 8.0], tf.int32))

    def decode(ratio):  # with the transform that Pillow uses; TensorFlow's default is coarser
        return lambda: tf.io.decode_jpeg(data, 3, ratio=ratio, dct_method="INTEGER_ACCURATE")

    return tf.ensure_shape(
        tf.switch_case(choice, [decode(ratio) for ratio in (1, 2, 4, 8)]), [None, None, 3]
    )


def _decode_png(data: tf.Tensor, channels: int) -> tf.Tensor:
    # Four channels only where the file has transparency: for the others the op makes up an
    # opacity that is wrong below 8 bits a sample.
    return tf.ensure_shape(tf.io.decode_png(data, channels), [None, None, channels])


def _decode_gif(data: tf.Tensor, header: Header) -> tf.Tensor:
    """Decodes the first frame alone, from a file rebuilt around it, and lays it over white."""
    start = header.start
    screen_flags = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 10, 1), tf.uint8)[0], tf.int64)
    frame = tf.cast(tf.io.decode_raw(tf.strings.substr(data, start, 10), tf.uint8), tf.int64)
    left, top, width, height = (frame[i] + 256 * frame[i + 1] for i in (1, 3, 5, 7))

    def palette_size(flags):
        return tf.where(flags >= 128, 3 * 2 ** ((flags & 7) + 1), 0)

    shared, own = palette_size(screen_flags), palette_size(frame[9])
    palette = tf.where(own > 0, start + 10, 13)
    clear = palette + 3 * header.clear
    data = tf.cond(
        (header.clear >= 0) & (3 * header.clear < tf.where(own > 0, own, shared)),
        lambda: tf.strings.join([_cut(data, 0, clear), b"\xff\xff\xff", _cut(data, clear + 3)]),
        lambda: data,
    )
    # The op decodes all frames and, in some versions, gives what it has when a frame breaks off,
    # unwritten memory included. So a second frame, of one pixel, follows the first: if it
    # arrives, the first was whole.
    size = _cut(data, start + 5, start + 9)
    screen = [b"GIF89a", size, _cut(data, 10, 13 + shared)]
    frame_at_origin = [b"\x2c\0\0\0\0", size, _cut(data, start + 9, header.end)]
    single = tf.strings.join([*screen, *frame_at_origin, _GIF_PIXEL, b";"])
    frames = tf.io.decode_gif(single)
    whole = tf.debugging.Assert(tf.equal(tf.shape(frames)[0], 2), [_DAMAGED])
    with tf.control_dependencies([whole]):
        first = tf.ensure_shape(frames[0], [None, None, 3])
    margins = [
        [top, header.height - top - height],
        [left, header.width - left - width],
        [0, 0],
    ]
    return tf.pad(first, margins, constant_values=tf.constant(255, tf.uint8))


def _decode_bmp(data: tf.Tensor, header: Header, channels: int) -> tf.Tensor:
    """Reads an uncompressed BMP; TensorFlow's op for it knows neither palettes nor packings."""
    fields = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 0, 54), tf.uint8), tf.int64)
    bits = fields[28]
    height, width = header.height, header.width
    stride = (width * bits + 31) // 32 * 4  # rows end on 4 bytes
    rows = tf.io.decode_raw(_cut(data, header.start, header.start + stride * height), tf.uint8)
    rows = tf.reshape(rows, [height, stride])

    def direct():
        pixels = tf.reshape(rows[:, : width * bits // 8], [height, width, bits // 8])
        return tf.gather(pixels, [2, 1, 0, 3][:channels], axis=-1)  # from BGR or BGRA

    def from_palette():
        info = tf.io.decode_raw(tf.strings.substr(data, 14, 4), tf.int32)[0]
        table = _cut(data, 14 + tf.cast(info, tf.int64), header.start)
        table = tf.strings.substr(tf.strings.join([table, b"\0" * 1024]), 0, 1024)
        table = tf.reshape(tf.io.decode_raw(table, tf.uint8), [256, 4])[:, 2::-1]
        # Several pixels share a byte, the leftmost in its highest bits.
        shifts = tf.range(8 - bits, -1, -bits)
        spread = tf.bitwise.right_shift(rows[:, :, None], tf.cast(shifts, tf.uint8))
        index = tf.bitwise.bitwise_and(spread, tf.cast(2**bits - 1, tf.uint8))
        index = tf.reshape(index, [height, -1])[:, :width]
        return tf.gather(table, tf.cast(index, tf.int32))

    pixels = direct() if channels == 4 else tf.cond(bits <= 8, from_palette, direct)
    return tf.ensure_shape(pixels, [None, None, channels])


def _cut(data: tf.Tensor, start, end=None) -> tf.Tensor:
    """The bytes of a scalar string from `start` up to `end`, or to its own end."""
    end = tf.cast(tf.strings.length(data), tf.int64) if end is None else end
    start, end = tf.cast(start, tf.int64), tf.cast(end, tf.int64)
    return tf.strings.substr(data, start, tf.maximum(end - start, 0))
