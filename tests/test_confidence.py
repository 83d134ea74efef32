"""Confidence: the fit, what it is worth, and silence where it is low."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from clients import UNREADABLE, jpeg, loaded

from captioner import about, calibrate, confidence, config, loading, predict
from captioner.captioning import Captioner, Result
from captioner.confidence import Calibration, reliability
from captioner.config import Decode
from captioner.errors import CaptionerError

# The fit.


def examples(count, intercept, slope, seed=0):
    """Captions of five words whose chance of being right is a logistic function."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 0, count)
    right = rng.random(count) < 1 / (1 + np.exp(-(intercept + slope * x)))
    return [("a dog in the grass", 6 * one) for one in x], list(right)


@pytest.mark.parametrize("slope", [0.5, 2.0, 4.0])
def test_many_images_find_the_function_that_made_them(slope):
    captions, right = examples(20_000, 2.0, slope)
    found = confidence.fit(captions, right, {})
    assert found.slope == pytest.approx(slope, rel=0.1)
    assert found.intercept == pytest.approx(2.0, rel=0.1)
    sure = [found.confidence(*one) for one in captions]
    measured = reliability(sure, right)
    assert measured.error < 0.015 and len(measured.bins) == 5


@pytest.mark.parametrize("right", [[True] * 30, [False] * 30, [True, False] * 15])
def test_few_images_give_something_sensible(right):
    captions = [("a dog", -3.0 - number / 10) for number in range(30)]
    found = confidence.fit(captions, right, {})
    sure = [found.confidence(*one) for one in captions]
    assert all(0 < one < 1 for one in sure) and sure == sorted(sure, reverse=True)
    assert np.mean(sure) == pytest.approx((sum(right) + 1) / 32, abs=0.01)
    assert found.images == 30 and found.right == pytest.approx(np.mean(right))


def test_few_images_tell_little_of_how_often_it_is_right():
    few, many = (Calibration(1.0, 2.0, images, 0.5, {}) for images in (50, 5000))
    assert few.within == pytest.approx(0.133, abs=0.002)  # of 54 throws of a coin
    assert many.within == pytest.approx(0.0138, abs=0.0002)
    assert 0 < Calibration(1.0, 2.0, 30, 1.0, {}).within < few.within


def test_captions_that_are_all_alike():
    found = confidence.fit([("a dog", -3.0)] * 40, [True] * 10 + [False] * 30, {})
    assert found.confidence("a dog", -3.0) == pytest.approx(0.25, abs=0.02)


def test_confidence_is_of_the_mean_per_word():
    one = Calibration(3.0, 2.0, 50, 0.5, {})
    assert one.confidence("a dog", -3.0) == pytest.approx(1 / (1 + np.exp(-1.0)))
    assert one.confidence("a dog runs in grass", -6.0) == one.confidence("a dog", -3.0)
    assert one.confidence("a dog", -1e9) == pytest.approx(0.0, abs=1e-6)


def test_too_few_images_are_refused():
    with pytest.raises(CaptionerError, match="19 images are too few.*20"):
        confidence.fit([("a dog", -1.0)] * 19, [True] * 19, {})


def test_cross_fitting_leaves_each_image_out():
    """An outlier moves the fit of all the others, not its own."""
    captions, right = examples(60, 2.0, 2.0)
    first = confidence.cross_fitted(captions, right)
    right[7] = not right[7]
    second = confidence.cross_fitted(captions, right)
    folds = np.arange(60) % 10 == 7
    np.testing.assert_array_equal(first[folds], second[folds])
    assert np.all(first[~folds] != second[~folds])


# What it is worth.


def test_reliability_by_hand():
    measured = reliability([0.9, 0.1, 0.7, 0.3], [True, False, False, True], bins=2)
    low, high = measured.bins
    assert (low.captions, low.confidence, low.right) == (2, pytest.approx(0.2), 0.5)
    assert (low.least, low.most) == (0.1, 0.3)
    assert (high.captions, high.confidence, high.right) == (2, pytest.approx(0.8), 0.5)
    assert measured.error == pytest.approx(0.3)
    assert measured.brier == pytest.approx((0.01 + 0.01 + 0.49 + 0.49) / 4)
    assert measured.ranking == pytest.approx(3 / 4)
    assert measured.left == ((0.5, 2, 0.5), (0.6, 2, 0.5), (0.7, 2, 0.5), (0.8, 1, 1), (0.9, 1, 1))
    lines = measured.table().splitlines()
    assert "0.300" in lines[3] and len(lines) == 4 + 5
    assert lines[-1] == "--min-confidence 0.9: 1 of 4 captions are left, 100% of them right"
    assert reliability([0.5], [True], bins=5).ranking is None
    with pytest.raises(ValueError, match="no captions"):
        reliability([], [])


