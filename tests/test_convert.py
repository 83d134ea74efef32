"""What is done to image files before they are sent to a model server."""

import builtins
import io
import warnings

import numpy as np
import pytest
from clients import UNREADABLE, jpeg
from PIL import Image, features

from captioner.errors import CaptionerError
from captioner.inputs import convert
from captioner.inputs.convert import sendable
from captioner.inputs.files import MAX_FILE

# Two-coloured, so that every way of turning it shows: red at the top left of green.
_PICTURE = np.full((40, 60, 3), (0, 160, 0), np.uint8)
_PICTURE[:20, :30] = (200, 0, 0)


def saved(kind: str, picture=None, **options) -> bytes:
    file = io.BytesIO()
    picture = _PICTURE if picture is None else picture
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(file, kind, **options)
    return file.getvalue()


def opened(contents: bytes) -> Image.Image:
    return Image.open(io.BytesIO(contents))


def pixels(contents: bytes) -> np.ndarray:
    return np.asarray(opened(contents).convert("RGB"), np.int32)


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x112] = orientation
    return made


def close(contents: bytes, expected: np.ndarray, most: int = 12) -> bool:
    """Within what a lossy format changes away from the edges."""
    found = pixels(contents)
    return found.shape == expected.shape and np.median(abs(found - expected)) <= most


# The eight ways to store a picture, each undone by one of the orientations (EXIF 2.32).
STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p),
    7: lambda p: p.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda p: np.rot90(p, -1),
}


def needs_avif():
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")


def heif():
    return pytest.importorskip("pillow_heif", reason="the extra heic isn't installed")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_what_the_graph_reads_goes_as_it_is(kind):
    contents = saved(kind)
    assert sendable(contents) is contents
    upright = saved(kind, exif=exif(1)) if kind in ("JPEG", "PNG") else contents
    assert sendable(upright) is upright


@pytest.mark.parametrize("name", [name for name in UNREADABLE if name != "webp"])
def test_what_is_wrong_with_other_files_the_server_says(name):
    contents = UNREADABLE[name]
    assert sendable(contents) is contents
    assert sendable(contents, longest=20) is contents


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", list(STORED)[1:])
def test_photos_are_stood_upright(kind, orientation):
    lying = saved(kind, np.ascontiguousarray(STORED[orientation](_PICTURE)), exif=exif(orientation))
    sent = sendable(lying)
    assert sent != lying and close(sent, _PICTURE)
    assert not opened(sent).getexif(), "the server would turn it once more"
    if kind == "PNG":
        np.testing.assert_array_equal(pixels(sent), _PICTURE)


def test_turning_a_photo_loses_nothing():
    lying = saved("JPEG", np.rot90(_PICTURE), exif=exif(6))
    np.testing.assert_array_equal(pixels(sendable(lying)), np.rot90(pixels(lying), -1))


@pytest.mark.parametrize("lossless", [_PICTURE.size, 0])
def test_what_is_converted_loses_its_metadata(monkeypatch, lossless):
    monkeypatch.setattr(convert, "_LOSSLESS", lossless)
    contents = saved("WEBP", exif=exif(6), icc_profile=b"a profile", xmp=b"<x/>")
    assert not {"exif", "icc_profile", "xmp"} & set(opened(sendable(contents)).info)


def test_a_large_photo_becomes_a_jpeg_with_full_colour(monkeypatch):
    lying = saved("JPEG", np.rot90(_PICTURE), exif=exif(6))
    monkeypatch.setattr(convert, "_LOSSLESS", 60 * 40 - 1)
    sent = opened(sendable(lying))
    assert sent.format == "JPEG" and sent.layer[0][1:3] == sent.layer[1][1:3] == (1, 1)
    assert close(sendable(lying), _PICTURE)


@pytest.mark.parametrize(
    "directory",
    [
        b"", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"II*\0\x08\0\0\0\x01\0",
        # 6, but as a 32-bit number, which the graph doesn't take either
        b"II*\0\x08\0\0\0\x01\0" + b"\x12\x01\x04\0\x01\0\0\0\x06\0\0\0" + bytes(4),
    ],
)  # fmt: skip
def test_damaged_orientations_turn_nothing(directory):
    contents = saved("JPEG", exif=b"Exif\0\0" + directory)
    assert b"Exif\0\0" + directory in contents and sendable(contents) is contents


def test_the_walk_over_a_header_ends():
    lying = saved("JPEG", np.rot90(_PICTURE), exif=exif(6))
    for segments, turned in ((500, True), (512, False)):
        padded = lying[:2] + b"\xff\xe2\0\x02" * segments + lying[2:]
        assert (sendable(padded) is not padded) == turned


def test_a_truncated_photo_that_lies_on_its_side_goes_as_it_is():
    lying = saved("JPEG", np.rot90(_PICTURE), exif=exif(6))
    assert sendable(lying[:-200]) == lying[:-200]


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", [None, 1, 6])
def test_other_kinds_are_converted(kind, orientation):
    if kind == "AVIF":
        needs_avif()
    stored = np.ascontiguousarray(STORED[orientation or 1](_PICTURE))
    options = {"lossless": True} if kind == "WEBP" else {}
    if orientation:
        options["exif"] = exif(orientation)
    if kind == "HEIF":
        file = io.BytesIO()
        options = {"exif": options["exif"].tobytes()} if options else {}
        heif().from_pillow(Image.fromarray(stored)).save(file, quality=95, **options)
        contents = file.getvalue()
    else:
        contents = saved(kind, stored, **options)
    sent = sendable(contents)
    assert opened(sent).format == "PNG" and close(sent, _PICTURE)
    if kind in ("WEBP", "TIFF"):
        np.testing.assert_array_equal(pixels(sent), _PICTURE)


