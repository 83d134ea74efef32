"""How sure the page says it is, in a real browser (see `test_browser`)."""

import pytest
from browsing import browser, choose, expect, photo, settled  # noqa: F401 (fixtures)
from web_site import serving

from captioner.confidence import Calibration

pytestmark = pytest.mark.slow

# 0.79 for what `web_site.Pretender` says, and 0.73.
CALIBRATION = Calibration(3.0, 2.0, 50, 0.5, {"beams": 3, "max_tokens": 5})


def opened(browser, site):
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{site.port}")
    expect(page.get_by_label("Captions a photo").locator("option")).to_have_count(3)
    return page


def test_captions_say_how_sure_they_are(browser, photo):
    with serving(calibration=CALIBRATION) as site:
        page = opened(browser, site)
        expect(page.locator("#meaning")).to_be_hidden()
        page.get_by_label("Captions a photo").select_option("3")
        choose(page, photo)
        card = settled(page)
        said = ["about 80 % sure of the main thing", "about 75 % sure of the main thing"]
        expect(card.locator(".sure")).to_have_text(said)
        odds = ["these very words: 1 in 12", "these very words: 1 in 20"]
        expect(card.locator(".odds")).to_have_text(odds)
        expect(page.locator("#meaning")).to_be_visible()
        expect(page.get_by_role("log")).to_contain_text(f"a snowman, {said[0]}; two snowmen")
        # Of captions with a prompt nobody knows.
        page.get_by_label("Prompt").fill("snow")
        page.get_by_role("button", name="Caption again").click()
        expect(card.locator(".odds")).to_have_text(["probability 1 in 12", "probability 1 in 20"])
        expect(card.locator(".sure").first).to_be_hidden()
        expect(page.locator("#meaning")).to_be_hidden()
        page.close()


def test_it_says_so_where_it_is_not_sure_enough(browser, photo):
    with serving(calibration=CALIBRATION, min_confidence=0.8) as site:
        page = opened(browser, site)
        expect(page.get_by_label("Prompt")).to_be_disabled()
        expect(page.locator("#prompt-help")).to_contain_text("so it takes none")
        choose(page, photo)
        card = settled(page)
        said = (
            "Not sure enough to say what this photo shows: its best caption is 79 % sure of the "
            "main thing, and this server asks for 80 %."
        )
        expect(card.locator(".state")).to_have_text(said)
        expect(page.get_by_role("log")).to_contain_text(said)
        expect(card.locator(".caption")).to_have_count(0)
        expect(card.locator(".error")).to_be_hidden()
        page.close()