def test_chance_is_what_true_confidences_would_show():
    rng = np.random.default_rng(1)
    p = rng.uniform(0.2, 0.9, 50)
    errors = [reliability(p, rng.random(50) < p).error for _ in range(100)]
    measured = reliability(p, rng.random(50) < p)
    assert measured.chance == pytest.approx(np.mean(errors), rel=0.1)
    assert measured.chance > 0.05
    # Twice as many captions show 1 / sqrt(2) of it.
    many = reliability(np.tile(p, 8), rng.random(400) < np.tile(p, 8))
    assert many.chance == pytest.approx(measured.chance / np.sqrt(8), rel=0.15)


# Files, settings, models.


@pytest.fixture
def weights(tmp_path):
    """Some of a run's files."""
    for name in ("best", "00000003", "00000004"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "checkpoints" / name / "variables.data").write_text(name)
    (tmp_path / "neighbours.npz").write_text("captions")
    return tmp_path


def test_a_run_is_known_by_its_best_weights_and_near_captions(weights):
    first = confidence.fingerprint(weights)
    assert confidence.fingerprint(shutil.copytree(weights, weights / "copy")) == first
    checkpoints = weights / "checkpoints"
    (checkpoints / "00000004" / "variables.data").write_text("later")  # not the best
    assert confidence.fingerprint(weights) == first
    (checkpoints / "best" / "variables.data").write_text("Best")
    found = {first, confidence.fingerprint(weights)}
    (weights / "neighbours.npz").write_text("others")
    found.add(confidence.fingerprint(weights))
    shutil.rmtree(checkpoints / "best")
    found.add(confidence.fingerprint(weights))
    (checkpoints / "00000003" / "variables.data").write_text("older")
    assert confidence.fingerprint(weights) in found  # not the newest
    (checkpoints / "00000004" / "variables.data").write_text("newest")
    found.add(confidence.fingerprint(weights))
    assert len(found) == 5


def test_the_near_captions_file_has_one_name():
    from captioner.models import neighbours

    assert confidence._BANK == neighbours.FILE


def test_a_calibration_of_other_weights_is_not_used():
    settings = {"beams": 2, "max_tokens": 2}
    one = Calibration(3.0, 2.0, 50, 0.5, settings, weights="abc")
    for weights, used in (("abc", True), (None, True), ("xyz", False), ("", False)):
        model = Captioner("runs/m", answer, settings, calibration=one, weights=weights)
        assert (model.caption(b"x").captions[0].confidence is not None) is used
        if not used:
            with pytest.raises(CaptionerError, match="other weights.*calibrate --run runs/m"):
                model.caption(b"x", min_confidence=0.5)
    earlier = Calibration(3.0, 2.0, 50, 0.5, settings)  # which noted no weights
    model = Captioner("m", answer, settings, calibration=earlier, weights="abc")
    assert "other weights" in model.unsure


def test_a_calibration_comes_back_from_its_file(tmp_path):
    decode = Decode(forbid=("man",)).model_dump(mode="json")
    one = Calibration(1.5, 2.0, 50, 0.6, decode, weights="abc")
    confidence.write(one, tmp_path / confidence.FILE)
    assert confidence.read(tmp_path / confidence.FILE) == one
    assert confidence.read(tmp_path / "none.json") is None
    # An export's file has it among its facts.
    facts = {"signatures": {}, "decode": decode, "calibration": json.loads(
        (tmp_path / confidence.FILE).read_text())}  # fmt: skip
    for known, found in (
        (facts, one), (facts | {"decode": decode | {"beams": 2}}, None),
        ({"signatures": {}, "decode": decode}, None),
    ):  # fmt: skip
        (tmp_path / "captioner.json").write_text(json.dumps(known))
        assert confidence.read(tmp_path / "captioner.json") == found
    for damage in ("{", "[]", "{}", '{"intercept": 1}', '"x"', "null",
                   (tmp_path / confidence.FILE).read_text().replace("2.0", "NaN"),
                   (tmp_path / confidence.FILE).read_text().replace('"beams": 5', '"beams": -5'),
                   (tmp_path / confidence.FILE).read_text().replace('"beams"', '"beans"'),
                   ):  # fmt: skip
        (tmp_path / "bad.json").write_text(damage)
        with pytest.raises(CaptionerError, match="bad.json is damaged"):
            confidence.read(tmp_path / "bad.json")


