"""Summaries: sentences that need a picture and the text around it."""

import json

import pytest
from tiny_training import quick_encoder

import captioner
from captioner import config, evaluate, tasks
from captioner.errors import CaptionerError
from captioner.inputs import demo
from captioner.inputs.questions import Asked, Question
from captioner.inputs.readers import read
from captioner.learning.run import train
from captioner.learning.summaries import facts, shares
from captioner.metrics import tokenize


def asked(text, sentence):
    return Asked(text, sentence, Question("1", "", "other", (sentence,)))


def test_what_each_source_alone_can_tell():
    one = asked("Anna took this on Monday. It was cold.", "on monday anna saw a red ball")
    assert facts(one) == ({"monday", "anna"}, {"saw", "red", "ball"})


def test_shares_by_hand():
    two = [
        asked("anna, monday", "on monday anna saw a ball"),
        asked("ben", "ben saw two dogs"),
    ]
    found = shares(two, ["anna saw a ball on a table", "two dogs"])
    assert found == {"said": 1 / 3, "from_text": 1 / 3, "from_image": pytest.approx(3 / 4)}
    assert list(found)[0] == "said"  # what the best weights go by
    assert shares(two, ["", ""]) == {"said": 0, "from_text": 0, "from_image": 0}


def test_the_pictures_and_their_texts_each_hold_what_the_other_does_not():
    every = list(demo.told(240))
    assert every == list(demo.told(240))
    names = {split: set() for split in ("train", "dev", "test")}
    for _, split, made in every:
        assert len(made) == 2
        for text, sentence in made:
            told, seen = facts(asked(text, sentence))
            assert len(told) >= 2 and len(seen) >= 2, (text, sentence)
            day, who = sentence.split()[1:3]
            assert {day, who} <= told
            assert not {"is", "are", "there"} & set(sentence.split())
            names[split].add(who)
    assert names["test"] - names["train"] and names["test"] & names["train"]
    # What the picture shows is in no text: texts know people, days and the weather.
    kinds = set(demo.KINDS)
    assert not any(kinds & set(tokenize(text)) for *_, made in every for text, _ in made)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """24 drawn pictures with their texts, as CSV."""
    folder = tmp_path_factory.mktemp("summary")
    demo.write(folder / "drawn", images=24, seed=0, side=64)
    lines = ["image,prompt,caption,split"]
    for name, split, made in demo.told(24):
        lines += [f'drawn/{name},"{text}",{sentence},{split}' for text, sentence in made]
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder / "table.csv"


@pytest.mark.slow
def test_a_run_from_data_to_export(table, tiny_encoder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("captioner.models.build.image_encoder", quick_encoder)
    words = [
        "model.image_side=64", f"model.text_encoder={tiny_encoder}", "model.units=16",
        "model.heads=2", "train.epochs=1", "train.distribution=none", "decode.beams=1",
        "decode.max_tokens=6", f"data.folder={tmp_path / 'cache'}",
    ]  # fmt: skip
    settings = config.settings("summary", data=f"csv:{table}", overrides=words)
    run = tmp_path / "run"
    outcome = train(settings, run, run / "export")
    scores = json.loads((run / "scores.json").read_text())
    assert scores["images"] == 2 and scores["sentences"] == 4
    for row in (scores, scores["text_alone"], scores["image_alone"]):
        assert {"said", "from_text", "from_image", "CIDEr", "BLEU_4"} <= set(row)
    shown = tasks.get("summary").show(outcome["scores"], outcome["examples"])
    assert "text, no image" in shown and read(f"csv:{table}").split("test")[0].prompts[0] in shown
    record = read(f"csv:{table}").split("test")[0]
    files, texts = [record.image] * 3, [*record.prompts, ""]
    made = [captioner.load(one).caption(files, texts) for one in (run, run / "export")]
    assert [one.text for one in made[0]] == [one.text for one in made[1]]
    words = ["--model", str(run), "--data", f"csv:{table}", "--split", "dev",
             "--rows", str(tmp_path / "rows.jsonl")]  # fmt: skip
    evaluate.main(evaluate.parser().parse_args(words))
    assert "from_image" in capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    assert {"prompt", "reference", "both", "text_alone", "image_alone"} <= set(rows[0])


def test_data_without_texts_are_refused(drawn, tmp_path):
    settings = config.settings("summary", data=f"csv:{drawn}")
    with pytest.raises(CaptionerError, match="has no texts around its images"):
        tasks.get("summary").begin(settings, tmp_path, read(f"csv:{drawn}"))
