"""Pictures of attention: upright, aligned with their words, legible."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from captioner.drawing import (
    DPI,
    attention_figure,
    figure_pixels,
    open_image,
    overlay,
    words_with_maps,
)


def file_of(image: Image.Image, kind="PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def halves(width=80, height=40) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), "red")
    image.paste("blue", (width // 2, 0, width, height))
    return image


@pytest.mark.parametrize("orientation", range(1, 9))
def test_open_image_turns_it_upright(orientation):
    """Each orientation is undone: stored so that the viewer must turn it back."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    image = halves()
    image.paste("lime", (0, 0, 40, 20))
    stored = image.transpose(undo[orientation]) if orientation in undo else image
    exif = Image.Exif()
    exif[0x112] = orientation
    opened = open_image(file_of(stored, exif=exif))
    np.testing.assert_array_equal(opened, image)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16"])
def test_open_image_gives_rgb_over_white(mode):
    image = Image.new("RGBA", (4, 3), (0, 0, 0, 0)) if mode in ("LA", "RGBA", "PA") else None
    if image is None:
        image = Image.fromarray(np.full((3, 4), 65535, np.uint16))
        image = image if mode == "I;16" else Image.new("RGB", (4, 3), "white").convert(mode)
    elif mode != "RGBA":
        image = image.convert("LA")
    opened = open_image(file_of(image))
    assert opened.mode == "RGB" and opened.size == (4, 3)
    assert (np.asarray(opened) == 255).all()


def test_open_image_reads_a_cmyk_jpeg():
    opened = open_image(file_of(halves().convert("CMYK"), "JPEG"))
    left, right = np.asarray(opened)[20, 10], np.asarray(opened)[20, 70]
    assert left[0] > 200 > left[2] and right[2] > 200 > right[0]


def test_pieces_join_to_words_with_their_mean_map():
    tokens = ["two", "zeb", "##ra", "##s", "run", "", ""]
    maps = np.arange(7, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2))
    words = words_with_maps(tokens, maps)
    assert [word for word, _ in words] == ["two", "zebras", "run"]
    assert [weights[0, 0] for _, weights in words] == [0, 2, 4]
    assert [word for word, _ in words_with_maps(["##s", "x"], maps[:2])] == ["##s", "x"]
    assert words_with_maps([], maps[:0]) == []


def test_overlay_lights_what_the_map_says():
    image = halves()
    lit = overlay(image, np.array([[1.0, 0.0], [1.0, 0.0]])).astype(int)
    assert lit.shape == (40, 80, 3)
    original = np.asarray(image).astype(int)
    np.testing.assert_allclose(lit[:, :5], original[:, :5], atol=25)
    dim = lit[:, -5:]
    assert np.ptp(dim, axis=-1).max() < 25, "unlit parts are grey"
    # Rows and columns aren't mixed up.
    top = overlay(image, np.array([[1.0, 1.0], [0.0, 0.0]])).astype(int)
    np.testing.assert_allclose(top[:3], original[:3], atol=25)
    assert np.ptp(top[-3:], axis=-1).max() < 25


def test_on_one_scale_a_map_that_prefers_little_stays_dark():
    weak, strong = np.array([[0.26, 0.24], [0.26, 0.24]]), np.array([[0.8, 0.1], [0.05, 0.05]])
    colours = [
        np.ptp(overlay(halves(), weights, top)[:5, :5].astype(int), axis=-1).mean()
        for weights, top in ((strong, 0.8), (weak, 0.8), (weak, None))
    ]
    assert colours[0] > 200 and colours[2] > 200 and colours[1] < 60
    # A weight above the top, as of another caption, is lit fully.
    assert (overlay(halves(), strong, 0.5)[:3, :3] == np.asarray(halves())[:3, :3]).all()


@pytest.mark.parametrize("weights", [np.zeros((7, 7)), np.full((7, 7), 1 / 49), np.ones((1, 1))])
def test_a_map_without_differences_lights_nothing(weights):
    assert np.ptp(overlay(halves(), weights), axis=-1).max() == 0


