"""Pictures and picture files for tests: every kind that is read, and ways to spoil one."""

import io
import struct
import zlib

import numpy as np
import tensorflow as tf
from PIL import Image

from captioner.inputs.images import array_file, decode_image, decode_images

SIDE = 56  # of most tests, for speed


def scene(width=150, height=110, seed=0) -> Image.Image:
    """A smooth picture with coloured edges, no two sides alike."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.BICUBIC)


_NEIGHBOUR = array_file(np.full((2, 2), 200, np.uint8))


def read_pixels(array, side: int):
    """A picture in memory, through the file that it becomes."""
    return decode_image(tf.constant(array_file(array)), side)


def encode(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def expected(data: bytes, side=SIDE) -> np.ndarray:
    """What Pillow makes of a file: transparency over white, resized with a triangle filter."""
    image = Image.open(io.BytesIO(data))
    if image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return np.asarray(white.convert("RGB").resize((side, side), Image.BILINEAR), np.int32)


def read(*files: bytes, side=SIDE) -> tuple[np.ndarray, list[str]]:
    pixels, errors = decode_images(tf.constant(files, tf.string), side)
    return pixels.numpy().astype(np.int32), [error.decode() for error in errors.numpy()]


def read_one(data: bytes, side=SIDE) -> np.ndarray:
    pixels, errors = read(data, side=side)
    assert errors == [""]
    return pixels[0]


def refusal(data: bytes) -> str:
    """Why a file is refused: the same alone, where one JPEG has a road of its own, and with
    another, which is read."""
    pixels, errors = read(data)
    assert errors[0] and not pixels.any()
    both, reasons = read(data, _NEIGHBOUR)
    assert reasons == [*errors, ""] and not both[0].any() and both[1].any()
    assert len(errors[0]) < 130 and "\n" not in errors[0]
    return errors[0]


def with_alpha(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def grey16(image: Image.Image) -> Image.Image:
    values = np.asarray(image.convert("L")).astype(np.uint16) * 251 + 77
    return Image.fromarray(values)


def png(width, height, bits, colour, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand, for what Pillow does not write."""

    def chunk(name, body):
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + b"".join(chunk(name, body) for name, body in chunks)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def bmp_with(data: bytes, **fields: int) -> bytes:
    """A BMP with other values in its header."""
    places = {"height": (22, "<i"), "bits": (28, "<H"), "packing": (30, "<I")}
    data = bytearray(data)
    for name, value in fields.items():
        at, form = places[name]
        struct.pack_into(form, data, at, value)
    return bytes(data)


FILES = {
    "jpeg": lambda: encode(scene(), "JPEG"),
    "jpeg 4:4:4": lambda: encode(scene(), "JPEG", subsampling=0),
    "jpeg progressive": lambda: encode(scene(), "JPEG", progressive=True),
    "jpeg grey": lambda: encode(scene().convert("L"), "JPEG"),
    "jpeg CMYK, inverted as Adobe does": lambda: encode(scene().convert("CMYK"), "JPEG"),
    "png": lambda: encode(scene(), "PNG"),
    "png grey": lambda: encode(scene().convert("L"), "PNG"),
    "png 1 bit": lambda: encode(scene().convert("1"), "PNG"),
    "png palette": lambda: encode(scene().quantize(200), "PNG"),
    "png palette of 4 bits": lambda: encode(scene().quantize(16), "PNG", bits=4),
    "png palette of 2 bits": lambda: encode(scene().quantize(4), "PNG", bits=2),
    "png alpha": lambda: encode(with_alpha(scene()), "PNG"),
    "png grey alpha": lambda: encode(with_alpha(scene()).convert("LA"), "PNG"),
    "png tRNS palette": lambda: encode(scene().quantize(16), "PNG", transparency=3),
    "png tRNS colour": lambda: encode(
        Image.new("RGB", (9, 9), "red"), "PNG", transparency=(255, 0, 0)
    ),
    "png tRNS grey": lambda: encode(scene().convert("L"), "PNG", transparency=90),
    "png tRNS 1 bit": lambda: encode(scene().convert("1"), "PNG", transparency=0),
    "png 16 bits": lambda: encode(grey16(scene()), "PNG"),
    "gif": lambda: encode(scene().quantize(200), "GIF"),
    "gif not interlaced": lambda: encode(scene().quantize(32), "GIF", interlace=0),
    "gif transparent": lambda: encode(scene().quantize(16), "GIF", transparency=5),
    "gif animated": lambda: encode(
        scene().quantize(64), "GIF", save_all=True,
        append_images=[scene(seed=n).quantize(64) for n in (1, 2, 3)],
    ),
    "bmp": lambda: encode(scene(), "BMP"),
    "bmp of odd width": lambda: encode(scene(151, 109), "BMP"),
    "bmp 32 bits": lambda: encode(with_alpha(scene()), "BMP"),
    "bmp palette": lambda: encode(scene().quantize(99), "BMP"),
    "bmp grey": lambda: encode(scene(151, 109).convert("L"), "BMP"),
    "bmp 1 bit": lambda: encode(scene(151, 109).convert("1"), "BMP"),
    "narrow": lambda: encode(scene(3, 300), "PNG"),
    "one pixel": lambda: encode(Image.new("RGB", (1, 1), "teal"), "PNG"),
}  # fmt: skip

STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1),
}


def exif(orientation: int, order="<", entries_before=3) -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entries = [(0x0100 + n, 4, 1, 7) for n in range(entries_before)]
    body = b"".join(struct.pack(order + "HHII", *entry) for entry in entries)
    body += struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    count = struct.pack(order + "H", len(entries) + 1)
    return mark + struct.pack(order + "I", 8) + count + body + b"\0\0\0\0"


def turned_jpeg(orientation: int, order="<") -> bytes:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](np.asarray(scene()))))
    return encode(
        stored, "JPEG", quality=97, subsampling=0, exif=b"Exif\0\0" + exif(orientation, order)
    )


def claiming(kind: str, width: int, height: int) -> bytes:
    """A small file whose header claims another size."""
    data = bytearray(encode(scene().quantize(8) if kind == "GIF" else scene(), kind))
    if kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        struct.pack_into(">HH", data, at, height, width)
    elif kind == "PNG":
        struct.pack_into(">II", data, 16, width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    elif kind == "GIF":
        struct.pack_into("<HH", data, 6, width, height)
        struct.pack_into("<HH", data, data.index(b"\x2c\0\0\0\0") + 5, width, height)
    else:
        struct.pack_into("<ii", data, 18, width, height)
    return bytes(data)


def mutate(data: bytes, random: np.random.Generator) -> bytes:
    """A file with flipped bits, wild bytes in its header, a cut, a hole or a repetition."""
    broken = bytearray(data)
    for _ in range(random.integers(1, 4)):
        size = max(len(broken), 1)
        at = int(random.integers(size))
        match random.integers(6):
            case 0:
                for place in random.integers(size, size=random.integers(1, 20)):
                    broken[place : place + 1] = bytes([random.integers(256)])
            case 1 | 2:
                place = int(random.integers(min(size, 64)))
                wild = [0, 1, 0x7F, 0x80, 0xFF, int(random.integers(256))]
                broken[place : place + 1] = bytes([random.choice(wild)])
            case 3:
                del broken[at:]
            case 4:
                del broken[at : at + int(random.integers(1, 60))]
            case 5:
                broken[at:at] = broken[at : at + int(random.integers(1, 300))]
    return bytes(broken)
