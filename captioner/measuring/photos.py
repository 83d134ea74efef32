"""Photographs to measure with: made here, of the sizes and weights that photographs have.

What a JPEG costs to decode goes by its pixels and its bytes. Flickr8k's photographs are mostly
500 x 375 pixels, with 6.1 bits a pixel (the median of 800; a tenth are below 4.1 and a tenth above
8.6). Phones write 4032 x 3024 with about 2 bits a pixel.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from captioner.errors import CaptionerError
from captioner.inputs.files import read_file

WEB = (500, 375)  # pixels, width and height
PHONE = (4032, 3024)

_ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp")
_MOST = 64


def made(size: tuple[int, int], count: int, seed: int = 0) -> list[bytes]:
    """JPEG files of a size (width, height), all different, the same ones each time."""
    rng = np.random.default_rng(seed)
    return [_photo(size, rng) for _ in range(count)]


def _photo(size: tuple[int, int], rng: np.random.Generator) -> bytes:
    """Shapes of every size, as in nature: noise that weakens from octave to octave."""
    width, height = size
    pixels = np.full((height, width, 3), 128, np.float32)
    amplitude, cells = 60.0, 3
    while cells < min(width, 1024):
        cell = rng.normal(0, amplitude, (max(1, cells * height // width), cells, 3))
        octave = Image.fromarray(np.clip(cell + 128, 0, 255).astype(np.uint8))
        pixels += np.asarray(octave.resize(size, Image.Resampling.BICUBIC), np.float32) - 128
        cells, amplitude = cells * 2, amplitude * 0.7
    # Of the sensor, the same in all channels; the smaller picture was made of a larger one.
    pixels += rng.normal(0, 12 if width < 1024 else 4, (height, width, 1)).astype(np.float32)
    file = io.BytesIO()
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    picture.save(file, "JPEG", quality=95 if width < 1024 else 90)
    return file.getvalue()


def of_folder(folder: Path) -> list[bytes]:
    """The contents of a folder's images, at most 64.

    Raises:
        CaptionerError: no folder, or no images in it.
    """
    if not folder.is_dir():
        raise CaptionerError(f"no folder of images at {folder}")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS)
    found = [contents for contents, error in map(read_file, files[:_MOST]) if not error]
    if not found:
        raise CaptionerError(f"{folder} holds no images ({', '.join(_ENDINGS)})")
    return found


def cycled(photos: Sequence[bytes], count: int) -> list[bytes]:
    """So many photographs, again from the first where there are too few."""
    return [photos[at % len(photos)] for at in range(count)]


def written(folder: Path, contents: Sequence[bytes]) -> list[Path]:
    """Photographs as files of a folder, which is made where there is none."""
    folder.mkdir(exist_ok=True)
    found = []
    for at, one in enumerate(contents):
        found.append(folder / f"{at}.jpg")  # what they are is read off their contents
        found[-1].write_bytes(one)
    return found
