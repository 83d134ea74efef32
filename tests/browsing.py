"""A headless Chromium, driven by Playwright, before a page with a tiny model behind it."""

import base64
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clients import jpeg, loaded
from test_serve import started, url_of

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

# A tiny model answers in milliseconds; this is for a machine that is busy.
expect.set_options(timeout=30_000)
DROP = """([kind, name, type, content]) => {
  const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type }));
  const options = { bubbles: true, cancelable: true };
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { ...options, clipboardData: data })
    : new DragEvent(kind, { ...options, dataTransfer: data });
  return document.body.dispatchEvent(event);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator:
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is on the PATH")
    # Chromium's sandbox doesn't run as root, which containers are.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def url(tiny_run) -> Iterator[str]:
    words = ("--model", tiny_run / "export", "--port", "0", "--max-upload", "1")
    with started(*words, seconds=1800) as process:
        yield url_of(process)


def complaint(message) -> bool:
    """Whether what stands on the console is the page's fault."""
    # Refused uploads, which Chromium puts down by itself, and the tests' own looks at the canvas.
    others = ("Failed to load resource", "willReadFrequently")
    return message.type in ("error", "warning") and not any(one in message.text for one in others)


@pytest.fixture
def visit(browser, url) -> Iterator:
    """Opens the page, and at the end checks that it kept to itself and complained of nothing."""
    contexts, trouble, asked = [], [], []

    def open_page(**options):
        context = browser.new_context(**{"viewport": {"width": 1100, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        # Files are asked for through the driver from the start: expect_file_chooser alone begins
        # as the key is pressed, without waiting until the browser knows of it.
        page.on("filechooser", lambda chooser: None)
        page.on("console", lambda one: trouble.append(one.text) if complaint(one) else None)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.on("response", lambda one: trouble.append(f"{one.status} {one.url}")
                if one.status >= 400 and not one.url.endswith("/caption") else None)  # fmt: skip
        page.goto(url)
        expect(page.get_by_label("Captions a photo").locator("option")).to_have_count(3)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []
    assert [one for one in asked if not one.startswith((f"{url}/", f"blob:{url}/"))] == []


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "patches.jpg"
    path.write_bytes(jpeg(1, 300, 200))
    return path


@pytest.fixture(scope="module")
def expected(tiny_run, photo):
    """What the model says of the photo."""
    model = loaded(tiny_run / "export" / "1")
    return model.caption(photo.read_bytes(), captions=3, attention=True).captions


def cards(page):
    return page.get_by_role("article")


def choose(page, *paths) -> None:
    page.get_by_label("Choose photos").set_input_files(list(paths))


def settled(page, count: int = 1):
    """The cards, when all of them have what they wait for."""
    expect(cards(page)).to_have_count(count)
    expect(page.locator("[aria-busy]")).to_have_count(0)
    return cards(page)


def drop(page, kind: str, name: str, content: bytes, type: str = "image/jpeg") -> bool:
    return page.evaluate(DROP, [kind, name, type, base64.b64encode(content).decode()])


def veil(page) -> np.ndarray:
    """The opacity of the drawn map, 0 to 255, [rows, columns] of the canvas."""
    values = page.evaluate("""() => {
      const canvas = document.querySelector("canvas");
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return Array.from({ length: canvas.width * canvas.height }, (_, i) => data[4 * i + 3]);
    }""")
    return np.array(values).reshape(224, 224)
