"""Pictures of where a captioner looked.

Legend: T words, H, W rows and columns of the image grid.
"""

import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from captioner.metrics.deletion import places

# Pixels of an inch in drawings that are saved.
DPI = 110
# A picture's longer side in attention drawings, in pixels: its own between these two.
_SMALLEST, _LARGEST = 320, 640
# The narrowest panel, which a word must fit, and the widest drawing, in pixels.
_NARROWEST, _WIDEST = 200, 2600
# The widest array of `figure_pixels`.
_SMALL = 1300
_FRAME = "#ffd400"


def open_image(data: bytes) -> Image.Image:
    """An image file's contents as an upright RGB picture, transparency over white."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def words_with_maps(
    tokens: Sequence[str], maps: np.ndarray
) -> list[tuple[str, np.ndarray]]:
    """Joins WordPieces to words; a word's map is its pieces' mean.

    tokens: pieces, padded with ''. maps: [T, H, W].
    """
    words: list[tuple[str, list[np.ndarray]]] = []
    for token, weights in zip(tokens, maps, strict=True):
        if not token:
            continue
        if token.startswith("##") and words:
            words[-1] = (words[-1][0] + token[2:], [*words[-1][1], weights])
        else:
            words.append((token, [weights]))
    return [(word, np.mean(pieces, axis=0)) for word, pieces in words]


def overlay(image: Image.Image, weights: np.ndarray, top: float | None = None) -> np.ndarray:
    """The picture, in colour where `weights` [H, W] are highest and grey where they are lowest;
    uint8 [h, w, 3].

    top: the weight that is lit fully. The caption's highest shows maps on one scale, so that one
        that prefers no place stays dark; defaults to the map's own, which stretches any map.
    """
    low, high = weights.min(), weights.max() if top is None else top
    scaled = np.zeros_like(weights)
    if high > low:
        # Half the weight shows as more than half the light: dim parts are hard to tell apart.
        scaled = np.clip((weights - low) / (high - low), 0, 1) ** 0.7
    mask = Image.fromarray(np.uint8(255 * scaled)).resize(image.size, Image.Resampling.BICUBIC)
    light = np.asarray(mask, np.float32)[..., None] / 255
    pixels = np.asarray(image, np.float32)
    # Unlit parts stay recognisable, dark and grey; lit ones keep their colours.
    grey = pixels.mean(-1, keepdims=True) * 0.4 + 10
    return np.uint8(np.clip(grey * (1 - light) + pixels * light, 0, 255))


def attention_figure(
    image: Image.Image, caption: str, tokens: Sequence[str], maps: np.ndarray
):
    """A matplotlib figure: the picture with its caption, then a panel for every word.

    Pictures keep their size up to 640 pixels, at `DPI`. All maps are on one scale. A frame stands
    around the block that was looked at most, with its share of the attention beside the word.
    """
    from matplotlib.figure import Figure

    image = _sized(image)
    words = words_with_maps(tokens, maps)
    panels = len(words) + 1
    wide, title, top, note = max(image.width, _NARROWEST) + 8, 40, 60, 40  # pixels
    columns = min(max(3, _WIDEST // wide), max(3, panels))
    rows = math.ceil(panels / columns)
    width, height = columns * wide, top + rows * (title + image.height) + note
    # Laid out by hand: matplotlib's solver takes longer than the model.
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    # Captions hold no formulas, whatever dollar signs they hold.
    figure.suptitle(caption, fontsize=18, y=1 - 12 / height, va="top", parse_math=False)

    def panel(number: int, shown, word: str, **style):
        row, column = divmod(number, columns)
        left = (column + 0.5) * wide - image.width / 2
        bottom = height - top - (row + 1) * (title + image.height)
        axes = figure.add_axes(
            (left / width, bottom / height, image.width / width, image.height / height)
        )
        axes.axis("off")
        axes.imshow(shown, aspect="auto")
        axes.set_title(word, parse_math=False, **style)
        return axes

    panel(0, image, "the picture", fontsize=14, color="0.4")
    brightest = max((float(weights.max()) for _, weights in words), default=0.0)
    for number, (word, weights) in enumerate(words, 1):
        share = _share(weights)
        axes = panel(
            number, overlay(image, weights, brightest), f"{word}  {share:.0%}", fontsize=16
        )
        if share:
            _frame(axes, image, weights)
    if words:
        figure.text(4 / width, 12 / height, _note(words[0][1]), fontsize=12, color="0.4")
    return figure


def _sized(image: Image.Image) -> Image.Image:
    """The picture at the size that it is drawn."""
    longer = max(image.size)
    scale = min(max(longer, _SMALLEST), _LARGEST) / longer
    size = [max(1, round(scale * side)) for side in image.size]
    return image.resize(size, Image.Resampling.LANCZOS)


def _share(weights: np.ndarray) -> float:
    """The share of a map [H, W] that lies in the block looked at most; 0 of an empty map."""
    if not weights.sum() > 0:
        return 0.0
    (top, bottom), (left, right) = _block(weights)
    return float(weights[top:bottom, left:right].sum() / weights.sum())


def _block(weights: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of the block looked at most: the one that the deletion test covers."""
    known = places(*weights.shape)
    row, column = known.corners[known.looked_at(weights[None])[0]]
    return (row, row + known.block[0]), (column, column + known.block[1])


def _frame(axes, image: Image.Image, weights: np.ndarray) -> None:
    from matplotlib.patches import Rectangle

    ends = zip(_block(weights), weights.shape, (image.height, image.width), strict=True)
    (top, bottom), (left, right) = (
        [edge * size / cells - 0.5 for edge in edges] for edges, cells, size in ends
    )
    axes.add_patch(
        Rectangle(
            (left, top), right - left, bottom - top, fill=False, edgecolor=_FRAME, linewidth=1.2
        )
    )


def _note(weights: np.ndarray) -> str:
    block = places(*weights.shape).block
    even = block[0] * block[1] / weights.size
    return (
        "The frame holds what was looked at most for a word, the number its share of the "
        f"attention. Looking everywhere alike would be {even:.0%}."
    )


def figure_pixels(figure) -> np.ndarray:
    """A figure as uint8 [h, w, 3], at most 1300 pixels wide."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(min(DPI, _SMALL / figure.get_size_inches()[0]))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
