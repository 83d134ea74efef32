"""What an image file says of itself, read inside the graph before anything is decoded.

Decoders believe the sizes in a file's header and allocate accordingly, so a file of a hundred
bytes can ask for ten gigabytes. Everything here reads headers with plain TensorFlow ops, never
raises, and ends in a `Header`, whose `reason` says in plain words why a file is refused.

N bytes of the file. Sizes are in pixels, positions in bytes from the start of the file.
"""

from typing import NamedTuple

import tensorflow as tf

from captioner.inputs.files import MAX_JPEG_PIXELS, MAX_PIXELS, MAX_SIDE
from captioner.inputs.image_kinds import BMP, GIF, JPEG, PNG, recognise

# A progressive JPEG has about ten scans. Each takes time for the whole picture and may take only
# a few bytes of file, so a file could otherwise keep a server busy for hours.
MAX_SCANS = 64
# Bounds on the walk over a header's segments; ordinary files have 5 to 50.
MAX_SEGMENTS = 512
MAX_GIF_STEPS = 4096

_HEAD = 128  # bytes that hold every fixed-place field below

_equal = tf.equal  # `==` would compare identities where a v1 graph is being built


class Header(NamedTuple):
    """What decoding needs to know; every field a scalar tensor.

    reason: string. Empty if the file may be decoded, else why it is refused.
    kind: int32. `JPEG`, `PNG`, `GIF` or `BMP`.
    height, width: int64. Before `orientation` is applied.
    orientation: int32, 1 to 8. How to turn the picture upright (EXIF 2.32, tag 0x0112).
    alpha: bool. Whether pixels have transparency (PNG, BMP).
    start: int64. GIF: where the first frame's descriptor begins. BMP: where the pixels do.
    end: int64. GIF: where the first frame ends.
    clear: int64. GIF: the palette entry that means transparent, -1 if none.
    """

    reason: tf.Tensor
    kind: tf.Tensor
    height: tf.Tensor
    width: tf.Tensor
    orientation: tf.Tensor
    alpha: tf.Tensor
    start: tf.Tensor
    end: tf.Tensor
    clear: tf.Tensor


def _header(
    kind: int, reason, height=0, width=0, orientation=1, alpha=False, start=0, end=0, clear=-1
) -> Header:
    return Header(
        reason=tf.convert_to_tensor(reason),
        kind=tf.constant(kind),
        height=tf.cast(height, tf.int64),
        width=tf.cast(width, tf.int64),
        orientation=tf.cast(orientation, tf.int32),
        alpha=tf.convert_to_tensor(alpha),
        start=tf.cast(start, tf.int64),
        end=tf.cast(end, tf.int64),
        clear=tf.cast(clear, tf.int64),
    )


def inspect(data: tf.Tensor) -> Header:
    """Reads the header of one file: `data`, its contents, a scalar string. Raises nothing."""
    kind, reason = recognise(data)
    # Zeros behind a short file stand for the fields it lacks, so that no read is out of range.
    head = tf.strings.join([tf.strings.substr(data, 0, _HEAD), b"\0" * _HEAD])
    fields = tf.cast(tf.io.decode_raw(head, tf.uint8), tf.int64)
    return tf.switch_case(
        kind,
        {
            JPEG: lambda: _jpeg(data),
            PNG: lambda: _png(data, fields),
            GIF: lambda: _gif(data, fields),
            BMP: lambda: _bmp(data, fields),
        },
        default=lambda: _header(JPEG, reason),
    )


def _first_reason(*checks) -> tf.Tensor:
    """The reason beside the first condition that holds, or ''."""
    reason = tf.constant("")
    for condition, words in reversed(checks):
        reason = tf.where(condition, words, reason)
    return reason


def _size_checks(height, width, limit: int, name: str):
    too_large = (
        f"the {name} image is too large: ",
        tf.strings.as_string(width), " x ", tf.strings.as_string(height),
        f" pixels, the limit is {limit // 2**20} megapixels and {MAX_SIDE} a side",
    )
    return (
        ((height < 1) | (width < 1), f"the {name} header gives no picture size"),
        (
            (height * width > limit) | (tf.maximum(height, width) > MAX_SIDE),
            tf.strings.join(too_large),
        ),
    )


