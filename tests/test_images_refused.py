"""Files that are no pictures, claim too much, or break off: each is refused with a reason."""

import struct

import numpy as np
import pytest
from pictures import FILES, claiming, encode, read_one, refusal, scene

from captioner.inputs import image_headers


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "empty"),
        (b"A dog runs on grass.", "not an image"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "WebP"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"<!DOCTYPE html><html><svg >", "web page"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b"\xff\xd8\xff", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"GIF89a", "GIF"),
        (b"BM", "BMP"),
    ],
)
def test_refused_with_a_reason(data, words):
    assert words in refusal(data)


def test_real_webp_and_tiff_are_refused_by_name():
    assert "WebP" in refusal(encode(scene(), "WEBP"))
    assert "TIFF" in refusal(encode(scene(), "TIFF"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_sizes_are_checked_before_decoding(kind):
    assert "60000 x 60000" in refusal(claiming(kind, 60_000, 60_000))
    assert refusal(claiming(kind, 0, 10)) and refusal(claiming(kind, 10, 0))
    if kind != "JPEG":  # libjpeg takes a JPEG whose data end early in order, greying the rest
        assert refusal(claiming(kind, 5_000, 5_000))


def test_sizes_that_overflow():
    for kind in ("PNG", "BMP"):
        for size in (2**31 - 1, -1, -(2**31)):
            size %= 2**32
            data = bytearray(claiming(kind, 10, 10))
            form, at = ("<II", 18) if kind == "BMP" else (">II", 16)
            struct.pack_into(form, data, at, size, size)
            assert refusal(bytes(data))


def test_progressive_jpegs_are_bounded():
    data = encode(scene(), "JPEG", progressive=True)
    assert image_headers.MAX_PIXELS < 6100 * 6100 < image_headers.MAX_JPEG_PIXELS
    at = data.index(b"\xff\xc2") + 5
    assert "too large" in refusal(data[:at] + struct.pack(">HH", 6100, 6100) + data[at + 4 :])
    scan = data.rindex(b"\xff\xda")
    repeated = data[:scan] + data[scan:-2] * 80 + data[-2:]
    assert "scans" in refusal(repeated)


def test_only_the_first_frame_of_a_gif_is_decoded():
    one = encode(scene().quantize(64), "GIF")
    body = one[one.index(b"\x2c\0\0\0\0") : -1]
    huge = one[:-1] + body * 3000 + b";"  # 150 MB if all were decoded
    np.testing.assert_array_equal(read_one(huge), read_one(one))
    broken_later = one[:-1] + body[:300]
    np.testing.assert_array_equal(read_one(broken_later), read_one(one))


def test_a_gif_frame_that_breaks_off_inside_its_codes_is_refused():
    good = encode(scene().quantize(64), "GIF")
    frame = good.index(b"\x2c\0\0\0\0")
    # A clear code and an end code, then nothing: well-formed blocks, too few pixels.
    bad = good[: frame + 10] + b"\x06" + b"\x02" + bytes([0x40 | 0x80, 0x20]) + b"\0;"
    assert "damaged" in refusal(bad)


def test_truncated_files_are_refused():
    for name in ("jpeg", "jpeg progressive", "png", "gif", "bmp"):
        data = FILES[name]()
        for share in (0.1, 0.5, 0.9):
            assert refusal(data[: int(len(data) * share)])
