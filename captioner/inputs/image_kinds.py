"""Which kind of file this is, told in the graph by its first bytes."""

import tensorflow as tf

JPEG, PNG, GIF, BMP = range(4)
JPEG_MARK = b"\xff\xd8\xff"
# (offset, bytes, name). The first four are read, the rest refused by name; the first match counts.
_SIGNATURES = (
    (0, JPEG_MARK, "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (8, b"WEBP", "WebP"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypmsf1", "HEIC"),
    (4, b"ftyp", "MP4 or QuickTime"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"%PDF", "PDF"),
    (0, b"8BPS", "Photoshop"),
    (4, b"JXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\x01\0", "ICO"),
    (0, b"PK\x03\x04", "ZIP"),
)
_NO_PICTURES = ("MP4 or QuickTime", "PDF", "ZIP")
_SVG = r"(?i)\C*<svg[\s>]\C*"
_HTML = r"(?i)\s*(<!doctype html|<html)\C*"


def recognise(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """For one file (`data`, a scalar string): its kind, and why it is refused if it is another.

    Returns an int32 scalar, `JPEG`, `PNG`, `GIF`, `BMP` or higher, and a string scalar that means
    something for the higher ones only.
    """
    offsets, marks, names = zip(*_SIGNATURES)
    # Zeros behind a short file keep every read in range.
    start = tf.strings.join([tf.strings.substr(data, 0, 16), b"\0" * 16])
    starts = tf.fill([len(marks)], start)
    seen = tf.strings.substr(starts, list(offsets), [len(mark) for mark in marks])
    matches = tf.concat([tf.equal(seen, list(marks)), [True]], 0)
    kind = tf.argmax(tf.cast(matches, tf.int32), output_type=tf.int32)
    return kind, tf.cond(kind > BMP, lambda: _refusal(data, kind, names), lambda: tf.constant(""))


def _refusal(data: tf.Tensor, kind: tf.Tensor, names: tuple[str, ...]) -> tf.Tensor:
    advice = "are not supported; convert to JPEG or PNG"
    reasons = [
        f"{name} {'files' if name in _NO_PICTURES else 'images'} {advice}" for name in names
    ]
    reason = tf.gather(reasons + ["not an image in JPEG, PNG, GIF or BMP format"], kind)
    text = tf.strings.substr(data, 0, 1024)
    reason = tf.where(tf.strings.regex_full_match(text, _SVG), f"SVG images {advice}", reason)
    page = tf.strings.regex_full_match(text, _HTML)
    reason = tf.where(page, "this is a web page, not an image", reason)
    return tf.where(tf.equal(tf.strings.length(data), 0), "the image is empty (0 bytes)", reason)
