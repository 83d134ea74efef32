"""The image function: formats, orientation, resizing, arrays."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from pictures import (
    FILES,
    SIDE,
    bmp_with,
    encode,
    exif,
    expected,
    png,
    read,
    read_one,
    read_pixels,
    refusal,
    scene,
    turned_jpeg,
    with_alpha,
)
from PIL import Image

from captioner.errors import CaptionerError
from captioner.inputs.images import normalise


@pytest.mark.parametrize("name", FILES)
def test_a_file_gives_pillows_pixels(name):
    data = FILES[name]()
    difference = np.abs(read_one(data) - expected(data))
    # Pillow rounds between its two passes, TensorFlow does not.
    assert difference.max() <= (1 if "jpeg" not in name else 2)
    assert difference.mean() < 0.3


def test_one_batch_of_all_formats():
    files = [make() for make in FILES.values()]
    pixels, errors = read(*files)
    assert errors == [""] * len(files)
    for data, row in zip(files, pixels):
        np.testing.assert_array_equal(row, read_one(data))


def test_cmyk_jpeg_without_adobes_marker_is_not_inverted():
    cmyk = scene().convert("CMYK")
    inverted = Image.frombytes("CMYK", cmyk.size, bytes(255 - value for value in cmyk.tobytes()))
    data = encode(inverted, "JPEG")
    marker = data.index(b"\xff\xee\x00\x0eAdobe")
    plain = data[:marker] + data[marker + 16 :]
    assert np.abs(read_one(plain) - read_one(encode(cmyk, "JPEG"))).max() <= 3


def test_interlaced_png_by_hand():
    # Adam7 on 1 x 1: only the first pass has a pixel.
    row = b"\0" + bytes([200, 100, 50])
    data = bytearray(png(1, 1, 8, 2, row))
    data[28] = 1
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    assert (read_one(bytes(data)) == [200, 100, 50]).all()


def test_png_of_16_bits_with_a_transparent_colour():
    clear, red = struct.pack(">HHH", 1, 2, 3), struct.pack(">HHH", 65535, 0, 0)
    data = png(2, 1, 16, 2, b"\0" + clear + red, (b"tRNS", clear))
    pixels = read_one(data, side=2)
    assert (pixels[:, 0] == 255).all() and (pixels[:, 1] == [255, 0, 0]).all()


def test_bmp_variants():
    upright = encode(scene(), "BMP")
    rows = np.asarray(scene())[::-1]
    downwards = bmp_with(encode(Image.fromarray(rows), "BMP"), height=-110)
    np.testing.assert_array_equal(read_one(downwards), read_one(upright))
    # Four bits a pixel: two pixels a byte, the left one in the high half.
    palette = struct.pack("<16I", *[0x111111 * n for n in range(16)])
    head = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 4, 0, 4, 0, 0, 16, 0)
    body = head + palette + bytes([0x0F, 0, 0, 0])
    data = b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 14 + 40 + 64) + body
    assert read_one(data, side=2)[0].tolist() == [[0, 0, 0], [255, 255, 255]]
    # Bit fields in the usual order, with opacity.
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = struct.pack("<IiiHHIIiiII", 56, 1, 1, 1, 32, 3, 4, 0, 0, 0, 0) + masks
    body = head + bytes([0, 0, 200, 0])
    data = b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 14 + 56) + body
    assert (read_one(data) == 255).all()
    assert "compressed" in refusal(bmp_with(encode(scene().quantize(9), "BMP"), packing=1))
    assert "16-bit" in refusal(bmp_with(upright, bits=16))
    assert "truncated" in refusal(upright[:-1])


def test_gif_frame_smaller_than_its_screen():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0] * 256)
    data = bytearray(encode(image, "GIF"))
    struct.pack_into("<HH", data, 6, 8, 8)  # the screen
    at = data.index(b"\x2c\0\0\0\0\x04\0\x04\0")
    struct.pack_into("<HH", data, at + 1, 4, 2)
    pixels = read_one(bytes(data), side=8)
    wanted = np.full((8, 8, 3), 255)
    wanted[2:6, 4:8] = [255, 0, 0]
    np.testing.assert_array_equal(pixels, wanted)


# Orientation ------------------------------------------------------------------------------------

# How a picture must be stored so that each EXIF orientation turns it upright.
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_equals_its_upright_self(orientation, order):
    upright = read_one(encode(scene(), "JPEG", quality=97, subsampling=0))
    difference = np.abs(read_one(turned_jpeg(orientation, order)) - upright)
    assert difference.max() <= 4 and difference.mean() < 0.7  # two compressions differ a little


def test_orientation_changes_nothing_but_the_turn():
    plain = encode(scene(), "JPEG")
    tagged = encode(scene(), "JPEG", exif=b"Exif\0\0" + exif(6))
    np.testing.assert_array_equal(read_one(tagged), np.rot90(read_one(plain), -1))


def test_orientation_of_a_png():
    tagged = encode(scene(), "PNG", exif=exif(3))
    np.testing.assert_array_equal(read_one(tagged), read_one(encode(scene(), "PNG"))[::-1, ::-1])


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"II*\0",
        b"XX*\0" + exif(6)[4:],
        exif(9),
        exif(0),
        b"II*\0\xff\xff\xff\xff" + exif(6)[8:],
        exif(6)[:-14],
        b"MM" + exif(6)[2:],
        exif(6)[:8] + b"\xff\xff" + b"\0" * 40,
    ],
)
def test_garbage_exif_is_ignored(garbage):
    data = encode(scene(), "JPEG", exif=b"Exif\0\0" + garbage)
    np.testing.assert_array_equal(read_one(data), read_one(encode(scene(), "JPEG")))


# Resizing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(500, 375), (37, 411), (20, 30), (224, 224), (2300, 1900)])
@pytest.mark.parametrize("side", [224, 100, 14])
def test_resize_equals_tensorflows(size, side):
    picture = np.asarray(scene(*size))
    wanted = tf.image.resize(picture, [side, side], antialias=True).numpy()
    difference = np.abs(read_pixels(picture, side).numpy() - wanted)
    assert difference.max() <= 0.51


@pytest.mark.parametrize("size", [(500, 375), (37, 411), (20, 30), (2300, 1900)])
@pytest.mark.parametrize("side", [224, 100, 14])
def test_transparency_is_laid_over_white_before_resizing(size, side):
    picture = np.asarray(with_alpha(scene(*size)))
    opacity = picture[..., 3:] / np.float32(255)
    laid = picture[..., :3] * opacity + 255 * (1 - opacity)
    wanted = tf.image.resize(laid, [side, side], antialias=True).numpy()
    difference = np.abs(read_pixels(picture, side).numpy() - wanted)
    assert difference.max() <= 0.51


def test_large_jpegs_decoded_at_reduced_scale_stay_close():
    for width, height in [(700, 680), (1400, 1500), (2900, 2700)]:
        data = encode(scene(width, height), "JPEG")
        difference = np.abs(read_one(data, side=224) - expected(data, side=224))
        assert difference.mean() < 1 and difference.max() <= 6


# Arrays and normalisation -----------------------------------------------------------------------


def test_arrays_equal_files():
    array = np.asarray(scene())
    from_file = read_one(encode(scene(), "PNG"))
    np.testing.assert_array_equal(read_pixels(array, SIDE), from_file)
    np.testing.assert_array_equal(read_pixels(array / 255, SIDE), from_file)
    np.testing.assert_array_equal(read_pixels((array / 255).astype(np.float32), SIDE), from_file)
    grey = np.asarray(scene().convert("L"))
    from_file = read_one(encode(scene().convert("L"), "PNG"))
    np.testing.assert_array_equal(read_pixels(grey, SIDE), from_file)
    np.testing.assert_array_equal(read_pixels(grey[..., None], SIDE), from_file)
    clear = with_alpha(scene())
    np.testing.assert_array_equal(
        read_pixels(np.asarray(clear), SIDE), read_one(encode(clear, "PNG"))
    )


@pytest.mark.parametrize(
    "array, words",
    [
        (np.zeros((3, 20, 20), np.uint8), "channels last"),
        (np.zeros((20, 20, 2), np.uint8), "channels last"),
        (np.zeros((2, 20, 20, 3), np.uint8), "shape"),
        (np.zeros((0, 20, 3), np.uint8), "pixel"),
        (np.zeros((20, 20, 3), np.int64), "uint8"),
        (np.full((20, 20, 3), 255.0), "divide by 255"),
        (np.full((20, 20, 3), -0.1), "0 to 1"),
        (np.full((20, 20, 3), np.nan), "0 to 1"),
        (np.array("photo.jpg"), "shape"),
        (np.zeros((1, 70_000), np.uint8), "a side"),
    ],
)
def test_wrong_arrays_are_explained(array, words):
    with pytest.raises(CaptionerError, match=words):
        read_pixels(array, SIDE)


def test_normalise_equals_keras():
    keras = pytest.importorskip("keras")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    wanted = keras.applications.resnet50.preprocess_input(pixels.astype(np.float32))
    result = normalise(tf.constant(pixels))
    assert result.dtype == tf.float32
    np.testing.assert_allclose(result, wanted, atol=1e-5)


def test_photographs_agree_with_pillow():
    shared = os.environ.get("CAPTIONER_SHARED")
    root = Path(shared) if shared else Path(__file__).parents[2] / "shared"
    candidates = [root / "data/flickr8k/Images", root / "flickr8k/Images"]
    folder = next((folder for folder in candidates if folder.is_dir()), None)
    if folder is None:
        pytest.skip("no Flickr8k photographs: set CAPTIONER_SHARED to the folder above data/")
    for path in sorted(folder.glob("*.jpg"))[:20]:
        data = path.read_bytes()
        difference = np.abs(read_one(data, side=224) - expected(data, side=224))
        assert difference.mean() < 0.3 and difference.max() <= 1
