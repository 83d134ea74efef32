"""The settings of the search from end to end: a run folder, the command, an export."""

import functools
import json
import re

import numpy as np
import pytest
import tensorflow as tf
from clients import jpeg
from test_graph import ALLOWED

from captioner import confidence, config, loading, predict
from captioner.captioning import Captioner
from captioner.confidence import Calibration
from captioner.errors import CaptionerError
from captioner.serving.exporting import export
from captioner.serving.signatures import ServedCaptioner
from captioner.serving.trained import load_trained

PHOTOS = [jpeg(seed) for seed in range(4)]
SAMPLE = ("decode.search=sample", "decode.temperature=2", "decode.top_k=40", "decode.top_p=0.95")


@pytest.fixture(scope="module")
def built(tiny_run):
    return load_trained(tiny_run)


@pytest.fixture(scope="module")
def asked(tiny_run, built):
    """The run's captioner with other settings."""

    @functools.cache
    def made(*overrides) -> Captioner:
        with pytest.MonkeyPatch.context() as quickly:
            quickly.setattr("captioner.serving.trained.load_trained", lambda _: built)
            return loading.load(tiny_run, overrides=overrides)

    return made


def texts(model, photos=PHOTOS, prompts="", captions=3):
    return [[one.text for one in r.captions] for r in model.caption(photos, prompts,
            captions=captions)]  # fmt: skip


@pytest.fixture(scope="module")
def plain(asked):
    return texts(asked())


def words(captions) -> set[str]:
    return {word for row in captions for text in row for word in text.split()}


def test_forbidden_words_are_in_no_caption(asked, plain):
    said = sorted(words(plain))[:3]
    # The likeliest caption without them may be the empty one.
    found = texts(asked(f"decode.forbid={','.join(said)}", "decode.min_tokens=2"))
    assert not words(found) & set(said) and all(text for row in found for text in row)
    begun = texts(asked(f"decode.forbid={','.join(said)}"), prompts=f"{said[0]}…")
    assert all(text.split()[0] == said[0] for row in begun for text in row)


def test_required_words_are_in_every_caption(asked, plain, built):
    """One of them no piece of the vocabulary, so that it takes several."""
    vocabulary = built.tokenizer.vocabulary
    one = next(piece for piece in vocabulary if piece.isalpha() and piece not in words(plain))
    rest = next(piece for piece in vocabulary if piece.startswith("##"))
    long = one + rest.removeprefix("##")
    assert long not in vocabulary
    for row in texts(asked(f"decode.require={one},{long}")):
        assert row and all({one, long} <= set(text.split()) for text in row)
    # As little as what it is made of says it.
    assert any(long not in text.split() for row in texts(asked(f"decode.require={one}"))
               for text in row)  # fmt: skip


def test_groups_say_different_things(asked, plain):
    found = texts(asked("decode.groups=3", "decode.diversity=50"))
    first = [len({text.split()[0] for text in row}) for row in found]
    assert first == [3] * len(PHOTOS)
    assert all(len(set(row)) == 3 for row in plain)


def test_draws_depend_on_image_prompt_and_seed_alone(asked):
    model = asked(*SAMPLE)
    together = texts(model)
    assert len({tuple(row) for row in together}) == len(PHOTOS)
    for rows in ([2], [3, 2, 2], [0, 1, 2]):
        found = texts(model, [PHOTOS[row] for row in rows])
        assert found == [together[row] for row in rows]
    assert texts(model, prompts="dog") != together
    assert texts(asked(*SAMPLE, "decode.seed=1")) != together
    # The best one, whichever signature is asked.
    for prompts in ("", " "):
        assert texts(model, prompts=prompts, captions=1) == [row[:1] for row in together]
    with_none = model.call("serving_default", {"image_bytes": PHOTOS})["caption"]
    assert [text.decode() for text in with_none] == [row[0] for row in together]


