"""The page in a real browser: who can use it, what goes wrong, every size and shade (test_browser.py
says what it needs)."""

import re

import pytest
from browsing import (  # noqa: F401 (fixtures)
    browser,
    cards,
    choose,
    expect,
    expected,
    photo,
    settled,
    url,
    visit,
)
from clients import jpeg
from PIL import Image

pytestmark = pytest.mark.slow


def test_removing_a_photo_leaves_the_keyboard_where_it_was(visit, photo):
    page = visit()
    choose(page, photo)
    choose(page, photo)
    settled(page, 2)
    page.get_by_role("button", name="Remove patches.jpg").first.press("Enter")
    expect(cards(page)).to_have_count(1)
    expect(page.locator(":focus")).to_have_accessible_name("Remove patches.jpg")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Photos")).to_be_hidden()
    expect(page.locator(":focus")).to_have_accessible_name("Choose photos")
    expect(page.get_by_role("log")).to_contain_text("patches.jpg removed")


def test_what_screen_readers_are_told(visit, photo):
    page = visit()
    choose(page, photo)
    settled(page)
    expect(page.locator("body")).to_match_aria_snapshot("""
        - banner:
          - heading "captioner" [level=1]
        - main:
          - button "Choose photos"
          - textbox "Prompt (optional)"
          - combobox "Captions a photo"
          - button "Caption again"
          - region "Photos":
            - heading "Photos" [level=2]
            - list:
              - listitem:
                - article "patches.jpg":
                  - img
                  - heading "patches.jpg" [level=3]
                  - button "Remove patches.jpg"
                  - list:
                    - listitem:
                      - button "Copy"
                      - button "Where it looked" [expanded]
                      - toolbar "Words; use the arrow keys"
          - log "Announcements"
        - contentinfo
    """)
    described = page.get_by_label("Prompt")
    expect(described).to_have_accessible_description(re.compile("Key words, such as"))


def test_a_file_that_is_no_image_says_so(visit, photo, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no picture at all")
    page = visit()
    choose(page, text, photo)
    found = settled(page, 2)
    expect(found.first.locator(".error")).to_contain_text("not an image")
    expect(found.first.locator(".text")).to_have_count(0)
    expect(found.first.locator("img")).to_be_hidden()
    expect(found.last.locator(".text")).to_have_count(1)  # the photo next to it has its caption
    expect(page.get_by_role("log")).to_contain_text("notes.txt: not an image")


def test_a_file_that_is_too_large_is_not_sent(visit, tmp_path):
    large = tmp_path / "large.jpg"
    large.write_bytes(jpeg(1) + b"\0" * 2**20)
    page = visit()
    sent = []
    page.on("request", lambda request: sent.append(request.method))
    choose(page, large)
    reason = "the file has 2 MiB; the limit is 1 MiB"
    expect(settled(page).locator(".error")).to_have_text(reason)
    assert "POST" not in sent


def test_a_server_that_has_gone_is_told_and_asked_again(visit, photo, expected):
    page = visit()
    page.route("**/api/caption", lambda route: route.abort())
    choose(page, photo)
    expect(settled(page).locator(".error")).to_contain_text("the server can’t be reached")
    page.unroute("**/api/caption")
    page.get_by_role("button", name="Caption again").click()
    expect(cards(page).locator(".text")).to_have_text(expected[0].text)
    expect(cards(page).locator(".error")).to_be_hidden()


def test_a_busy_server_is_asked_again(visit, photo, expected):
    page = visit()
    answers = iter([503, 503])

    def busy(route):
        status = next(answers, None)
        if status is None:
            route.fallback()
        else:
            route.fulfill(status=status, json={"error": "busy"}, headers={"retry-after": "1"})

    page.route("**/api/caption", busy)
    choose(page, photo)
    expect(settled(page).locator(".text")).to_have_text(expected[0].text)


def test_a_model_that_is_being_loaded_is_waited_for(browser, url):
    page = browser.new_page()
    answers = iter([503])
    page.route("**/api/model", lambda route: route.fulfill(status=503, json={"error": "loading"})
               if next(answers, None) else route.fallback())  # fmt: skip
    page.goto(url)
    expect(page.get_by_role("status")).to_contain_text("The model is being loaded")
    expect(page.get_by_label("Captions a photo").locator("option")).to_have_count(3)
    expect(page.get_by_role("status")).to_be_empty()
    page.close()


def test_many_photos_all_get_their_captions(visit, tmp_path):
    paths = []
    for seed in range(20):
        paths.append(tmp_path / f"{seed}.jpg")
        paths[-1].write_bytes(jpeg(seed))
    page = visit()
    choose(page, *paths)
    found = settled(page, 20)
    names = [f"{seed}.jpg" for seed in range(20)]
    expect(found.get_by_role("heading")).to_have_text(names)
    expect(found.locator(".text")).to_have_count(20)


def test_photos_that_lie_on_their_side_are_shown_upright(visit, tmp_path):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    path.write_bytes(jpeg(1, 300, 200, exif=exif.tobytes()))
    page = visit()
    choose(page, path)
    settled(page)
    box = page.get_by_role("img").bounding_box()
    assert box["height"] == pytest.approx(1.5 * box["width"], rel=0.02)


@pytest.mark.parametrize("width", [320, 640])
def test_narrow_windows_need_no_scrolling_sideways(visit, photo, width):
    """640 is a window of 1280 at 200 % zoom, 320 the same at 400 %."""
    page = visit(viewport={"width": width, "height": 512})
    page.get_by_label("Captions a photo").select_option("3")
    choose(page, photo)
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_motion_can_be_had_without(visit, photo):
    for wish, duration in (("no-preference", "0.15s"), ("reduce", "0s")):
        page = visit(reduced_motion=wish)
        choose(page, photo)
        settled(page)
        expect(page.locator("canvas")).to_have_css("transition-duration", duration)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(visit, photo, tmp_path, scheme):
    """WCAG 2.2, 1.4.3: 4.5 to 1 for all text, measured as it is drawn."""
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    page = visit(color_scheme=scheme)
    choose(page, photo, text)
    settled(page, 2)
    page.get_by_role("toolbar").get_by_role("button").first.hover()
    found = page.evaluate("""() => {
      const colours = (one) => one.match(/[\\d.]+/g).map(Number);
      const light = (one) => colours(one).slice(0, 3).map((c) => c / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
      const ground = (one) => {
        const colour = getComputedStyle(one).backgroundColor;
        return colours(colour)[3] === 0 ? ground(one.parentElement) : colour;
      };
      const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      const found = [];
      while (walker.nextNode()) {
        const one = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !one.checkVisibility()) continue;
        const pair = [light(getComputedStyle(one).color), light(ground(one))].sort((a, b) => b - a);
        found.push([walker.currentNode.data.trim(), (pair[0] + 0.05) / (pair[1] + 0.05)]);
      }
      return found;
    }""")
    assert len(found) > 20
    assert [one for one in found if one[1] < 4.5] == []
