"""Photos and attention maps as pictures that stand in a page itself, small and few.

Legend: H, W rows and columns of the image grid.
"""

import base64
import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image

from captioner.captioning import Caption
from captioner.drawing import open_image, overlay, words_with_maps
from captioner.inputs.files import MAX_JPEG_PIXELS, read_file

# The longer sides of pictures, in pixels, and the most words of a caption that get a map.
PHOTO, MAP = 480, 120
WORDS = 32


@dataclass(frozen=True)
class Picture:
    """A picture for a page."""

    uri: str
    """data:image/jpeg;base64,…"""
    width: int
    height: int


def photo(path) -> Image.Image | None:
    """An image file as a small upright RGB picture; None where Pillow can't read it.

    What a server or TensorFlow reads, Pillow may not; a page goes without that photo.
    """
    contents, error = read_file(path)
    if error:
        return None
    try:
        with warnings.catch_warnings():
            # Sizes are checked here, against the project's own limit.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            header = Image.open(io.BytesIO(contents))
            if header.width * header.height > MAX_JPEG_PIXELS:
                return None
            image = open_image(contents)
    except Exception:  # of any kind: what is read may be damaged anywhere
        return None
    image.thumbnail((PHOTO, PHOTO), Image.Resampling.LANCZOS)
    return image


def picture(image: Image.Image, quality: int = 80) -> Picture:
    """A picture as a JPEG in a data URI."""
    text = base64.b64encode(jpeg(image, quality)).decode("ascii")
    return Picture(f"data:image/jpeg;base64,{text}", *image.size)


def jpeg(image: Image.Image, quality: int = 80) -> bytes:
    """A picture as a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()


def maps(image: Image.Image, caption: Caption) -> list[tuple[str, Picture, str]]:
    """Where the model looked for each word: the word, the picture, and the place in words."""
    small = image.copy()
    small.thumbnail((MAP, MAP), Image.Resampling.LANCZOS)
    words = words_with_maps(caption.tokens, caption.attention)[:WORDS]
    top = max((weights.max() for _, weights in words), default=0.0)  # one scale for all
    return [
        (word, picture(Image.fromarray(overlay(small, weights, top)), quality=70), place(weights))
        for word, weights in words
    ]


def place(weights: np.ndarray) -> str:
    """Where most of a map [H, W] lies, for those who don't see it: 'top left', 'centre', …"""
    if not weights.sum() > 0:
        return "nowhere"
    down, across = (
        int(3 * float(np.average(np.arange(len(sums)) + 0.5, weights=sums)) / len(sums))
        for sums in (weights.sum(1), weights.sum(0))
    )
    where = f"{('top', '', 'bottom')[down]} {('left', '', 'right')[across]}".strip()
    return where or "centre"
