"""Image files in a form that every model server reads, with Pillow and without TensorFlow.

The served graph reads JPEG, PNG, GIF and BMP; these go as they are. Photos that an EXIF
orientation turns are stood upright: the graph does that itself, but older exports and other
servers need not. What only Pillow reads (WebP, TIFF, AVIF, and with `pip install
'captioner[heic]'` HEIC) becomes PNG or JPEG.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from captioner.errors import CaptionerError
from captioner.inputs.files import MAX_FILE, MAX_JPEG_PIXELS, MAX_PIXELS, MAX_SIDE

# Up to so many pixels the result is a PNG, which loses nothing. Of a larger picture it would be
# four times the size of a JPEG of quality 95 with full colour, whose traces vanish when the graph
# shrinks it: captions of 24 large photographs differed as often with either.
_LOSSLESS = 2**20
_QUALITY = 95

# Bounds the walk over a header, as in the graph; ordinary files have 5 to 50 segments.
_MAX_SEGMENTS = 512

_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_GENERAL = {b"mif1", b"msf1"}  # of either; HEIC where nothing else is said

# How to stand a picture upright by its orientation (EXIF 2.32, tag 0x0112).
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def sendable(contents: bytes, *, longest: int | None = None) -> bytes:
    """An image file that a model server reads.

    JPEG, PNG, GIF and BMP files are given back as they are, unless they are JPEG or PNG and lie
    on their side; so are files of unknown kinds and damaged JPEG and PNG files, as the server
    says what is wrong with them. What is converted loses its metadata; transparency is laid over
    white, of several pictures the first is taken, and sizes are read from the header before
    anything is decoded.

    Args:
        contents: a file's.
        longest: int or None. Pixels; a JPEG, PNG or converted picture of which a side is longer
            is scaled down to it. Defaults to sending pictures in full.

    Raises:
        CaptionerError: larger than `files.MAX_FILE` bytes; or a file that has to be converted and
            can't be, because it is damaged, has too many pixels, or pillow-heif isn't installed.
    """
    if len(contents) > MAX_FILE:
        raise CaptionerError(f"larger than {MAX_FILE // 2**20} MiB")
    kind = _kind(contents)
    if kind in ("JPEG", "PNG"):
        try:
            return _upright(kind, contents, longest)
        except Exception:  # of any kind: what is read may be damaged anywhere
            return contents
    if kind in _OPENERS:
        try:
            return _converted(kind, contents, longest)
        except CaptionerError:
            raise
        except Image.DecompressionBombError as error:  # of which some formats' readers ask first
            raise CaptionerError(f"the {kind} image is too large: {error}") from error
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise CaptionerError(f"damaged {kind}, or of a rare kind: {reason}") from error
    return contents


def _upright(kind: str, contents: bytes, longest: int | None) -> bytes:
    """A JPEG or PNG file, changed only where that is needed."""
    if kind == "JPEG":
        orientation, limit = _orientation(_jpeg_exif(contents)), MAX_JPEG_PIXELS
        if orientation == 1 and longest is None:
            return contents
    image = _OPENERS[kind](contents)
    if kind == "PNG":
        orientation, limit = _orientation(image.info.get("exif")), MAX_PIXELS
    large = longest is not None and max(image.size) > longest
    if (orientation == 1 and not large) or image.width * image.height > limit:
        return contents
    if large and kind == "JPEG":
        image.draft(None, (longest, longest))  # decodes no more than is wanted
    return _encoded(image, orientation, longest)


def _converted(kind: str, contents: bytes, longest: int | None) -> bytes:
    image = _OPENERS[kind](contents)
    width, height = image.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise CaptionerError(
            f"the {kind} image is too large: {width} x {height} pixels, the limit is "
            f"{MAX_PIXELS // 2**20} megapixels and {MAX_SIDE} a side"
        )
    if kind == "HEIC":
        image = image.to_pillow()
    if image.mode in ("I", "F"):
        raise CaptionerError(f"{kind} of 32 bits a sample is not supported; use 8 or 16")
    image.load()  # some formats turn the picture here, and take the orientation away
    return _encoded(image, _orientation(image.info.get("exif")), longest)


def _encoded(image: Image.Image, orientation: int, longest: int | None) -> bytes:
    """A PNG or JPEG file of the picture, upright, over white, and without metadata."""
    image = _rgb(image)
    if longest is not None and max(image.size) > longest:
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    if orientation != 1:
        image = image.transpose(_TURNS[orientation])
    image.info = {}
    file = io.BytesIO()
    if image.width * image.height <= _LOSSLESS:
        image.save(file, "PNG", compress_level=3)
    else:
        image.save(file, "JPEG", quality=_QUALITY, subsampling=0)
    return file.getvalue()


def _rgb(image: Image.Image) -> Image.Image:
    """Any picture as 8-bit RGB or grey, a new one."""
    if image.mode.startswith("I;16"):  # which Pillow would clip, not scale
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.copy() if image.mode in ("L", "RGB") else image.convert("RGB")


def _jpeg_exif(contents: bytes) -> bytes:
    """The first EXIF segment before the picture (ITU-T T.81, annex B), b'' if there is none."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        marker = contents[at : at + 2]
        size = int.from_bytes(contents[at + 2 : at + 4], "big")
        if marker[:1] != b"\xff" or marker == b"\xff\xda":
            break
        segment = contents[at + 4 : at + 2 + size]
        if marker == b"\xff\xe1" and segment.startswith(b"Exif\0\0"):
            return segment
        at += 2 + size
    return b""


