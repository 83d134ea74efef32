"""The page in a real browser: headless Chromium, driven by Playwright, a tiny model behind it.

    pytest -m slow tests/test_browser.py

It needs `chromium`, `chromium-browser` or `google-chrome` on the PATH.
"""

import re

import numpy as np
import pytest
from browsing import (  # noqa: F401 (fixtures)
    browser,
    cards,
    choose,
    drop,
    expect,
    expected,
    photo,
    settled,
    url,
    veil,
    visit,
)
from clients import jpeg, loaded

from captioner.drawing import words_with_maps

pytestmark = pytest.mark.slow


def test_a_chosen_photo_gets_its_caption(visit, photo, expected):
    page = visit()
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Choose photos").click()
    chooser.value.set_files([photo])
    card = settled(page)
    expect(card).to_have_accessible_name("patches.jpg")
    expect(card.locator(".text")).to_have_text(expected[0].text)
    expect(card.get_by_role("img")).to_have_accessible_name(expected[0].text)
    expect(page.get_by_role("log")).to_contain_text(f"patches.jpg: {expected[0].text}")


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_photo_can_be_dropped_and_pasted(visit, photo, expected, kind):
    page = visit()
    went_on = drop(page, kind, "dropped.jpg", photo.read_bytes())
    assert not went_on  # else the browser would open the file itself
    expect(settled(page).locator(".text")).to_have_text(expected[0].text)


def test_dragging_shows_where_to_drop(visit, photo):
    page = visit()
    drop(page, "dragover", "a.jpg", photo.read_bytes())
    expect(page.locator(".dropping #drop")).to_be_visible()
    drop(page, "drop", "a.jpg", photo.read_bytes())
    expect(page.locator(".dropping")).to_have_count(0)


def test_text_is_pasted_where_the_cursor_is(visit):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    page.evaluate("navigator.clipboard.writeText('dog frisbee')")
    page.get_by_label("Prompt").focus()
    page.keyboard.press("Control+V")
    expect(page.get_by_label("Prompt")).to_have_value("dog frisbee")
    expect(cards(page)).to_have_count(0)


def test_several_captions_come_with_probabilities(visit, photo, expected):
    page = visit()
    page.get_by_label("Captions a photo").select_option("3")
    choose(page, photo)
    card = settled(page)
    expect(card.locator(".text")).to_have_text([one.text for one in expected])
    for line, caption in zip(card.locator(".odds").all_inner_texts(), expected, strict=True):
        figure, unit = re.fullmatch(r"probability 1 in ([\d.,]+) ?(\w*)", line).groups()
        scale = {"": 1, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}[unit]
        assert float(figure.replace(",", "")) * scale == pytest.approx(np.exp(-caption.log_prob), rel=0.06)


def test_a_prompt_guides_the_captions_of_all_photos(visit, photo, tmp_path, tiny_run):
    other = tmp_path / "other.jpg"
    other.write_bytes(jpeg(2))
    page = visit()
    choose(page, photo, other)
    settled(page, 2)
    page.get_by_label("Prompt").fill("Two red…")
    page.get_by_role("button", name="Caption again").click()
    expect(page.locator(".text").nth(1)).to_have_text(re.compile("^Two red"))
    model = loaded(tiny_run / "export" / "1")
    wanted = model.caption([photo, other], "Two red…", attention=True)
    expect(page.locator(".text")).to_have_text([one.text for one in wanted])


def test_moving_over_a_word_shows_its_map(visit, photo, expected):
    page = visit()
    choose(page, photo)
    card = settled(page)
    caption = expected[0]
    words = words_with_maps(caption.tokens, caption.attention)
    picture = page.locator("canvas")
    expect(picture).to_have_css("opacity", "0")
    for index in (0, len(words) - 1):
        word, weights = words[index]
        card.locator(".text [data-word]").nth(index).hover()
        expect(picture).to_have_css("opacity", "1")
        expect(card.locator(".looked")).to_contain_text(f"“{word}”")
        seen = veil(page)
        rows, columns = weights.shape
        centres = seen[224 // rows // 2 :: 224 // rows, 224 // columns // 2 :: 224 // columns]
        wanted = 215 * (1 - weights / weights.max())
        # The page interpolates between the cells' centres; there it has the map itself.
        np.testing.assert_allclose(centres, wanted, atol=6)
        inside = seen[224 // rows // 2, 224 // columns // 2 : -224 // columns // 2]
        assert np.abs(np.diff(inside.astype(int))).max() < 20  # smooth, without edges
    page.get_by_role("heading", name="captioner").hover()
    expect(picture).to_have_css("opacity", "0")


def test_a_click_keeps_the_map_and_escape_clears_it(visit, photo):
    page = visit()
    choose(page, photo)
    settled(page)
    word = page.get_by_role("toolbar").get_by_role("button").first
    word.click()
    expect(word).to_have_attribute("aria-pressed", "true")
    page.get_by_role("heading", name="captioner").click()
    expect(page.locator("canvas")).to_have_css("opacity", "1")
    word.focus()
    page.keyboard.press("Escape")
    expect(page.locator("canvas")).to_have_css("opacity", "0")
    expect(word).to_have_attribute("aria-pressed", "false")


def test_everything_goes_by_keyboard(visit, photo, expected):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    focused = page.locator(":focus")
    page.keyboard.press("Tab")
    expect(focused).to_have_accessible_name("Choose photos")
    outline = page.locator("#files + label").evaluate("one => getComputedStyle(one).outlineStyle")
    assert outline == "solid"  # the label shows the focus of the input that it stands for
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([photo])
    settled(page)
    page.keyboard.press("Tab")
    expect(focused).to_have_accessible_name("Prompt (optional)")
    page.keyboard.press("Tab")
    expect(focused).to_have_accessible_name("Captions a photo")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    expect(focused).to_have_accessible_name("Caption again")
    page.keyboard.press("Enter")
    expect(page.locator(".caption")).to_have_count(2)
    page.keyboard.press("Tab")
    expect(focused).to_have_accessible_name("Remove patches.jpg")
    page.keyboard.press("Tab")
    expect(focused).to_have_accessible_name("Copy caption 1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("log")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == expected[0].text
    page.keyboard.press("Tab")
    expect(focused).to_have_accessible_name("Where it looked for caption 1")
    expect(focused).to_have_attribute("aria-expanded", "true")
    # The words are one stop; arrows move among them, and each says where the model looked.
    page.keyboard.press("Tab")
    words = [word for word, _ in words_with_maps(expected[0].tokens, expected[0].attention)]
    place = r"((upper|lower) )?(left|right)|top|bottom|centre"
    places = rf"(all over the photo|({place})( and ({place}))?)"
    for key, index in (("ArrowRight", 1), ("ArrowLeft", 0), ("End", -1), ("Home", 0)):
        page.keyboard.press(key)
        name = re.compile(f"^{re.escape(words[index])}: {places}$")
        expect(focused).to_have_accessible_name(name)
        expect(page.locator("canvas")).to_have_css("opacity", "1")
    page.keyboard.press("ArrowLeft")  # round the corner
    expect(focused).to_have_accessible_name(re.compile(f"^{re.escape(words[-1])}: "))
    page.keyboard.press("Tab")
    expect(focused).to_have_accessible_name("Copy caption 2")
    expect(page.locator("canvas")).to_have_css("opacity", "0")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(focused).to_have_attribute("aria-expanded", "true")
    expect(page.get_by_role("toolbar")).to_have_count(2)
