"""The model card: true, complete, made of known facts only, and not to be broken by names."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from captioner import about, config
from captioner.errors import CaptionerError
from captioner.inputs.records import DataSet, Problems, Record
from captioner.serving.card import card
from captioner.serving.markdown import last_name

K, T, H, W = 3, 10, 2, 2  # of tiny_run


@pytest.fixture(scope="module")
def version(tiny_run):
    return tiny_run / "export" / "1"


@pytest.fixture(scope="module")
def text(version) -> str:
    return (version / "MODEL_CARD.md").read_text(encoding="utf-8")


@pytest.fixture
def facts(version) -> dict:
    return json.loads((version / "assets.extra" / "captioner.json").read_text(encoding="utf-8"))


def headings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("#")]


def cells(text: str, heading: str) -> list[list[str]]:
    """The rows of the last table under a heading, without its head."""
    part = text.split(f"\n{heading}\n")[1].split("\n#")[0]
    rows = [line for line in part.splitlines() if line.startswith("|")]
    start = max(i for i, row in enumerate(rows) if row.startswith("| ---"))
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[start + 1 :]]


def test_its_parts(text):
    assert headings(text) == [
        "# Model card: captioner `tiny`", "## The model", "## What it was trained on", "## Scores",
        "## Input and output", "## Intended use", "## Limits and biases", "## Versions", "## Files",
    ]  # fmt: skip
    assert "None" not in text and "{" not in text and re.search(r"on 20\d\d-\d\d-\d\d \d\d:", text)


def test_it_is_made_of_the_facts_for_programs(facts, text):
    assert card(facts) == text


def test_scores_are_the_run_s(tiny_run, text):
    scores = json.loads((tiny_run / "scores.json").read_text())
    shown = {name.strip("`"): value for name, value in cells(text, "## Scores")}
    assert shown == {k: f"{v:.4f}" for k, v in scores.items() if isinstance(v, float)}
    assert f"On {scores['images']} images, split `test`" in text
    assert "3 beams, at most 10 tokens" in text and "SPICE" not in text


def test_data_is_counted_by_split(drawn, facts, text):
    rows = [line.rsplit(",", 1) for line in drawn.read_text().splitlines()[1:]]
    images = {split: len({row.split(",")[0] for row, s in rows if s == split}) for _, split in rows}
    assert facts["data"]["images"] == images and sum(images.values()) == 40
    assert sum(facts["data"]["captions"].values()) == len(rows)
    assert f"| train | {images['train']} | {facts['data']['captions']['train']} |" in text


def test_captions_that_an_export_holds_are_owned_up_to(facts, text):
    assert "**This folder holds captions**" in text and "the 4 that are nearest" in text
    settings = facts["settings"] | {"model": facts["settings"]["model"] | {"neighbours": 0}}
    assert "holds captions" not in card(facts | {"settings": settings})


def test_signatures_with_their_sizes(text):
    for expected in (
        f"`captions` string [B, {K}]", f"`tokens` string [B, {K}, {T}]",
        f"`attention` float32 [B, {K}, {T}, {H}, {W}]", "`log_prob` float32 [B]",
        f"{K} captions each", f"{H} × {W} regions",
    ):  # fmt: skip
        assert expected in text
    assert len(cells(text, "## Input and output")) == 3


def test_limits_are_those_of_the_graph(text):
    from captioner.inputs import image_headers

    assert f"{image_headers.MAX_JPEG_PIXELS // 2**20} megapixels" in text
    assert f"{image_headers.MAX_SIDE:,} pixels" in text


def test_sums_are_those_of_the_files(version, text):
    rows = {name.strip("`"): (size, total) for name, size, total in cells(text, "## Files")}
    there = {p.relative_to(version).as_posix() for p in version.rglob("*") if p.is_file()}
    assert set(rows) == there - {"MODEL_CARD.md", "assets.extra/captioner.json"}
    for name, (size, total) in rows.items():
        contents = (version / name).read_bytes()
        assert size == f"{len(contents):,}"
        assert total == f"`{hashlib.sha256(contents).hexdigest()}`"


def test_no_path_of_this_machine(text, drawn, tiny_encoder, tiny_run):
    for path in (drawn, tiny_encoder, tiny_run, Path.home()):
        assert str(path.parent) + "/" not in text
    assert f"`csv:{drawn.name}`" in text and f"`{tiny_encoder.name}`" in text


def test_unknown_facts_are_left_out(facts):
    for name in ("run", "vocabulary", "pretrained", "scores", "data", "limits"):
        facts.pop(name, None)
    facts["signatures"] = {}
    text = card(facts)
    assert "## Scores" not in text and "megapixels" not in text and "captions each" not in text
    assert "None" not in text and "{" not in text and "started from" not in text
    assert headings(text)[0] == "# Model card"


def test_other_settings_than_those_scored_are_said(facts, text):
    assert "searches otherwise" not in text and "rounded" not in text
    facts["decode"] = facts["decode"] | {"beams": 1}
    facts["storage"] = "float16"
    changed = card(facts)
    assert "searches otherwise (greedy search" in changed
    assert "before the weights were rounded to float16" in changed


@pytest.mark.parametrize(
    ("freeze", "said"),
    [
        (["image_encoder"], "64 × 64 pixels, frozen in training"),
        (["image_encoder/conv[1-4]"], "64 × 64 pixels, partly trained on"),
        ([], "64 × 64 pixels, trained on"),
    ],
)
def test_what_was_trained(facts, freeze, said):
    facts["settings"]["train"]["freeze"] = freeze
    assert f"{said} |" in card(facts)


def test_without_a_text_encoder(facts):
    facts["settings"]["model"]["text_encoder"] = "none"
    text = card(facts)
    assert "BERT" not in text.split("## The model")[0]
    assert "text encoder |" not in text.split("## What it was trained on")[0]


HOSTILE = [
    "a\n# Heading\n",
    "a\r\n\n| x | y |\n",
    "```\n<script>alert(1)</script>\n```",
    "``|`|``",
    "[link](javascript:x) **bold** <img src=x>",
    "a\u2028b\x00\x1b[31mred\u202e",
    "\udcff not UTF-8",
    "x" * 5000,
    "",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_names(facts, text, name):
    facts["run"] = name
    facts["settings"]["data"] |= {"spec": f"csv:/x/{name}", "text": f"/x/{name}"}
    facts["settings"]["recipe"] = name
    facts["settings"]["model"]["text_encoder"] = name
    facts["pretrained"] = [{"part": "text encoder", "name": name, "what": name, "licence": name}]
    facts["scores"]["settings"] |= {"data": name, "split": name, "scorers": name}
    facts["data"]["left_out"] = {f"kind {name}": 2}
    made = card(facts)
    made.encode("utf-8")
    assert headings(made)[1:] == headings(text)[1:] and len(headings(made)) == len(headings(text))
    assert all(c.isprintable() or c == "\n" for c in made)
    lines = made.splitlines()
    assert max(map(len, lines)) < 2000
    for i, line in enumerate(lines):  # every row has as many cells as its head
        if line.startswith("|") and lines[i - 1].startswith("|"):
            bars = [len(re.findall(r"(?<!\\)\|", one)) for one in (lines[i - 1], line)]
            assert bars[0] == bars[1], line
    assert "<script>" not in re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", made)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("flickr8k:/data/flickr8k/", "flickr8k:flickr8k"),
        ("csv:C:\\data\\captions.csv", "csv:captions.csv"),
        ("csv:captions.csv", "csv:captions.csv"),
        ("tfds:coco_captions/2014:1.1.0", "tfds:coco_captions/2014:1.1.0"),
        ("demo", "demo"),
        ("/home/me/bert", "bert"),
        ("C:\\me\\bert", "bert"),
        ("https://tfhub.dev/x/bert/4", "https://tfhub.dev/x/bert/4"),
        ("captioner/bert_en", "captioner/bert_en"),
        ("my recipes/own.toml", "own.toml"),
    ],
)
def test_last_names(name, short):
    assert last_name(name) == short


# What is known of a run.


def test_a_data_set_in_figures():
    problems = Problems()
    problems.add("empty captions", "a.jpg", 3)
    records = [
        Record("a", Path("a.jpg"), ("one", "two"), "train"),
        Record("b", Path("b.jpg"), ("one",), "test"),
        Record("c", Path("c.jpg"), ("one", "two", "three"), "train"),
    ]
    assert about.trained_on(DataSet("csv:x", tuple(records), problems)) == {
        "images": {"train": 2, "test": 1},
        "captions": {"train": 5, "test": 1},
        "left_out": {"empty captions": 3},
    }


@pytest.fixture
def run(tmp_path) -> Path:
    (tmp_path / "vocabulary.txt").write_text("[PAD]\n[UNK]\na\n")
    return tmp_path


def test_a_run_without_scores(run):
    found = about.of_run(run, config.settings())
    assert found["vocabulary"] == 3 and found["run"] == run.name
    assert set(found) == {"run", "vocabulary", "pretrained"}
    assert [(one["part"], one["licence"]) for one in found["pretrained"]] == [
        ("image encoder", "MIT"), ("text encoder", "Apache-2.0"),
    ]  # fmt: skip


def test_licences_are_not_guessed(run):
    words = ["model.text_encoder=https://tfhub.dev/x/1", "model.image_weights=none"]
    found = about.of_run(run, config.settings(overrides=words))
    assert found["pretrained"] == [{"part": "text encoder", "name": "https://tfhub.dev/x/1"}]


@pytest.mark.parametrize("contents", ["{", "[]", "\xff"])
def test_damaged_scores_are_an_error(run, contents):
    (run / "scores.json").write_bytes(contents.encode("latin-1"))
    with pytest.raises(CaptionerError, match="scores.json is damaged"):
        about.of_run(run, config.settings())


def test_scores_from_before_data_was_noted(run):
    (run / "scores.json").write_text('{"images": 3, "CIDEr": 0.5, "settings": {}}')
    found = about.of_run(run, config.settings())
    assert found["scores"]["CIDEr"] == 0.5 and "data" not in found
