"""The deletion test: what words lose with parts of the picture covered."""

import io
import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from clients import loaded
from PIL import Image

from captioner import deletion, evaluate, loading
from captioner.errors import CaptionerError
from captioner.inputs.text import SPECIAL, CaptionTokenizer
from captioner.metrics import bootstrap, java
from captioner.metrics.deletion import Words, figures, places
from captioner.serving.trained import load_trained


@pytest.mark.parametrize(
    ("grid", "block", "rows"),
    [
        ((7, 7), (3, 3), [0, 1, 2, 3, 4]),
        ((2, 2), (1, 1), [0, 1]),
        ((1, 1), (1, 1), [0]),
        ((14, 14), (6, 6), [0, 2, 4, 6, 8]),
        ((4, 7), (2, 3), [0, 1, 2]),
    ],
)
def test_a_block_is_put_to_places_all_over_the_grid(grid, block, rows):
    found = places(*grid)
    assert found.grid == grid and found.block == block
    assert sorted({row for row, _ in found.corners}) == rows
    assert len(found.corners) == len(set(found.corners)) <= 25
    touched = np.zeros(grid, bool)
    for row, column in found.corners:
        touched[row : row + block[0], column : column + block[1]] = True
        assert row + block[0] <= grid[0] and column + block[1] <= grid[1]
    assert touched.all()


def test_the_middle_of_the_grid():
    assert places(7, 7).corners[places(7, 7).middle] == (2, 2)
    assert places(14, 14).corners[places(14, 14).middle] == (4, 4)
    assert places(1, 1).middle == places(2, 2).middle == 0


def test_the_place_looked_at_holds_most_of_the_map():
    found = places(7, 7)
    random = np.random.default_rng(0)
    maps = random.random((20, 7, 7))
    for weights, place in zip(maps, found.looked_at(maps), strict=True):
        sums = [weights[r : r + 3, c : c + 3].sum() for r, c in found.corners]
        assert sums[place] == pytest.approx(max(sums))
    corner = np.zeros((1, 7, 7))
    corner[0, 4:, :3] = 1
    assert found.corners[found.looked_at(corner)[0]] == (4, 0)
    # Rounding doesn't choose among equals.
    assert found.looked_at(np.full((1, 7, 7), 1 / 49)).tolist() == [0]
    assert found.looked_at(np.zeros((0, 7, 7))).shape == (0,)


def test_figures_by_hand():
    one = Words(("dog", "red"), np.array([[3.0, 1, 0, 2], [0, 1, 4, 1]]), np.array([0, 1]), 3)
    two = Words(("cat",), np.array([[0.0, 0, 0, 6]]), np.array([2]), 3)
    found = figures([one, two, Words((), np.zeros((0, 4)), np.zeros(0, int), 3)])
    value = {name: one["value"] for name, one in found.items() if isinstance(one, dict)}
    assert found["images"] == 2 and found["words"] == 3
    assert value["looked_at"] == pytest.approx((3 + 1 + 0) / 3)
    assert value["random"] == pytest.approx((1 + 5 / 3 + 2) / 3)
    assert value["middle"] == pytest.approx((2 + 1 + 6) / 3)
    assert value["other_words"] == pytest.approx((1 + 0) / 2)  # the cat has none beside it
    assert value["over_random"] == pytest.approx(value["looked_at"] - value["random"])
    assert value["over_other_words"] == pytest.approx((2 + 1) / 2)
    assert value["words_above_random"] == pytest.approx(1 / 3)
    # dog: 3 of 3; red: the first below, the last equal; cat: two equal.
    assert value["places_below"] == pytest.approx((1 + 0.5 + 1 / 3) / 3)