def test_heic_without_pillow_heif_names_the_extra(monkeypatch):
    truth = builtins.__import__

    def without(name, *rest, **more):
        if name == "pillow_heif":
            raise ImportError(name)
        return truth(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    contents = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 99
    with pytest.raises(CaptionerError, match=r"pip install 'captioner\[heic\]'"):
        sendable(contents)


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x14ftypmsf1\0\0\0\0msf1", "HEIC"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", ""),
    ],
)
def test_brands_tell_avif_heic_and_films_apart(box, kind):
    assert convert._kind(box) == kind
    if not kind:
        assert sendable(box) is box


def test_transparency_is_laid_over_white():
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[:4] = (10, 20, 30, 255)
    for kind in ("WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        found = pixels(sendable(saved(kind, clear, **options)))
        assert (found[:4] == (10, 20, 30)).all() and (found[4:] == 255).all()


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue", "green")]
    for kind, options in (("WEBP", {"lossless": True}), ("TIFF", {})):
        contents = saved(kind, frames[0], save_all=True, append_images=frames[1:], **options)
        assert opened(contents).n_frames == 3
        assert (pixels(sendable(contents)) == (255, 0, 0)).all()


def test_tiff_of_many_kinds():
    deep = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    found = pixels(sendable(saved("TIFF", deep)))
    np.testing.assert_array_equal(found[..., 0], deep >> 8)
    inks = Image.fromarray(_PICTURE).convert("CMYK")
    np.testing.assert_array_equal(pixels(sendable(saved("TIFF", inks))), inks.convert("RGB"))
    palette = Image.fromarray(_PICTURE).quantize(4)
    np.testing.assert_array_equal(pixels(sendable(saved("TIFF", palette))), _PICTURE)
    bilevel = Image.fromarray(_PICTURE[..., 0] > 100)
    assert set(np.unique(pixels(sendable(saved("TIFF", bilevel))))) == {0, 255}
    with pytest.raises(CaptionerError, match="TIFF of 32 bits a sample"):
        sendable(saved("TIFF", np.ones((8, 8), np.float32)))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("kind", ["WEBP", "TIFF"])
def test_damaged_files_are_refused_by_name(kind):
    contents = saved(kind, np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8))
    for broken in (contents[: len(contents) // 2], contents[:20], contents[:12]):
        with pytest.raises(CaptionerError, match=f"(?i)damaged {kind}"):
            sendable(broken)


def test_sizes_are_checked_before_anything_is_decoded(monkeypatch):
    """A TIFF whose header claims ten gigapixels, and one just above the limit."""
    contents = bytearray(saved("TIFF", np.zeros((1, 1, 3), np.uint8)))
    for tag in (b"\x00\x01", b"\x01\x01"):  # width, height: little-endian, made 32 bits wide
        at = contents.index(tag, 8)
        contents[at + 2 : at + 12] = b"\x04\0" + b"\x01\0\0\0" + (100_000).to_bytes(4, "little")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CaptionerError, match="100000 x 100000 pixels, the limit is 32 mega"):
            sendable(bytes(contents))
    monkeypatch.setattr(convert, "MAX_PIXELS", 60 * 40 - 1)
    with pytest.raises(CaptionerError, match="TIFF image is too large: 60 x 40"):
        sendable(saved("TIFF"))
    lying = saved("PNG", np.rot90(_PICTURE), exif=exif(6))
    assert sendable(lying) is lying, "the server refuses it itself"


def test_a_webp_that_claims_a_huge_canvas_is_refused_as_such():
    picture = saved("WEBP", lossless=True)[12:]
    place = (59).to_bytes(3, "little") + (39).to_bytes(3, "little") + (10).to_bytes(3, "little")
    frame = bytes(6) + place + b"\0" + picture
    canvas = b"\x02\0\0\0" + 2 * (16382).to_bytes(3, "little")
    chunks = b"".join(
        name + len(data).to_bytes(4, "little") + data
        for name, data in ((b"VP8X", canvas), (b"ANIM", bytes(6)), (b"ANMF", frame))
    )
    contents = b"RIFF" + (4 + len(chunks)).to_bytes(4, "little") + b"WEBP" + chunks
    with pytest.raises(CaptionerError, match="WebP image is too large"):
        sendable(contents)


def test_large_files_are_refused():
    with pytest.raises(CaptionerError, match="larger than 64 MiB"):
        sendable(b"\xff\xd8\xff" + bytes(MAX_FILE))
    with pytest.raises(CaptionerError, match="larger than 64 MiB"):
        sendable(bytes(MAX_FILE + 1))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_are_made_smaller_only_where_asked_for(kind):
    contents = saved(kind, np.ascontiguousarray(np.rot90(_PICTURE)), exif=exif(6))
    assert opened(sendable(contents)).size == (60, 40)
    sent = sendable(contents, longest=30)
    assert opened(sent).size == (30, 20) and close(sent, _PICTURE[::2, ::2], 25)
    upright = saved(kind)
    assert opened(sendable(upright, longest=30)).size == (30, 20)
    assert opened(sendable(upright, longest=60)).size == (60, 40)


def test_a_large_jpeg_is_decoded_at_a_reduced_scale(monkeypatch):
    contents = jpeg(3, width=1600, height=1200)
    decoded = []
    truth = Image.Image.thumbnail
    monkeypatch.setattr(
        Image.Image, "thumbnail", lambda one, *rest: decoded.append(one.size) or truth(one, *rest)
    )
    assert opened(sendable(contents, longest=400)).size == (400, 300)
    assert decoded == [(800, 600)]