def _bytes(data: tf.Tensor, spare: int = 32) -> tf.Tensor:
    """The file as uint8 [N + spare], with zeros at the end so that short reads stay in range."""
    return tf.io.decode_raw(tf.strings.join([data, b"\0" * spare]), tf.uint8)


def _window(raw: tf.Tensor, at: tf.Tensor, count: int) -> tf.Tensor:
    """int64 [count]: the bytes from `at` on, all zeros where the file has no `count` more."""
    whole = at + count <= tf.size(raw, tf.int64)
    return tf.cast(tf.slice(raw, [tf.where(whole, at, 0)], [count]), tf.int64) * tf.cast(
        whole, tf.int64
    )


def _little(fields: tf.Tensor, at: int, count: int) -> tf.Tensor:
    powers = tf.constant([256**i for i in range(count)], tf.int64)
    return tf.reduce_sum(fields[at : at + count] * powers)


def _is_any(value: tf.Tensor, *choices: int) -> tf.Tensor:
    return tf.reduce_any(_equal(value, list(choices)))


def _spells(values: tf.Tensor, text: bytes) -> tf.Tensor:
    return tf.reduce_all(_equal(values, list(text)))


def _big(fields: tf.Tensor, at: int, count: int) -> tf.Tensor:
    powers = tf.constant([256**i for i in reversed(range(count))], tf.int64)
    return tf.reduce_sum(fields[at : at + count] * powers)


def _jpeg(data: tf.Tensor) -> Header:
    """Walks the marker segments up to the frame header (ITU-T T.81, annex B)."""
    raw = _bytes(data)
    zero = tf.constant(0, tf.int64)

    def going(step, at, frame, exif):
        return (step < MAX_SEGMENTS) & _equal(frame, 0) & (at < tf.size(raw, tf.int64) - 32)

    def advance(step, at, frame, exif):
        seen = _window(raw, at, 10)
        marker = seen[1]
        is_marker = _equal(seen[0], 0xFF)
        is_frame = (marker >= 0xC0) & (marker <= 0xCF)
        is_frame &= ~_is_any(marker, 0xC4, 0xC8, 0xCC)
        is_exif = is_marker & _equal(marker, 0xE1) & _spells(seen[4:], b"Exif\0\0")
        bare = ((marker >= 0xD0) & (marker <= 0xD8)) | _equal(marker, 0x01)
        # Stray bytes and fill bytes (0xFF) between segments are skipped one by one, as libjpeg
        # does; end of image or start of scan before any frame ends the walk.
        ahead = tf.where(bare, zero + 2, 2 + _big(seen, 2, 2))
        ahead = tf.where(is_marker & ~_is_any(marker, 0xFF, 0), ahead, 1)
        over = is_marker & _is_any(marker, 0xD9, 0xDA)
        return (
            step + 1,
            tf.where(over, tf.size(raw, tf.int64), at + ahead),
            tf.where(is_marker & is_frame, at, frame),
            tf.where(is_exif & _equal(exif, 0), at + 10, exif),
        )

    _, _, frame, exif = tf.while_loop(
        going, advance, (tf.constant(0), zero + 2, zero, zero), parallel_iterations=1
    )
    seen = _window(raw, frame, 10)
    height, width = _big(seen, 5, 2), _big(seen, 7, 2)
    progressive = _equal(seen[1] & 3, 2)  # SOF2, 6, 10 and 14 (T.81, table B.1)
    scans = tf.cond(
        progressive,
        lambda: tf.math.count_nonzero(_equal(raw[:-1], 0xFF) & _equal(raw[1:], 0xDA)),
        lambda: zero,
    )
    whole_limit = _size_checks(height, width, MAX_PIXELS, "progressive JPEG")
    reason = _first_reason(
        (_equal(frame, 0), "damaged JPEG: no picture size in its header"),
        *_size_checks(height, width, MAX_JPEG_PIXELS, "JPEG"),
        (progressive & whole_limit[1][0], whole_limit[1][1]),
        (scans > MAX_SCANS, f"the progressive JPEG has more than {MAX_SCANS} scans"),
    )
    orientation = tf.cond(exif > 0, lambda: _orientation(raw, exif), lambda: tf.constant(1))
    return _header(JPEG, reason, height, width, orientation)