def test_other_settings_are_other_captions():
    one = Calibration(1.0, 2.0, 50, 0.6, Decode().model_dump(mode="json"))
    assert one.differences({"beams": 5, "max_tokens": 24}) == []
    assert one.differences(Decode(seed=3).model_dump()) == []
    assert one.differences(Decode(beams=3).model_dump()) == ["beams: 5 there, 3 asked"]
    assert len(one.differences(Decode(search="sample", top_p=0.5).model_dump())) == 2
    # What JSON made of a tuple is the same.
    words = Calibration(1.0, 2.0, 50, 0.6, Decode(forbid=("a",)).model_dump(mode="json"))
    assert words.differences(Decode(forbid=("a",)).model_dump()) == []
    assert words.differences(Decode().model_dump()) == ["forbid: ['a'] there, () asked"]
    # One of a time before a setting was there.
    assert Calibration(1.0, 2.0, 50, 0.6, {"beams": 5}).differences(Decode().model_dump()) == []


def answer(name, inputs):
    count = len(inputs["image_bytes"])
    error = [b"" if image else b"empty" for image in inputs["image_bytes"]]
    if name != "caption_beams":
        return {"caption": [b"a dog"] * count, "log_prob": [-3.0] * count, "error": error}
    tokens = np.array([[[b"a", b"dog"], [b"a", b"cat"]]] * count, object)
    return {
        "captions": np.array([[b"a dog", b"a cat"]] * count, object),
        "log_probs": np.array([[-3.0, -9.0]] * count),
        "tokens": tokens,
        "attention": np.zeros((count, 2, 2, 1, 1)),
        "error": error,
    }


def test_captions_have_their_confidence():
    settings = {"beams": 2, "max_tokens": 2}
    one = Calibration(3.0, 2.0, 50, 0.5, settings)
    model = Captioner("m", answer, settings, calibration=one)
    assert model.unsure == ""
    single, bad = model.caption([b"x", b""])
    assert single.captions[0].confidence == pytest.approx(1 / (1 + np.exp(-1.0)))
    assert bad == Result((), "empty")
    several = model.caption(b"x", captions=2).captions
    assert [c.confidence for c in several] == [one.confidence(c.text, c.log_prob) for c in several]
    prompted, blank = model.caption([b"x", b"x"], prompts=["dog", " "])
    assert prompted.captions[0].confidence is None and blank.captions[0].confidence is not None
    for other, reason in (
        (Captioner("m", answer, settings), "no calibration"),
        (Captioner("m", answer, settings | {"beams": 3}, calibration=one), "beams: 2 there, 3"),
    ):
        assert reason in other.unsure
        assert other.caption(b"x").captions[0].confidence is None


def test_captions_that_are_not_sure_enough_are_left_out():
    settings = {"beams": 2, "max_tokens": 2}
    model = Captioner("m", answer, settings, calibration=Calibration(3.0, 2.0, 50, 0.5, settings))
    every = model.caption(b"x", captions=2)
    first, second = (one.confidence for one in every.captions)
    assert first > second and not every.silent
    for least, kept in ((0, 2), (second, 2), (first, 1), (1, 0)):
        result, bad = model.caption([b"x", b""], captions=2, min_confidence=least)
        assert result.captions == every.captions[:kept]
        assert result.silent is (kept == 0) and (result.left_out == first) is (kept == 0)
        assert bad == Result((), "empty")
        assert result.error == (None if kept else f"kept silent: at most {first:.2f} sure, 1 was "
                                "asked for")  # fmt: skip
    assert result.text == "" and result.log_prob == 0
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(CaptionerError, match="from 0 to 1"):
            model.caption(b"x", min_confidence=wrong)
    with pytest.raises(CaptionerError, match="without a prompt"):
        model.caption([b"x", b"x"], ["", "dog"], min_confidence=0.5)
    with pytest.raises(CaptionerError, match="no calibration; .*captioner.calibrate"):
        Captioner("m", answer, settings).caption(b"x", min_confidence=0.5)


def test_judging_leaves_unreadable_images_out():
    model = Captioner("m", answer, {"beams": 2, "max_tokens": 2})
    records = [SimpleNamespace(image=image, captions=references) for image, references in
               ((b"x", ["the dog"]), (b"", ["a dog"]), (b"y", ["the cat", "a tree"]))]  # fmt: skip
    captions, right = confidence.judged(model, records)
    assert captions == [("a dog", -3.0)] * 2 and right == [True, False]


# The commands.