@pytest.mark.parametrize(
    "overrides",
    [
        SAMPLE + ("decode.forbid=a", "decode.no_stutter=true", "decode.min_tokens=3"),
        ("decode.forbid=zzz", "decode.require=a", "decode.groups=3", "decode.no_stutter=true",
         "decode.coverage_penalty=0.01", "decode.min_tokens=3"),
    ],
    ids=["sample", "beam"],
)  # fmt: skip
def test_their_graph_has_ops_of_stock_servers_only(asked, overrides):
    served = asked(*overrides)._keep
    definition = served.functions["caption_beams"].get_concrete_function().graph.as_graph_def()
    functions = definition.library.function
    nodes = [*definition.node, *(node for one in functions for node in one.node_def)]
    used = {node.op for node in nodes} - {one.signature.name for one in functions}
    # Old core ops all; the last two are gone when a graph is saved.
    more = {"StringToHashBucketStrong", "Exp", "Log", "Square", "PartitionedCall"}
    assert used <= ALLOWED | more, sorted(used - ALLOWED - more)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("decode.require=ÿÿ",), "can't spell 'ÿÿ'"),
        (("decode.require=a", "decode.forbid=a"), "exclude each other"),
        (("decode.require=a a a a a a a a a a",), "leaves room for 9"),
        (("decode.forbid=...",), "holds no word"),
        (("decode.groups=2",), "decode.groups=2 must divide decode.beams=3"),
        (("decode.min_tokens=11",), "decode.min_tokens=11 is above"),
        (("decode.search=sample", "decode.require=a"), "needs decode.search=beam"),
        (("decode.serch=beam",), "did you mean decode.search"),
        (("train.epochs=3",), "only decode settings can change"),
    ],
)
def test_settings_that_can_not_be(asked, overrides, message):
    with pytest.raises(CaptionerError) as error:
        asked(*overrides)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_settings_are_a_run_folder_s(tiny_run):
    for folder in (tiny_run / "export", tiny_run / "export" / "1"):
        with pytest.raises(CaptionerError, match="captioner.export --run DIR --set decode.top_k=3"):
            loading.load(folder, overrides=["decode.top_k=3"])
    words = ["--server", "http://127.0.0.1:1", "--set", "decode.top_k=3", "x.jpg"]
    with pytest.raises(CaptionerError, match="--set is for a run folder"):
        predict.main(predict.parser().parse_args(words))


def test_the_command_takes_settings(tiny_run, asked, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loading, "load", lambda _, beams, overrides: asked(*overrides))
    (tmp_path / "x.jpg").write_bytes(PHOTOS[0])
    words = ["--model", str(tiny_run), "--set", SAMPLE[0], str(tmp_path / "x.jpg"), "--json"]
    words += [word for setting in SAMPLE[1:] for word in ("--set", setting)]
    assert predict.main(predict.parser().parse_intermixed_args(words)) == 0
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert [one["text"] for one in row["captions"]] == texts(asked(*SAMPLE), captions=1)[0]


def test_an_export_has_its_settings_and_its_calibration(tiny_run, built, asked, tmp_path):
    """Drawn captions without some words, calibrated: as the run folder says it."""
    overrides = (*SAMPLE, "decode.forbid=a,on the")
    run_model = asked(*overrides)
    settings = config.changed(config.load(tiny_run / "config.json"), overrides, ("decode",))
    one = Calibration(3.0, 2.0, 50, 0.5, settings.decode.model_dump(mode="json"), 40, 0.1, 0.05)
    confidence.write(one, tmp_path / confidence.FILE)
    about = {"calibration": json.loads((tmp_path / confidence.FILE).read_text())}
    version = export(built, settings, tmp_path / "out", about)
    model = loading.load(version)
    assert model.settings == run_model.settings and model.unsure == ""
    assert texts(model) == texts(run_model)
    assert texts(model, prompts="dog") == texts(run_model, prompts="dog")
    for result in model.caption(PHOTOS):
        (caption,) = result.captions
        assert caption.confidence == one.confidence(caption.text, caption.log_prob)
    card = (version / "MODEL_CARD.md").read_text()
    assert "drawn at random, seed 0, temperature 2.0, top k 40, top p 0.95" in card
    assert "without `a`, `on the`" in card and "Nothing is drawn" not in card
    assert "50 images which training didn't see, 50% of whose" in card and "by 0.10 on" in card
    # What it tells other clients to compute is the same.
    for result in model.caption(PHOTOS):
        known = {"log_prob": result.log_prob, "words": len(result.text.split()), "exp": np.exp}
        for line in re.findall(r"^(x = .*?|confidence = .*?) *(?:#.*)?$", card, re.M):
            exec(line, known)
        assert known["confidence"] == pytest.approx(result.captions[0].confidence, abs=1e-3)
    # A damaged calibration, or none, costs the confidence and nothing else.
    facts = version / "assets.extra" / "captioner.json"
    known = json.loads(facts.read_text())
    for damage in ({}, {"slope": "x"}, 3):
        facts.write_text(json.dumps(known | {"calibration": damage}))
        with pytest.MonkeyPatch.context() as quickly:
            quickly.setattr(tf.saved_model, "load", lambda _: model._keep)
            again = loading.load(version)
        assert "no calibration" in again.unsure and texts(again, captions=1) == texts(
            model, captions=1
        )


def test_words_are_checked_before_anything_is_traced(built):
    decode = config.Decode(require=("ÿ",))
    with pytest.raises(CaptionerError, match="can't spell"):
        ServedCaptioner(built, decode, 64)