def _orientation(exif: bytes | None) -> int:
    """The orientation, 1 to 8, by the rules of the served graph (`image_headers`)."""
    tiff = (exif or b"").removeprefix(b"Exif\0\0")
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    if order is None:
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order)

    start = number(4, 4) + 2
    for at in range(start, start + 12 * min(number(start - 2, 2), _MAX_SEGMENTS), 12):
        if number(at, 2) == 0x0112 and number(at + 2, 2) == 3:  # a 16-bit number
            value = number(at + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1


def _kind(contents: bytes) -> str:
    """The kind of file by its first bytes, '' if it isn't one that is looked into."""
    if contents.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if contents.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if contents[:4] == b"RIFF" and contents[8:12] == b"WEBP":
        return "WebP"
    if contents[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if contents[4:8] == b"ftyp":  # its box lists brands (ISO/IEC 14496-12, section 4.3)
        end = min(int.from_bytes(contents[:4], "big"), 256)
        brands = {contents[at : at + 4] for at in range(8, end, 4)}
        if brands & _AVIF:
            return "AVIF"
        if brands & (_HEIC | _GENERAL):
            return "HEIC"
    return ""


# Each takes a file's contents and reads its header. Not `Image.open`: that tries every format
# there is, and warns of sizes for which this module has limits of its own.


def _open_jpeg(contents: bytes):
    from PIL.JpegImagePlugin import JpegImageFile

    return JpegImageFile(io.BytesIO(contents))


def _open_png(contents: bytes):
    from PIL.PngImagePlugin import PngImageFile

    return PngImageFile(io.BytesIO(contents))


def _open_webp(contents: bytes):
    from PIL.WebPImagePlugin import WebPImageFile

    return WebPImageFile(io.BytesIO(contents))


def _open_tiff(contents: bytes):
    from PIL.TiffImagePlugin import TiffImageFile

    return TiffImageFile(io.BytesIO(contents))


def _open_avif(contents: bytes):
    try:
        from PIL.AvifImagePlugin import AvifImageFile
    except ImportError:
        raise CaptionerError(
            "AVIF images need Pillow 11.3 or newer: pip install -U pillow"
        ) from None
    return AvifImageFile(io.BytesIO(contents))


def _open_heic(contents: bytes):
    try:
        from pillow_heif import open_heif
    except ImportError:
        raise CaptionerError(
            "HEIC images need pillow-heif: pip install 'captioner[heic]'; or convert to JPEG"
        ) from None
    return open_heif(io.BytesIO(contents), convert_hdr_to_8bit=True)


_OPENERS: dict[str, Callable] = {
    "JPEG": _open_jpeg,
    "PNG": _open_png,
    "WebP": _open_webp,
    "TIFF": _open_tiff,
    "AVIF": _open_avif,
    "HEIC": _open_heic,
}