@pytest.fixture(scope="module")
def calibrated(tiny_run, drawn, tmp_path_factory):
    """The tiny run, calibrated on its training images, as no other split is large enough."""
    run = tmp_path_factory.mktemp("runs") / "calibrated"
    shutil.copytree(tiny_run, run, ignore=shutil.ignore_patterns("export"))
    (run / confidence.FILE).unlink(missing_ok=True)
    arguments = calibrate.parser().parse_args(["--run", str(run), "--split", "train+dev"])
    assert calibrate.main(arguments) == 0
    return run


def test_calibrating_a_run(calibrated):
    one = confidence.read(calibrated / confidence.FILE)
    model = loaded(calibrated)
    assert model.calibration == one and model.unsure == ""
    assert one.weights == confidence.fingerprint(calibrated)
    assert one.images >= confidence.LEAST and 0 < model.caption(jpeg(1)).captions[0].confidence < 1
    other = loading.load(calibrated, beams=2)
    assert other.unsure and other.caption(jpeg(1)).captions[0].confidence is None


def test_a_run_that_changed_has_no_confidence(calibrated, tmp_path, caplog):
    """It captions without, says why, and neither it nor its export uses the calibration."""
    run = shutil.copytree(calibrated, tmp_path / "run")
    settings = config.load(run / "config.json")
    assert about.of_run(run, settings)["calibration"]["weights"] == confidence.fingerprint(run)
    best = run / "checkpoints" / "best"
    shutil.rmtree(best)  # the newest step's are taken then
    model = loading.load(run)
    assert "other weights" in model.unsure and str(run) in model.unsure
    assert model.caption(jpeg(1)).captions[0].confidence is None
    assert "calibration" not in about.of_run(run, settings)
    assert f"{run / confidence.FILE} is of other weights" in caplog.text


def test_calibrating_on_too_little(tiny_run, tmp_path, capsys):
    words = ["--run", str(tiny_run), "--split", "dev"]
    with pytest.raises(CaptionerError, match="too few to calibrate"):
        calibrate.main(calibrate.parser().parse_args(words))
    with pytest.raises(CaptionerError, match="no run folder"):
        calibrate.main(calibrate.parser().parse_args(["--run", str(tmp_path)]))


def test_silence_where_confidence_is_low(calibrated, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loading, "load", loaded)
    for seed in range(4):
        (tmp_path / f"{seed}.jpg").write_bytes(jpeg(seed))
    (tmp_path / "bad.jpg").write_bytes(UNREADABLE["text"])
    files = [str(path) for path in sorted(tmp_path.glob("*.jpg"))]
    sure = [one.captions[0].confidence for one in loaded(calibrated).caption(files[:4])]
    middle = float(np.median(sure))

    def run(*words):
        words = ["--model", str(calibrated), *words]
        code = predict.main(predict.parser().parse_intermixed_args(words))
        return code, *capsys.readouterr()

    code, out, err = run("--json", "--min-confidence", str(middle), *files)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 1 and all(set(row) == {"image", "captions", "error"} for row in rows)
    assert [bool(row["captions"]) for row in rows] == [one >= middle for one in sure] + [False]
    for row, one in zip(rows, sure, strict=False):
        for caption in row["captions"]:
            assert caption["confidence"] == pytest.approx(one, rel=1e-5)
        assert row["error"] is None or row["error"].startswith(f"kept silent: at most {one:.2f} ")
    assert rows[-1]["error"] and "silent" not in rows[-1]["error"]
    assert err.splitlines()[-1] == "kept silent on 2 of 5 images"
    code, out, _ = run("--min-confidence", "1", *files[:4], "--attention", str(tmp_path / "maps"))
    assert code == 0 and out == "" and not list((tmp_path / "maps").iterdir())
    code, out, err = run("--min-confidence", "0", *files[:4])
    assert code == 0 and len(out.splitlines()) == 4 and err == ""
    code, out, _ = run(*files[:1], "--json", "--prompt", "a man…")
    assert "confidence" not in json.loads(out)["captions"][0]


def test_silence_needs_a_calibration(tiny_run, calibrated, monkeypatch, capsys):
    monkeypatch.setattr(loading, "load", loaded)

    def run(model, *words):
        words = ["--model", str(model), "--min-confidence", "0.5", "x.jpg", *words]
        return predict.main(predict.parser().parse_intermixed_args(words))

    with pytest.raises(CaptionerError, match="captioner.calibrate"):
        run(tiny_run / "export")
    with pytest.raises(CaptionerError, match="beams: 3 there, 2 asked"):
        run(calibrated, "--beams", "2")
    with pytest.raises(CaptionerError, match="without a prompt"):
        run(calibrated, "--prompt", "dog")
    for wrong in ("-0.1", "1.1", "x", "nan"):
        with pytest.raises(SystemExit):
            run(calibrated, "--min-confidence", wrong)
