"""The tables and the page of an evaluation."""

import base64
import html.parser
import io
import re

import numpy as np
import pytest
from clients import jpeg
from PIL import Image

from captioner import captioning, evaluation
from captioner.captioning import Captioner
from captioner.inputs.records import Record
from captioner.metrics import java
from captioner.reporting import charts, examples, markup, pictures, tables
from captioner.reporting.page import page

WORDS = ["a", "do", "##g", "runs"]
GRID = (2, 3)


@pytest.fixture(autouse=True)
def without_java(monkeypatch):
    """Java takes seconds to start, and gives figures only where it is installed."""
    monkeypatch.setattr(java, "meteor", lambda *_: None)
    monkeypatch.setattr(java, "spice", lambda *_: None)


def fake(texts, source="fake", seen=None) -> Captioner:
    """A captioner, as of a model server, that finds its caption by the image's bytes."""

    def call(name, inputs):
        rows = len(inputs["image_bytes"])
        prompts = inputs.get("prompt", [b""] * rows)
        if seen is not None:
            seen.extend((name, prompt.decode()) for prompt in prompts)
        said = [
            texts(image, prompt.decode())
            for image, prompt in zip(inputs["image_bytes"], prompts, strict=True)
        ]
        error = np.array([b"damaged" if one is None else b"" for one in said], object)
        said = np.array([(one or "").encode() for one in said], object)
        if name != "caption_beams":
            return {"caption": said, "log_prob": np.zeros(rows, np.float32), "error": error}
        tokens = np.array([[[*(word.encode() for word in WORDS), b"", b""]]] * rows, object)
        maps = np.zeros([rows, 1, 6, *GRID], np.float32)
        maps[:, :, :4, 0, 0] = 1
        return {
            "captions": said[:, None], "log_probs": np.zeros([rows, 1], np.float32),
            "tokens": tokens, "attention": maps, "error": error,
        }  # fmt: skip

    return Captioner(source, call, {"beams": 1, "max_tokens": 6})


def first_word(image: bytes, prompt: str) -> str:
    return f"{prompt.rstrip('…')} a dog runs".strip()


@pytest.fixture
def records(tmp_path) -> list[Record]:
    """Images with two references each; the first image's are like the fake's caption."""
    made = []
    for number in range(8):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(jpeg(number, width=60 + number, height=40))
        first = "a dog runs" if number == 0 else f"a dog sleeps in house number {number}"
        other = f"two cats of kind{number} sit on a red bench"
        made.append(Record(str(number), path, (first, other), "test"))
    return made


def made(model, records, **options):
    """The scores, with settings, and the rows of an evaluation."""
    outcome = evaluation.evaluate(model, records, **options)
    scores = outcome.scores | {"settings": evaluation.conditions(model, "csv:x", "test")}
    return scores, evaluation.rows("csv:x", outcome)


# Tables


def test_a_table_has_all_that_scores_json_has(records):
    seen = []
    model = fake(first_word, seen=seen)
    other = fake(lambda image, prompt: "two cats", "http://other")
    scores, _ = made(model, records, prompts="keywords", against=other)
    lines = tables.table(scores).splitlines()
    first = {line.split()[0]: line for line in lines[: lines.index("")]}
    low, high = scores["intervals"]["CIDEr"]
    assert first["CIDEr"].split()[1:] == f"{scores['CIDEr']:.4f} {low:.3f} to {high:.3f}".split()
    assert first["images"].split() == ["images", "8"] and "not measured" in first["SPICE"]
    text = "\n".join(lines)
    for name in tables.NAMES.values():
        assert name in text
    assert "words used: 100.0%" in text and "compared with http://other, on 8 images" in text
    assert "compared with no prompts, on 8 images" in text
    assert {prompt for _, prompt in seen} >= {""} and len(seen) == 16


def test_a_difference_is_good_or_bad_by_what_it_is_of():
    one = {"model": 0.5, "other": 0.25, "difference": 0.25, "interval": [0.1, -0.0], "p": 0.01,
           "higher": 3, "lower": 1}  # fmt: skip
    names = ("CIDEr", "bad_ending", "words", "hallucinated_objects")
    rows = tables.differences({"measures": dict.fromkeys(names, one)})
    assert [(row.better, row.worse) for row in rows] == [
        ("3", "1"), ("1", "3"), ("–", "–"), ("1", "3"),
    ]  # fmt: skip
    assert rows[0][1:6] == ("0.500", "0.250", "+0.250", "+0.100 to 0.000", "0.0100")
    assert rows[1].difference == "+25.0%" and rows[2].difference == "+0.2"
    none = dict.fromkeys(one, None) | {"higher": 0, "lower": 0}
    (row,) = tables.differences({"measures": {"novel": none}})
    assert row[1:6] == ("–",) * 5


def test_change_from_nothing_is_no_number():
    assert tables.change(0.6, 0.4) == "+50.0%" and tables.change(0.5, 0.0) == "–"