@pytest.mark.parametrize("size", [(640, 480), (40, 900), (900, 40), (1, 1)])
@pytest.mark.parametrize("words", [0, 1, 9, 40])
def test_a_figure_has_a_panel_for_every_word(size, words):
    tokens = [f"word{i}" for i in range(words)] + ["", ""]
    maps = np.random.default_rng(0).random((words + 2, 7, 7))
    figure = attention_figure(Image.new("RGB", size, "teal"), "a caption $ ^_{", tokens, maps)
    titles = [panel.get_title().split("  ") for panel in figure.axes if panel.images]
    assert [title[0] for title in titles] == ["the picture", *tokens[:words]]
    assert all(title[1].endswith("%") for title in titles[1:])
    width, height = figure.get_size_inches() * DPI
    assert width <= 2600 and height < 42 * 740
    if words < 2:
        pixels = figure_pixels(figure)
        assert pixels.dtype == np.uint8 and pixels.shape[2] == 3 and pixels.std() > 1
        assert pixels.shape[1] <= 1301


def panels_of(figure) -> list:
    return [axes for axes in figure.axes if axes.images]


@pytest.mark.parametrize(
    ("size", "drawn"),
    [
        ((500, 375), (500, 375)),
        ((640, 640), (640, 640)),
        ((4000, 3000), (640, 480)),
        ((64, 32), (320, 160)),
        ((40, 900), (28, 640)),
    ],
)
def test_pictures_keep_their_size_pixel_by_pixel(size, drawn):
    figure = attention_figure(Image.new("RGB", size, "teal"), "c", ["a"] * 6, np.ones((6, 7, 7)))
    width, height = figure.get_size_inches() * DPI
    for panel in panels_of(figure):
        assert panel.images[0].get_array().shape[:2] == drawn[::-1]
        box = panel.get_position()
        assert (box.width * width, box.height * height) == pytest.approx(drawn)
        assert box.x0 >= 0 and box.x1 <= 1 and box.y0 >= 0


def test_panels_and_titles_don_t_overlap():
    image, maps = Image.new("RGB", (500, 375)), np.ones((8, 7, 7))
    figure = attention_figure(image, "c", list("abcdefgh"), maps)
    figure_pixels(figure)  # lays out the texts
    renderer = figure.canvas.get_renderer()
    boxes = [panel.get_window_extent(renderer) for panel in panels_of(figure)]
    boxes += [panel.title.get_window_extent(renderer) for panel in panels_of(figure)]
    boxes += [text.get_window_extent(renderer) for text in figure.texts]
    assert len(boxes) == 2 * 9 + 2
    for one, other in itertools.combinations(boxes, 2):
        assert not (
            one.x0 < other.x1 - 1 and other.x0 < one.x1 - 1
            and one.y0 < other.y1 - 1 and other.y0 < one.y1 - 1
        )  # fmt: skip


def test_the_frame_stands_where_most_was_looked_at_and_the_title_says_how_much():
    weights = np.full((1, 7, 7), 0.4 / 40)
    weights[0, 4:, 1:4] = 0.6 / 9
    figure = attention_figure(Image.new("RGB", (560, 280)), "", ["dog"], weights)
    panel = panels_of(figure)[1]
    assert panel.get_title() == "dog  60%"
    (frame,) = panel.patches
    assert frame.get_xy() == pytest.approx((80 - 0.5, 160 - 0.5))
    assert (frame.get_width(), frame.get_height()) == pytest.approx((240, 120))
    assert "would be 18%" in figure.texts[-1].get_text()
    # Nothing was looked at: no frame.
    (_, empty) = panels_of(attention_figure(halves(), "", ["x"], np.zeros((1, 7, 7))))
    assert not empty.patches and empty.get_title() == "x  0%"


@pytest.mark.parametrize(
    "text", ["costs $5 and $6", "a_b^c", "$\\frac{$", "50% & #1", "x " * 200, "", "é 貓"]
)
def test_any_caption_can_be_drawn(text):
    """Matplotlib takes text between dollars for formulas, and fails on wrong ones."""
    figure = attention_figure(halves(), text, [text[:30] or "x"], np.ones((1, 2, 2)))
    assert figure_pixels(figure).size


def test_all_panels_of_a_figure_are_on_one_scale():
    maps = np.array([[[0.97, 0.01], [0.01, 0.01]], [[0.26, 0.25], [0.25, 0.24]]])
    figure = attention_figure(halves(400, 400), "a dog", ["dog", "a"], maps)
    lit = [np.ptp(panel.images[0].get_array()[:9, :9].astype(int), axis=-1).mean()
           for panel in panels_of(figure)]  # fmt: skip
    assert lit[0] == 255 and lit[1] > 240 and lit[2] < 60