def drawn_words(informed: float, images: int = 60) -> list[Words]:
    """Words whose maps find the place that matters with this probability."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(images):
        drops = random.random((4, 25))
        matters = drops.argmax(1)
        looked = np.where(random.random(4) < informed, matters, random.integers(0, 25, 4))
        found.append(Words(tuple("abcd"), drops, looked, 12))
    return found


def test_maps_at_random_show_nothing_and_right_ones_all():
    for name, chance in (("over_random", 0), ("over_other_words", 0), ("places_below", 0.5)):
        low, high = figures(drawn_words(0))[name]["interval"]
        assert low < chance < high
        low, _ = figures(drawn_words(0.4))[name]["interval"]
        assert low > chance
    right = figures(drawn_words(1))
    assert right["places_below"]["value"] == right["words_above_random"]["value"] == 1.0
    assert figures(drawn_words(0.4), seed=1) != figures(drawn_words(0.4), seed=2)


def test_figures_that_can_t_be_formed_are_none():
    alone = Words(("dog",), np.array([[1.0, 0]]), np.array([0]), 0)
    found = figures([alone])
    assert found["over_other_words"] == {"value": None, "interval": None}
    assert found["looked_at"] == {"value": 1.0, "interval": None}
    assert figures([alone, alone])["looked_at"]["interval"] == [1.0, 1.0]
    nowhere = figures([Words(("dog",), np.array([[1.0]]), np.array([0]), 0)] * 2)
    assert nowhere["places_below"]["value"] is None and nowhere["random"]["value"] is None
    assert nowhere["words_above_random"]["value"] is None
    nothing = figures([])
    assert nothing["words"] == 0 and nothing["looked_at"] == {"value": None, "interval": None}
    for one in (found, nowhere, nothing):
        json.dumps(one, allow_nan=False)


def test_ratio_intervals_are_those_of_resampled_images():
    random = np.random.default_rng(1)
    above, below = random.random((30, 2)), random.integers(1, 5, (30, 2))
    low, high = bootstrap.ratio_intervals(above, below, resamples=500).T
    ratio = above.sum(0) / below.sum(0)
    assert (low < ratio).all() and (ratio < high).all()
    draws = [random.integers(0, 30, 30) for _ in range(3000)]
    ends = np.percentile([above[d].sum(0) / below[d].sum(0) for d in draws], [2.5, 97.5], axis=0)
    np.testing.assert_allclose([low, high], ends, atol=0.15 * (high - low).max())
    assert np.isnan(bootstrap.ratio_intervals(above[:1], below[:1])).all()
    below[:, 1] = 0
    assert np.isnan(bootstrap.ratio_intervals(above, below)[1]).all()


def test_content_words_are_found_among_the_pieces():
    pieces = ["a", "zeb", "##ra", "and", "a", "dog", "see", "a", "zeb", "##ra", ""]
    assert deletion.content_spans(pieces) == {
        "zebra": slice(1, 3), "dog": slice(5, 6), "see": slice(6, 7),
    }  # fmt: skip
    assert deletion.content_spans(["run", "##s", "", ""]) == {"runs": slice(0, 2)}
    assert deletion.content_spans(["a", ""]) == deletion.content_spans([]) == {}


# With a model.

SIDE = 8
VOCABULARY = [*SPECIAL, "red", "blue", "thing"]


class Quarters:
    """Says `red` as far as the top left quarter is red, and `blue` as far as the bottom right one
    is blue; looks at the first for red, and at the top right for all else."""

    image_encoder = SimpleNamespace(rows=2, columns=2)

    def __call__(self, inputs):
        pixels = tf.cast(inputs["image"], tf.float32) / 255
        quarters = tf.nn.avg_pool2d(pixels, SIDE // 2, SIDE // 2, "VALID")  # [N, 2, 2, 3]
        count, length = tf.unstack(tf.shape(inputs["tokens"]))
        red, blue = quarters[:, 0, 0, 0], quarters[:, 1, 1, 2]
        scores = tf.stack([*[0 * red] * len(SPECIAL), red, blue, 0 * red], -1)
        attention = tf.constant([[1.0, 0, 0, 0]] + [[0, 1.0, 0, 0]] * 10)[:length]
        shape = [count, length, 4]
        return tf.repeat(scores[:, None], length, 1), tf.broadcast_to(attention, shape)


@pytest.fixture
def reader() -> deletion.Reader:
    built = SimpleNamespace(model=Quarters(), tokenizer=CaptionTokenizer(VOCABULARY))
    return deletion.Reader(built, SIDE, 6)


def flag() -> bytes:
    """Red at the top left, blue at the bottom right, the rest black."""
    image = Image.new("RGB", (SIDE, SIDE))
    image.paste("red", (0, 0, SIDE // 2, SIDE // 2))
    image.paste("blue", (SIDE // 2, SIDE // 2, SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_a_word_loses_where_its_evidence_is_covered(reader):
    found = reader(flag(), "red blue thing")
    assert found.words == ("red", "blue", "thing")
    assert found.looked_at.tolist() == [0, 1, 1]
    red, blue, thing = found.drops
    assert red.argmax() == 0 and red[0] > 0.3 and red[1] < 0.1
    assert blue.argmax() == 3 and blue[3] > 0.3
    assert thing[0] < 0 and thing[3] < 0  # what gives way makes room for it
    # The fill has a little of every colour: red 124, blue 104 of 255.
    scores = np.exp([0, 0, 0, 0, 1, 1, 0]), np.exp([0, 0, 0, 0, 124 / 255, 1, 0])
    expected = np.log(scores[0][4] / scores[0].sum()) - np.log(scores[1][4] / scores[1].sum())
    assert red[0] == pytest.approx(expected, abs=1e-5)


def test_an_unreadable_image_and_an_empty_caption_have_no_words(reader):
    for image, caption in itertools.product((flag(), b"", b"GIF89a"), ("red thing", "")):
        found = reader(image, caption)
        wanted = ("red", "thing") if image == flag() and caption else ()
        assert found.words == wanted and found.drops.shape == (len(wanted), 4)
    assert figures([reader(b"", "red")])["words"] == 0


def test_covers_are_the_cells_of_the_grid():
    found = places(7, 7)
    covers = deletion._covers(found, 224)
    for cover, (row, column) in zip(covers, found.corners, strict=True):
        cells = cover.reshape(7, 32, 7, 32)
        assert (cells.all((1, 3)) == cells.any((1, 3))).all()
        rows, columns = np.nonzero(cells.all((1, 3)))
        assert (rows.min(), rows.max()) == (row, row + 2) and rows.size == 9
        assert (columns.min(), columns.max()) == (column, column + 2)
    odd = deletion._covers(places(3, 3), 100)  # sides that don't divide
    assert odd.any(0).all() and odd.sum((1, 2)).max() <= 34 * 34


@pytest.fixture(scope="module")
def trained(tiny_run):
    return load_trained(tiny_run)


def test_captions_read_again_have_the_probability_and_the_maps_they_were_found_with(
    tiny_run, drawn, trained
):
    images = sorted((drawn.parent / "images" / "test").iterdir())
    reader = deletion.Reader(trained, 64, 10)
    # The reader asks the model alone, not the captions that are near.
    model = loading.load(tiny_run, overrides=["decode.evidence=0", "decode.bigrams=0"])
    for image, result in zip(
        images, model.caption(images, attention=True), strict=True
    ):
        pieces, log_probs, maps = reader.read(image.read_bytes(), result.text)
        best = result.captions[0]
        assert tuple(piece for piece in pieces if piece) == best.tokens
        assert log_probs[0].sum() == pytest.approx(best.log_prob, abs=1e-3)
        np.testing.assert_allclose(maps[: len(best.tokens)], best.attention, atol=1e-4)
        assert np.abs(log_probs[1:] - log_probs[0]).max() > 0  # covering does something


@pytest.fixture
def run(tiny_run, trained, monkeypatch, capsys, tmp_path):
    """The command in this process: (standard output, scores)."""
    monkeypatch.setattr(loading, "load", loaded)
    monkeypatch.setattr(java, "meteor", lambda *_: None)
    monkeypatch.setattr(java, "spice", lambda *_: None)
    monkeypatch.setattr(deletion, "load_trained", lambda run: trained)

    def command(*words, model=tiny_run):
        scores = tmp_path / "scores.json"
        words = ["--model", model, "--scores", scores, "--deletion", *words]
        assert evaluate.main(evaluate.parser().parse_args(list(map(str, words)))) == 0
        return capsys.readouterr().out, json.loads(scores.read_text("utf-8"))

    return command


def test_the_command_prints_the_test_and_shows_it_on_the_page(run, drawn, tmp_path):
    page = tmp_path / "page.html"
    out, scores = run("--data", f"csv:{drawn}", "--split", "dev+test", "--report", page)
    found = scores["deletion"]
    assert found["grid"] == [2, 2] and found["block"] == [1, 1] and found["places"] == 4
    assert found["images"] <= 6 and found["words"] > 0
    assert f"{found['looked_at']['value']:.3f}" in out and "deletion: 1 by 1 of 2 by 2" in out
    text = page.read_text("utf-8")
    assert 'id="deletion"' in text and 'href="#deletion"' in text
    assert f"{found['over_random']['value']:+.3f}" in text


@pytest.mark.parametrize("kind", ["keywords", "prefix"])
def test_prompts_are_an_error(run, drawn, kind):
    with pytest.raises(CaptionerError, match="without prompts: leave out --prompts"):
        run("--data", f"csv:{drawn}", "--prompts", kind)


def test_the_data_s_prompts_are_an_error(run, tmp_path):
    (tmp_path / "a.png").write_bytes(flag())
    (tmp_path / "a.csv").write_text("image,caption,prompt,split\na.png,a flag,what?,test\n")
    with pytest.raises(CaptionerError, match="add --prompts none"):
        run("--data", f"csv:{tmp_path / 'a.csv'}")
    _, scores = run("--data", f"csv:{tmp_path / 'a.csv'}", "--prompts", "none")
    assert scores["deletion"]["images"] <= 1


def test_an_export_is_an_error_before_anything_is_read(tiny_run, tmp_path, run):
    with pytest.raises(CaptionerError, match="--deletion needs a run folder.*says its own"):
        run("--data", "csv:nowhere.csv", model=tiny_run / "export")
    with pytest.raises(CaptionerError, match="no folder"):
        run("--data", "csv:nowhere.csv", model=tmp_path / "nowhere")