# Pictures


def test_photos_stand_upright_and_are_small(tmp_path):
    path = tmp_path / "phone.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    path.write_bytes(jpeg(1, width=1600, height=800, exif=exif.tobytes()))
    assert pictures.photo(path).size == (pictures.PHOTO // 2, pictures.PHOTO)


@pytest.mark.parametrize("contents", [b"", b"no picture", jpeg(1)[:300]])
def test_a_photo_that_pillow_cannot_read_is_none(tmp_path, contents):
    path = tmp_path / "x.jpg"
    path.write_bytes(contents)
    assert pictures.photo(path) is None
    assert pictures.photo(tmp_path / "missing.jpg") is None


def test_a_photo_with_a_header_of_gigapixels_is_not_decoded(tmp_path):
    from clients import png_bomb

    path = tmp_path / "bomb.png"
    path.write_bytes(png_bomb())
    assert pictures.photo(path) is None


def test_maps_have_a_picture_and_a_place_for_each_word():
    weights = np.zeros([4, 3, 3], np.float32)
    weights[:, 2, 0] = 1
    caption = captioning.Caption("a dog runs", -1.0, tuple(WORDS), weights)
    found = pictures.maps(Image.new("RGB", (300, 150), "red"), caption)
    assert [(word, place) for word, _, place in found] == [
        ("a", "bottom left"), ("dog", "bottom left"), ("runs", "bottom left"),
    ]  # fmt: skip
    assert {(one.width, one.height) for _, one, _ in found} == {(pictures.MAP, pictures.MAP // 2)}


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ((0, 0), "top left"), ((1, 1), "centre"), ((1, 2), "right"), ((2, 1), "bottom"),
        (None, "nowhere"),
    ],
)  # fmt: skip
def test_places_in_words(cell, expected):
    weights = np.zeros([3, 3])
    if cell:
        weights[cell] = 0.7
    assert pictures.place(weights) == expected


def test_a_histogram_says_what_it_shows():
    drawn = charts.histogram([0.0, 0.05, 0.31, 0.1], "CIDEr")
    assert 'aria-label="CIDEr of each image: 2 from 0 to 0.1, 1 from 0.1 to 0.2, 1 from' in drawn
    assert drawn.count("<rect") == 4
    assert charts.histogram([0.0, 0.0], "CIDEr").count("<rect") == 1
    assert charts.histogram([9.9, 0.0], "CIDEr").count("<rect") <= 17


# Choosing


def rows_of(ciders, others=None):
    found = [
        {"image_id": f"{i:03d}", "CIDEr": cider, "ROUGE_L": 0.0} for i, cider in enumerate(ciders)
    ]
    for row, other in zip(found, others or [], strict=False):
        row["against"] = {"CIDEr": other}
    return found


def ids(sections):
    return {one.key: [row["image_id"] for row in one.rows] for one in sections}


@pytest.mark.parametrize("count", [1, 2, 3, 5, 17, 18, 19, 100])
def test_no_image_is_shown_twice(count):
    sections = ids(examples.choose(rows_of(range(count), [50] * count)))
    shown = [id for one in sections.values() for id in one]
    assert len(shown) == len(set(shown)) and len(shown) <= 3 * examples.EACH + 2 * examples.FEWER
    assert sections["best"][0] == f"{count - 1:03d}"
    assert sections.get("worst", ["000"])[0] == "000"
    assert len(shown) >= min(count, 3 * examples.EACH)


def test_random_images_are_drawn_by_the_seed():
    rows = rows_of(range(100))
    first = ids(examples.choose(rows, 1))
    assert ids(examples.choose(rows[::-1], 1)) == first != ids(examples.choose(rows, 2))


def test_largest_differences_come_first():
    rows = rows_of([1.0] * 60, [1.0] * 40 + [1 + 0.1 * (i - 10) for i in range(20)])
    sections = ids(examples.choose(rows))
    shown = {id for key in ("best", "worst", "random") for id in sections[key]}
    gains = {row["image_id"]: row["CIDEr"] - row["against"]["CIDEr"] for row in rows}
    left = sorted((gain, id) for id, gain in gains.items() if id not in shown)
    assert sections["lost"] == [id for _, id in left[:3]]
    assert sections["won"] == [id for _, id in left[::-1][:3]]


# The page


class Reader(html.parser.HTMLParser):
    """Checks that elements nest, and gathers what a test asks for."""

    VOID = {"meta", "img", "line", "circle", "rect"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def full(records) -> Reader:
    """The page of all that can be asked for."""
    model = fake(first_word, "http://server/<model>")
    other = fake(lambda image, prompt: "two cats", "<other>")
    return Reader(page(model, *made(model, records, prompts="prefix", against=other)))


def test_the_page_stands_by_itself(full):
    for tag, attributes in full.tags:
        assert tag not in ("script", "link", "iframe", "object", "form", "base")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            if name in attributes:
                assert attributes[name].startswith(("data:image/jpeg;base64,", "#"))
    style = "".join(full.text)
    assert "url(" not in style and "@import" not in style
    (policy,) = [one for one in full.all("meta") if "http-equiv" in one]
    assert policy["content"].startswith("default-src 'none'")


def test_the_page_is_accessible(full):
    assert full.all("html") == [{"lang": "en"}] and len(full.all("main")) == 1
    assert all(one.get("alt") for one in full.all("img"))
    assert full.all("th") and all(one["scope"] in ("row", "col") for one in full.all("th"))
    levels = [int(tag[1]) for tag, _ in full.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    ids = [attributes["id"] for _, attributes in full.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {one["href"][1:] for one in full.all("a")}
    assert links <= set(ids) and {"scores", "prompts", "comparison", "best", "worst"} <= links


def test_the_page_has_photos_captions_references_and_maps(full, records):
    text = " ".join(" ".join(full.text).split())
    for record in records:
        assert all(caption in text for caption in record.captions)
    assert len(full.all("article")) == len(records)
    photos = [one for one in full.all("img") if one["alt"].startswith("Photo")]
    assert len(photos) == len(records)
    data = base64.b64decode(photos[0]["src"].partition(",")[2])
    assert Image.open(io.BytesIO(data)).size == (int(photos[0]["width"]), int(photos[0]["height"]))
    assert "http://server/<model>" in text and "<other>" in text


@pytest.mark.parametrize(
    ("name", "bounds", "p", "expected"),
    [
        ("CIDEr", [0.1, 0.2], 0.01, "better"),
        ("CIDEr", [-0.2, -0.1], 0.01, "worse"),
        ("bad_ending", [0.1, 0.2], 0.01, "worse"),
        ("hallucinated_objects", [-0.2, -0.1], 0.01, "better"),
        ("CIDEr", [-0.1, 0.2], 0.01, None),
        ("CIDEr", [0.1, 0.2], 0.2, None),
        ("CIDEr", None, 0.01, None),
        ("words", [0.1, 0.2], 0.01, None),
        ("novel", None, None, None),
    ],
)
def test_a_difference_is_called_better_or_worse_where_there_is_little_doubt(
    records, name, bounds, p, expected
):
    model = fake(first_word)
    scores, rows = made(model, records, against=model)
    scores["comparison"]["measures"][name] |= {"interval": bounds, "p": p}
    found = Reader(page(model, scores, rows))
    shown = [one["class"] for one in found.all("td") if one.get("class") in ("better", "worse")]
    assert shown == ([expected] if expected else [])
    assert sum(text.endswith(f" {expected}") for text in found.text) == len(shown)


def test_maps_are_drawn_for_every_word(records):
    model = fake(first_word)
    found = Reader(page(model, *made(model, records[:2])))
    drawn = [one["alt"] for one in found.all("img") if one["alt"].startswith("looked at")]
    assert drawn == ["looked at: top left"] * 3 * 2


def test_what_anybody_wrote_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>\" onerror='x' \x00\x1b &amp;"
    path = tmp_path / "x.jpg"
    path.write_bytes(jpeg(1))
    records = [Record(f"{evil}{n}", path, (evil, f"a dog {n}"), "test") for n in range(3)]
    model = fake(lambda *_: evil, evil)
    found = Reader(page(model, *made(model, records, against=model)))
    assert not found.all("script") and "\x00" not in "".join(found.text)
    assert not any("onerror" in attributes for _, attributes in found.tags)
    assert "<script>alert(1)</script>\" onerror='x'" in " ".join(found.text)


def test_text_that_is_no_utf8_is_shown_as_escapes():
    shown = markup.escaped("a\udcffb\x07")
    assert shown == "a\\udcffb\\x07" and shown.encode("utf-8")


@pytest.mark.parametrize("count", [1, 2])
def test_pages_of_one_or_two_images(records, count):
    model = fake(first_word)
    scores, rows = made(model, records[:count])
    found = Reader(page(model, scores, rows))
    assert len(found.all("article")) == count
    assert ("intervals" in scores) and bool(scores["intervals"]) == (count > 1)


def test_a_page_whose_photos_and_maps_cannot_be_had(records, tmp_path):
    model = fake(first_word)
    scores, rows = made(model, records)
    for record in records:
        record.image.unlink()
    found = Reader(page(model, scores, rows))
    assert not found.all("img") and "can’t be shown" in " ".join(found.text)


def test_no_maps_of_another_caption(records):
    scores, rows = made(fake(first_word), records)
    found = Reader(page(fake(lambda *_: "changed meanwhile"), scores, rows))
    assert found.all("article") and not found.all("ol")


def test_an_empty_caption_is_shown_as_such(records):
    model = fake(lambda *_: "")
    text = " ".join(Reader(page(model, *made(model, records))).text)
    assert "(an empty caption)" in text