def _orientation(raw: tf.Tensor, tiff: tf.Tensor) -> tf.Tensor:
    """The orientation, int32 in 1 to 8, of the TIFF structure at byte `tiff`; 1 when unsure."""
    start = _window(raw, tiff, 8)
    mark = start[:2]
    little = _spells(mark, b"II")
    readable = little | _spells(mark, b"MM")

    def number(first_bytes):  # [..., count] bytes in the file's order
        count = first_bytes.shape[-1]
        powers = [256**i for i in range(count)]
        # Two constants: turning one round in the graph trips a server's graph optimiser.
        low_first, high_first = (tf.constant(order, tf.int64) for order in (powers, powers[::-1]))
        powers = tf.where(little, low_first, high_first)
        return tf.reduce_sum(first_bytes * powers, -1)

    directory = tiff + number(start[4:8])
    count = tf.minimum(number(_window(raw, directory, 2)), MAX_SEGMENTS)
    entries = raw[directory + 2 : directory + 2 + 12 * count]
    entries = tf.cast(entries[: tf.size(entries) // 12 * 12], tf.int64)
    entries = tf.reshape(entries, [-1, 12])
    # An entry: tag, type (3 is a 16-bit number), how many, the value at its left.
    wanted = _equal(number(entries[:, 0:2]), 0x0112) & _equal(number(entries[:, 2:4]), 3)
    values = tf.boolean_mask(number(entries[:, 8:10]), wanted)
    value = tf.concat([values, [1]], 0)[0]
    return tf.cast(tf.where(readable & (value >= 1) & (value <= 8), value, 1), tf.int32)


def _png(data: tf.Tensor, fields: tf.Tensor) -> Header:
    """The first chunk, and those before the picture for transparency and EXIF (W3C PNG 3)."""
    raw = _bytes(data)
    zero = tf.constant(0, tf.int64)

    def going(step, at, *_):
        return (step < MAX_SEGMENTS) & (at < tf.size(raw, tf.int64) - 32)

    def advance(step, at, clear, exif):
        seen = _window(raw, at, 8)

        name = seen[4:]
        ahead = at + 12 + _big(seen, 0, 4)
        return (
            step + 1,
            tf.where(_spells(name, b"IDAT"), tf.size(raw, tf.int64), ahead),
            clear | _spells(name, b"tRNS"),
            tf.where(_spells(name, b"eXIf"), at + 8, exif),
        )

    _, _, clear, exif = tf.while_loop(
        going, advance, (tf.constant(0), zero + 8, tf.constant(False), zero),
        parallel_iterations=1,
    )
    height, width = _big(fields, 20, 4), _big(fields, 16, 4)
    first_chunk = _spells(fields[12:16], b"IHDR")
    reason = _first_reason(
        (~first_chunk, "damaged PNG: no picture size in its header"),
        *_size_checks(height, width, MAX_PIXELS, "PNG"),
    )
    alpha = clear | (fields[25] & 4 > 0)  # colour types 4 and 6 have an alpha channel
    orientation = tf.cond(exif > 0, lambda: _orientation(raw, exif), lambda: tf.constant(1))
    return _header(PNG, reason, height, width, orientation, alpha)


def _gif(data: tf.Tensor, fields: tf.Tensor) -> Header:
    """Finds the first frame, so that the others are never decoded (GIF89a, sections 17 to 27)."""
    raw = _bytes(data)
    zero = tf.constant(0, tf.int64)
    limit = tf.size(raw, tf.int64) - 32
    palette = tf.where(fields[10] >= 128, 3 * 2 ** ((fields[10] & 7) + 1), 0)

    def seeking(step, at, in_blocks, clear, frame):
        return (step < MAX_GIF_STEPS) & (at < limit) & _equal(frame, 0)

    def seek(step, at, in_blocks, clear, frame):
        seen = _window(raw, at, 8)
        # 0x21 begins an extension, of which 0xF9 may name a transparent colour; then data
        # blocks follow, each with its length in front, up to one of length 0.
        extension = ~in_blocks & _equal(seen[0], 0x21)
        control = extension & _equal(seen[1], 0xF9)
        ahead = tf.where(in_blocks, 1 + seen[0], 2)
        is_frame = ~in_blocks & _equal(seen[0], 0x2C)
        lost = ~in_blocks & ~extension & ~is_frame
        return (
            step + 1,
            tf.where(lost, limit, at + ahead),
            tf.where(in_blocks, seen[0] > 0, extension),
            tf.where(control, tf.where(seen[3] & 1 > 0, seen[6], -1), clear),
            tf.where(is_frame, at, frame),
        )

    _, _, _, clear, frame = tf.while_loop(
        seeking, seek, (tf.constant(0), 13 + palette, tf.constant(False), zero - 1, zero),
        parallel_iterations=1,
    )
    seen = _window(raw, frame, 10)
    local = tf.where(seen[9] >= 128, 3 * 2 ** ((seen[9] & 7) + 1), 0)

    def following(step, at, end):
        return (step < MAX_GIF_STEPS) & (at < limit) & _equal(end, 0)

    def follow(step, at, end):
        # Encoders write blocks of one length (255 or 254): up to 64 of them are taken in a step.
        stride = tf.cast(raw[at], tf.int64) + 1
        same = _equal(raw[at : at + 64 * stride : stride], raw[at])
        run = tf.argmin(tf.concat([tf.cast(same, tf.int32), [0]], 0))
        last = _equal(stride, 1)
        return step + 1, at + run * stride, tf.where(last, at + 1, end)

    _, _, end = tf.while_loop(
        following, follow, (tf.constant(0), frame + 10 + local + 1, zero), parallel_iterations=1
    )
    # Frames may reach beyond the screen, which then grows, as in Pillow.
    width = tf.maximum(_little(fields, 6, 2), _little(seen, 1, 2) + _little(seen, 5, 2))
    height = tf.maximum(_little(fields, 8, 2), _little(seen, 3, 2) + _little(seen, 7, 2))
    no_frame = _equal(frame, 0) | _equal(_little(seen, 5, 2), 0) | _equal(_little(seen, 7, 2), 0)
    reason = _first_reason(
        (no_frame, "damaged GIF: no frame"),
        *_size_checks(height, width, MAX_PIXELS, "GIF"),
        (_equal(palette + local, 0), "damaged GIF: no palette"),
        (_equal(end, 0) | (end > limit), "damaged or truncated GIF: its first frame has no end"),
    )
    return _header(GIF, reason, height, width, start=frame, end=end, clear=clear)


def _bmp(data: tf.Tensor, fields: tf.Tensor) -> Header:
    """Bitmap info header (Microsoft, BITMAPINFOHEADER, BITMAPV4HEADER and BITMAPV5HEADER)."""
    size = tf.strings.length(data)
    below = tf.constant(2**31, tf.int64)
    width, height = _little(fields, 18, 4), _little(fields, 22, 4)
    # Rows run upwards, unless the height is negative.
    orientation = tf.where(height >= below, 1, 4)
    height = tf.where(height >= below, 2 * below - height, height)
    bits, packing = _little(fields, 28, 2), _little(fields, 30, 4)
    masks = fields[54:70]
    red_green_blue = _spells(masks[:12], b"\0\0\xff\0" b"\0\xff\0\0" b"\xff\0\0\0")
    usual = _equal(packing, 0) | (_equal(packing, 3) & _equal(bits, 32) & red_green_blue)
    alpha = _equal(packing, 3) & (_little(fields, 14, 4) >= 56) & _equal(fields[69], 255)
    known = _is_any(bits, 1, 4, 8, 24, 32)
    start = _little(fields, 10, 4)
    end = start + (width * bits + 31) // 32 * 4 * height
    reason = _first_reason(
        (_little(fields, 14, 4) < 40, "this kind of BMP (OS/2) is not supported; use PNG"),
        *_size_checks(height, width, MAX_PIXELS, "BMP"),
        (~known | ~usual, "this kind of BMP (compressed or 16-bit) is not supported; use PNG"),
        ((end > tf.cast(size, tf.int64)) | (start < 54), "damaged or truncated BMP"),
    )
    return _header(BMP, reason, height, width, orientation, alpha, start=start)
