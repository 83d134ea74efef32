"""What the served graph answers, and `captioner.load`'s object over it."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from clients import UNREADABLE, jpeg, loaded
from PIL import Image

import captioner
from captioner.captioning import Result
from captioner.decoding.consensus import following
from captioner.errors import CaptionerError

T = 10  # decode.max_tokens of tiny_run


@pytest.fixture(scope="module")
def model(tiny_run):
    return loaded(tiny_run / "export")


@pytest.fixture(scope="module")
def run_model(tiny_run):
    return loaded(tiny_run)


@pytest.fixture(scope="module")
def files(drawn) -> list[Path]:
    return sorted(drawn.parent.rglob("*.jpg"))[:6]


def call(model, name, images, prompts=None) -> dict[str, np.ndarray]:
    inputs = {"image_bytes": images}
    if prompts is not None:
        inputs["prompt"] = prompts
    return model.call(name, inputs)


def same(a: dict, b: dict, rows=slice(None)) -> None:
    """Bit for bit."""
    assert set(a) == set(b)
    for key, value in a.items():
        np.testing.assert_array_equal(value[rows], b[key][rows], key)


# Batches.


@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_unreadable_image_costs_its_neighbours_nothing(model, kind):
    good = [jpeg(seed) for seed in range(4)]
    bad = [good[0], UNREADABLE[kind], good[2], good[3]]
    prompts = ["", "two dogs", "a red…", "x"]
    others = [0, 2, 3]
    same(call(model, "serving_default", good), call(model, "serving_default", bad), others)
    whole, broken = (call(model, "caption_beams", one, prompts) for one in (good, bad))
    same(whole, broken, others)
    assert broken["error"][1] and not whole["error"].any()
    assert not broken["captions"][1].any() and not broken["tokens"][1].any()
    assert not broken["log_probs"][1].any() and not broken["attention"][1].any()
    prompted = call(model, "caption_with_prompt", bad, prompts)
    assert prompted["caption"][1] == b"" and prompted["log_prob"][1] == 0
    assert prompted["error"][1] == broken["error"][1]


def test_the_batch_size_changes_nothing(model):
    images = [jpeg(seed) for seed in range(5)]
    prompts = ["", "dog", "A man…", "", "why?"]
    whole = call(model, "caption_beams", images, prompts)
    for size in (1, 2):
        for start in range(0, 5, size):
            rows = slice(start, start + size)
            part = call(model, "caption_beams", images[rows], prompts[rows])
            np.testing.assert_array_equal(part["captions"][:, 0], whole["captions"][rows, 0])
            np.testing.assert_allclose(
                part["log_probs"][:, 0], whole["log_probs"][rows, 0], atol=1e-3
            )


def test_an_empty_batch(model, run_model):
    for one in (model, run_model):
        assert {k: v.shape for k, v in call(one, "serving_default", []).items()} == {
            "caption": (0,), "log_prob": (0,), "error": (0,)
        }  # fmt: skip
        assert call(one, "caption_with_prompt", [], [])["caption"].shape == (0,)
        assert call(one, "caption_beams", [], [])["attention"].shape == (0, 3, T, 2, 2)
        assert one.caption([]) == []


def test_prompts_and_images_of_different_numbers(model):
    with pytest.raises(tf.errors.InvalidArgumentError, match="a prompt for each image"):
        call(model, "caption_with_prompt", [jpeg(1), jpeg(2)], ["one"])


# Prompts.


def test_an_empty_prompt_is_no_prompt(model):
    images = [jpeg(seed) for seed in range(6)]
    plain = call(model, "serving_default", images)
    for prompts in ([""] * 6, ["", " ", "\t\n", "\0\x07", "…", " ... \n"]):
        same(call(model, "caption_with_prompt", images, prompts), plain)
    beams = call(model, "caption_beams", images, [""] * 6)
    np.testing.assert_array_equal(beams["captions"][:, 0], plain["caption"])
    np.testing.assert_allclose(beams["log_probs"][:, 0], plain["log_prob"], atol=1e-4)


@pytest.mark.parametrize(
    ("prompt", "beginning"),
    [
        ("two…", "two"),
        ("Two Red CARS, near ...", "Two Red CARS, near"),
        ("A zxqwv 貓 сидит…", "A zxqwv 貓 сидит"),
        ("well... it is ...", "well... it is"),
        ("red red red red red red red …", "red red red red red red red"),
        ("a\ncar\tand \r\n a…\n", "a car and a"),
        ("it's 100% \\1 (new)…", "it's 100% \\1 (new)"),
        (("word " * 40).strip() + "…", ("word " * 40).strip()),
        ("?…", "?"),
    ],
)
def test_a_beginning_is_repeated_word_for_word(model, prompt, beginning):
    result = model.caption(jpeg(3), prompt, captions=3)
    assert result.captions
    for caption in result.captions:
        assert caption.text == beginning or caption.text.startswith(beginning + " ")
        assert np.isfinite(caption.log_prob) and caption.log_prob < 0
    if len(beginning) < 20:
        assert result.text != beginning, "nothing was added"


def test_a_beginning_is_not_read_as_other_prompts_are(model):
    text = model.caption(jpeg(3), "two dogs").text
    assert not text.lower().startswith("two dogs")


def test_both_ellipses_are_one(model):
    dots, sign = (model.caption(jpeg(3), f"two red{end}") for end in ("...", "…"))
    assert dots == sign


def test_a_beginning_without_room_leaves_one_caption(model):
    """All other places of the search stay empty, and no invented figure gets out."""
    prompt = "red " * 30 + "…"
    out = call(model, "caption_beams", [jpeg(1)], [prompt])
    assert out["captions"][0].tolist() == [("red " * 30).strip().encode(), b"", b""]
    assert -1e6 < out["log_probs"][0, 0] < 0
    np.testing.assert_array_equal(out["log_probs"][0, 1:], np.float32(-1e9))
    assert not out["tokens"][0, 1:].any() and not out["attention"][0, 1:].any()
    assert len(model.caption(jpeg(1), prompt, captions=3).captions) == 1


@pytest.mark.parametrize(
    "prompt",
    ["dog, grass", "is it a dog?", "\0", "a\nb\rc", "\x1b[31m red", "\udcff\udc80", "\ud800",
     "😀 👩\u200d🚀", "ﬁ ǅ İ", "a" * 5000, "é " * 3000, "[PAD] [UNK] [CLS]", "##s", "…?", "\u202e…"],
)  # fmt: skip
def test_any_prompt_is_taken(model, prompt):
    result = model.caption(jpeg(4), prompt, captions=2, attention=True)
    assert result.error is None and len(result.captions) == 2
    assert "\n" not in result.text
    assert model.caption(jpeg(4), prompt).text == result.text


def test_bytes_that_are_no_text_are_taken(model):
    prompts = [b"\xff\xfe", b"\xc3(\xf0\x9f", b"caf\xe9 ...", b"\xff\xff..."]
    out = call(model, "caption_with_prompt", [jpeg(1)] * 4, prompts)
    texts = [text.decode() for text in out["caption"]]  # valid UTF-8 whatever came in
    assert texts[2].startswith("caf\ufffd ") and not out["error"].any()


# Several captions, and where they look.


def test_beams_maps_and_tokens(model):
    prompts = ["", "dog", "Two red…", "", "A qqqq貓…"]
    images = [jpeg(1), jpeg(2), jpeg(3), b"", jpeg(4)]
    out = call(model, "caption_beams", images, prompts)
    assert out["tokens"].shape == (5, 3, T) and out["attention"].shape == (5, 3, T, 2, 2)
    sums = out["attention"].sum((-2, -1))
    np.testing.assert_allclose(sums, out["tokens"] != b"", atol=1e-5)
    assert (out["attention"] >= 0).all()
    lengths = (out["tokens"] != b"").sum(-1)
    for row in (0, 1, 2, 4):
        for beam in range(3):
            pieces = out["tokens"][row, beam].tolist()
            assert not any(pieces[lengths[row, beam] :]), "padding stands at the end"
            # Weights that have learned nothing may begin with what continues a word.
            joined = b" ".join(pieces).decode().strip().removeprefix("##").replace(" ##", "")
            if not prompts[row].endswith("…"):
                assert joined == out["captions"][row, beam].decode()
        assert len(set(out["captions"][row])) == 3
    assert lengths[0].min() >= 1 and lengths.max() < T
    assert b"[UNK]" in out["tokens"][4, 0]


def test_captions_come_by_score_where_near_ones_have_no_say(tiny_run):
    plain = captioner.load(tiny_run, overrides=["decode.consensus=0", "decode.length_penalty=0.7"])
    out = call(plain, "caption_beams", [jpeg(1), jpeg(2), jpeg(3)], ["", "dog", "two red…"])
    # The end token counts as one of a caption's tokens.
    lengths = (out["tokens"] != b"").sum(-1) + 1.0
    scores = out["log_probs"] / lengths**0.7
    assert (np.diff(scores) <= 1e-5).all() and (np.diff(scores) < -1e-3).any()


def test_log_prob_is_the_model_s_own_with_the_end(run_model):
    """Teacher forcing over the tokens found, [END] included, leaning as near captions make it, gives
    the same sum."""
    from captioner.inputs.images import decode_images
    from captioner.inputs.text import END, START

    built = run_model._keep._hidden.built
    result = run_model.caption(jpeg(5), captions=3)
    vocabulary = built.tokenizer.vocabulary
    for caption in result.captions:
        tokens = [vocabulary.index(piece) for piece in caption.tokens] + [END]
        pixels, _ = decode_images(tf.constant([jpeg(5)]), 64)
        logits, _ = built.model({"image": pixels, "tokens": tf.constant([[START, *tokens[:-1]]])})
        near, settings = built.model.encode(pixels)["near"], run_model.settings
        log_probs = tf.nn.log_softmax(logits + settings["evidence"] * near["evidence"][:, None])
        step = following(
            lambda _, at: (log_probs[:, at, None], at), near["tokens"], settings["bigrams"]
        )
        total = 0.0
        for at, (before, token) in enumerate(zip([START, *tokens], tokens, strict=False)):
            total += float(step(tf.constant([[before]]), at)[0][0, 0, token])
        assert caption.log_prob == pytest.approx(total, abs=1e-3)


# captioner.load's object.


def test_kinds_of_images(model, files):
    array = np.asarray(Image.open(files[0]))
    data = files[0].read_bytes()
    results = model.caption([files[0], str(files[0]), data, array, array / 255, tf.constant(array)])
    assert {one.text for one in results} == {results[0].text}
    one = model.caption(array)
    assert isinstance(one, Result) and one.text == results[0].text and one.error is None
    assert one.log_prob == pytest.approx(results[0].log_prob, abs=1e-3)
    assert model.caption((files[0],))[0].text == one.text  # any sequence gives a list


def test_arrays_of_every_shape(model):
    random = np.random.default_rng(0)
    grey = random.integers(0, 256, (40, 50), dtype=np.uint8)
    opaque = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    clear = np.dstack([grey, grey, grey, np.zeros_like(grey)])
    kinds = [grey, grey[..., None], np.dstack([grey] * 3), opaque, grey[::-1][::-1]]
    kinds += [(grey / 255).astype(dtype) for dtype in ("float16", "float32", "float64")]
    results = model.caption(kinds)
    white = np.full((40, 50, 3), 255, np.uint8)
    for same in (results, model.caption([clear, white])):
        assert len({(one.text, one.error) for one in same}) == 1
        # Not to the last bit: some processors round a batch's rows by where they stand.
        np.testing.assert_allclose([one.log_prob for one in same], same[0].log_prob, atol=1e-4)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((4, 4, 2), np.uint8), "channels"),
        (np.zeros((2, 4, 4, 3), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
        (np.zeros(5, np.uint8), "shape"),
        (np.full((4, 4), 2.0), "0 to 1"),
        (np.full((4, 4), np.nan), "0 to 1"),
        (np.full((4, 4), -0.1), "0 to 1"),
        (np.zeros((4, 4), np.int32), "int32"),
        (np.zeros((4, 4), bool), "bool"),
        (Image.new("RGB", (4, 4)), "numpy.asarray"),
        (7, "type int"),
        ([None], "type NoneType"),
    ],
)
def test_what_is_no_image_is_refused(model, picture, message):
    with pytest.raises(CaptionerError, match=message):
        model.caption(picture)


def test_unreadable_images_have_a_reason(model, files, tmp_path):
    missing, folder = tmp_path / "none.jpg", tmp_path
    results = model.caption([files[0], missing, folder, *UNREADABLE.values(), files[1]])
    assert [bool(one.error) for one in results] == [False] + [True] * 7 + [False]
    for one in results[1:-1]:
        assert one.captions == () and one.text == "" and one.log_prob == 0
    assert "no such file" in results[1].error and "directory" in results[2].error
    expected = model.caption([files[0], files[1]])
    assert [results[0].text, results[-1].text] == [one.text for one in expected]


def test_prompts_per_image(model, files):
    prompts = ["", "two cars…", "dog"]
    together = model.caption(files[:3], prompts)
    assert together[1].text.startswith("two cars")
    for path, prompt, result in zip(files, prompts, together, strict=False):
        assert model.caption(path, prompt).text == result.text
    for_all = model.caption(files[:2], "two cars…")
    assert all(one.text.startswith("two cars") for one in for_all)
    with pytest.raises(CaptionerError, match="2 prompts for 3 images"):
        model.caption(files[:3], ["a", "b"])


def test_several_captions_and_attention(model, files):
    plain = model.caption(files[0])
    assert plain.captions[0].tokens == () and plain.captions[0].attention is None
    several = model.caption(files[0], captions=3)
    assert len(several.captions) == 3 and several.text == plain.text
    assert all(one.tokens and one.attention is None for one in several.captions)
    looked = model.caption(files[0], attention=True)
    (caption,) = looked.captions
    assert caption.text == plain.text and caption.attention.dtype == np.float32
    assert caption.attention.shape == (len(caption.tokens), 2, 2)
    np.testing.assert_allclose(caption.attention.sum((1, 2)), 1, atol=1e-5)
    for wrong in (0, 4):
        with pytest.raises(CaptionerError, match="captions an image"):
            model.caption(files[0], captions=wrong)


def test_order_and_batches_change_nothing(model, files):
    expected = {path: model.caption(path).text for path in files}
    for order, size in ((files[::-1], 32), (files, 4), ([*files[3:], *files[:3]], 1)):
        results = model.caption(order, batch_size=size)
        assert [one.text for one in results] == [expected[path] for path in order]


def test_beams_of_a_run_and_of_an_export(tiny_run, model, run_model, files, monkeypatch):
    with monkeypatch.context() as quickly:
        quickly.setattr(tf.saved_model, "load", lambda _: model._keep)
        with pytest.raises(CaptionerError, match="decode.beams=9"):
            captioner.load(tiny_run / "export", beams=9)
        for folder in (tiny_run, tiny_run / "export"):
            with pytest.raises(CaptionerError, match="beams"):
                captioner.load(folder, beams=0)
        assert captioner.load(tiny_run / "export", beams=2).beams == 3
    greedy = loaded(tiny_run, beams=1)
    assert greedy.beams == 1 and greedy.settings["beams"] == 1
    assert len(greedy.caption(files[0], captions=1).captions) == 1
    with pytest.raises(CaptionerError, match="beams=2"):
        greedy.caption(files[0], captions=2)
    assert run_model.beams == 3 and model.beams == 3


def test_settings_of_a_run_and_of_an_export(tiny_run, model, run_model):
    assert run_model.settings == model.settings and model.settings["max_tokens"] == T
    assert model.source == tiny_run / "export" / "1" and run_model.source == tiny_run
