"""Question answering from data to export: the captioner with questions, and the classifier."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tiny_training
from tensorflow.core.protobuf import saved_model_pb2
from test_graph import ALLOWED
from tiny_training import IMAGES, Cache, quick_encoder

import captioner
from captioner import config, evaluate, predict, tasks
from captioner.errors import CaptionerError
from captioner.inputs import demo
from captioner.inputs.pipeline import Batches, CachedImages, Examples
from captioner.inputs.prompt_batches import ReadPrompts
from captioner.inputs.questions import Question
from captioner.inputs.readers import read
from captioner.inputs.records import Record
from captioner.inputs.wordpiece import READ, BertTokenizer
from captioner.learning.answering import CURVES, accuracies, answerable, choices, frequent_answers
from captioner.learning.objectives import answer_loss, caption_loss
from captioner.learning.prompted import PromptedValidation
from captioner.learning.run import train
from captioner.models.answer_head import AnswerHead
from captioner.models.build import load_bert_vocabulary
from captioner.models.captioner import Captioner
from captioner.models.encoders import TextEncoder

QUESTIONS = ["what colour is it?", "is there a dog?", "where is the small red bird sleeping now?"]


@pytest.fixture(scope="module")
def vqa(tmp_path_factory):
    """VQA's files of 40 drawn pictures; of test, no answers."""
    folder = tmp_path_factory.mktemp("vqa")
    demo.write(folder / "demo", images=40, seed=3, side=64)
    years = {"train": "train2014", "dev": "val2014", "test": "test2015"}
    content = {name: {"questions": [], "annotations": []} for name in years}
    number = 0
    for image, (path, split, made) in enumerate(demo.asked(40, 3)):
        name = f"COCO_{years[split]}_{image:012d}.jpg"
        (folder / years[split]).mkdir(exist_ok=True)
        (folder / "demo" / path).rename(folder / years[split] / name)
        for text, answer, known in made:
            row = {"question_id": number, "image_id": image}
            content[split]["questions"].append(row | {"question": text})
            kinds = {"question_type": known.kind, "answer_type": known.answer_kind}
            people = [{"answer": one} for one in known.answers]
            row |= kinds | {"multiple_choice_answer": answer, "answers": people}
            content[split]["annotations"].append(row)
            number += 1
    for split, year in years.items():
        path = folder / f"v2_OpenEnded_mscoco_{year}_questions.json"
        path.write_text(json.dumps({"questions": content[split]["questions"]}))
        if split != "test":
            path = folder / f"v2_mscoco_{year}_annotations.json"
            path.write_text(json.dumps({"annotations": content[split]["annotations"]}))
    return folder


@pytest.fixture(scope="module", params=["says", "chooses"])
def trained(request, vqa, tiny_encoder, tmp_path_factory):
    """A finished run of either kind."""
    run = tmp_path_factory.mktemp("runs") / request.param
    words = [
        "model.image_side=64", f"model.text_encoder={tiny_encoder}", "model.units=16",
        "model.heads=2", "train.epochs=2", "train.distribution=none", "decode.beams=3",
        "decode.max_tokens=5", f"data.folder={vqa / 'cache'}",
        f"model.answers={30 if request.param == 'chooses' else 0}",
    ]  # fmt: skip
    settings = config.settings("vqa", data=f"vqa:{vqa}", overrides=words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("captioner.models.build.image_encoder", quick_encoder)
        train(settings, run, run / "export")
        yield run


def test_a_run_is_scored_beside_the_question_alone(trained, vqa):
    scores = json.loads((trained / "scores.json").read_text())
    data = read(f"vqa:{vqa}")
    dev = data.split("dev")
    assert scores["settings"]["split"] == "dev"  # test has no answers
    assert scores["images"] == len(dev)
    assert scores["questions"] == sum(len(record.captions) for record in dev)
    figures = ("accuracy", "accuracy_question_only", "accuracy_blank_image")
    assert all(0 <= scores[key] <= 1 for key in figures) and scores[figures[1]] > 0
    for name in ("by_answer_type", "by_question_type"):
        rows = scores[name].values()
        assert sum(row["questions"] for row in rows) == scores["questions"]
        for key in figures:
            mean = sum(row["questions"] * row[key] for row in rows) / scores["questions"]
            assert mean == pytest.approx(scores[key])
    steps = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert steps[-1]["loss"] < steps[0]["loss"]
    card = (trained / "export" / "1" / "MODEL_CARD.md").read_text()
    assert "Answers to questions" in card and "`question_only`" in card


def test_the_export_answers_as_the_run_does(trained, vqa):
    record = read(f"vqa:{vqa}").split("test")[0]
    questions = list(record.prompts)
    made = [
        captioner.load(folder).caption([record.image] * len(questions), questions, captions=3)
        for folder in (trained, trained / "export")
    ]
    for mine, its in zip(*made, strict=True):
        assert [one.text for one in mine.captions] == [one.text for one in its.captions]
        found = [one.log_prob for one in mine.captions]
        np.testing.assert_allclose(found, [one.log_prob for one in its.captions], atol=1e-4)
        assert found == sorted(found, reverse=True)


def test_the_graph_holds_core_ops_only(trained):
    path = trained / "export" / "1" / "saved_model.pb"
    (found,) = saved_model_pb2.SavedModel.FromString(path.read_bytes()).meta_graphs
    ops = {node.op for node in found.graph_def.node}
    ops |= {node.op for one in found.graph_def.library.function for node in one.node_def}
    ops -= {"AvgPool"}  # the tiny image encoder's
    assert ops <= ALLOWED, sorted(ops - ALLOWED)


def test_an_image_that_several_questions_ask_of_is_read_once(trained, vqa):
    """Whatever is in between, each row has its own image's answer."""
    images = [one.image.read_bytes() for one in read(f"vqa:{vqa}").records[:2]]
    files = [images[0], b"no image", images[1], images[0], b"no image"]
    model = captioner.load(trained)
    ask = ["is there a dog?", "why?", "what is in the picture?", "what is in the picture?", "how?"]
    together = model.caption(files, ask)
    for file, question, answer in zip(files, ask, together, strict=True):
        alone = model.caption(file, question)
        assert (alone.text, alone.error) == (answer.text, answer.error)
        assert alone.log_prob == pytest.approx(answer.log_prob, abs=1e-3)
    assert [bool(one.error) for one in together] == [False, True, False, False, True]


def test_signatures_of_a_classifier_give_answers_and_probabilities(trained, vqa):
    settings = config.load(trained / "config.json")
    if not settings.model.answers:
        pytest.skip("of the classifier")
    answers = (trained / "answers.txt").read_text().splitlines()
    assert 1 < len(answers) <= 30
    model = captioner.load(trained, beams=len(answers) + 2)
    image = read(f"vqa:{vqa}").records[0].image.read_bytes()
    inputs = {"image_bytes": [image, b"no image", image],
              "prompt": [b"is there a dog?", b"is there a dog?", b""]}  # fmt: skip
    out = model.call("caption_beams", inputs)
    assert out["error"][0] == b"" and out["error"][1] and (out["captions"][1] == b"").all()
    for row in (0, 2):
        said = [one.decode() for one in out["captions"][row]]
        assert sorted(said[:-2]) == sorted(answers) and said[-2:] == ["", ""]
        assert np.exp(out["log_probs"][row]).sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(out["attention"][row, :-2, 0].sum((-2, -1)), 1, atol=1e-5)
    assert out["attention"][:, :, 1:].sum() == 0 and out["tokens"].shape[-1] == 5
    best = model.call("caption_with_prompt", inputs)
    assert (best["caption"] == out["captions"][:, 0]).all()
    default = model.call("serving_default", {"image_bytes": [image]})
    assert default["caption"][0] == out["captions"][2, 0]  # an empty question is none


def test_the_commands(trained, vqa, tmp_path, capsys):
    words = ["--model", str(trained), "--data", f"vqa:{vqa}"]
    evaluate.main(evaluate.parser().parse_args([*words, "--predictions", str(tmp_path / "p.json")]))
    assert "none of which can be scored" in capsys.readouterr().out
    given = json.loads((tmp_path / "p.json").read_text())
    asked = json.loads((vqa / "v2_OpenEnded_mscoco_test2015_questions.json").read_text())
    assert [one["question_id"] for one in given] == [
        one["question_id"] for one in asked["questions"]
    ]
    evaluate.main(evaluate.parser().parse_args([*words, "--split", "dev"]))
    assert "question only" in capsys.readouterr().out
    with pytest.raises(CaptionerError, match="--report: not an option"):
        evaluate.main(evaluate.parser().parse_args([*words, "--report", str(tmp_path)]))
    image = str(read(f"vqa:{vqa}").records[0].image)
    words = ["--model", str(trained / "export"), "--prompt", "is there a dog?", "--json", image]
    assert predict.main(predict.parser().parse_intermixed_args(words)) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["image"] == image and row["captions"][0]["log_prob"] < 0


def test_data_without_questions_are_refused(drawn, tmp_path):
    task = tasks.get("vqa")
    settings = config.settings("vqa", data=f"csv:{drawn}")
    with pytest.raises(CaptionerError, match="has no questions: the recipe vqa reads"):
        task.begin(settings, tmp_path, read(f"csv:{drawn}"))
    settings = config.settings("vqa", overrides=["model.text_encoder=none"])
    with pytest.raises(CaptionerError, match="need a text encoder"):
        task.begin(settings, tmp_path, read(f"csv:{drawn}"))
    with pytest.raises(CaptionerError, match="model.answers=9 needs a task that is about"):
        config.settings("demo", overrides=["model.answers=9"])


# Parts.


def record(number, *asked):
    """An image's questions: (question, answer)."""
    known = tuple(Question(f"{number}#{n}", "k", "other", (a,) * 10) for n, (_, a) in
                  enumerate(asked))  # fmt: skip
    questions, answers = zip(*asked, strict=True)
    return Record(str(number), None, answers, "train", questions, known)


def test_frequent_answers_are_counted_as_they_are_scored():
    records = [record(0, ("a?", "the Dog"), ("b?", "a dog"), ("c?", "a dog"), ("d?", "two")),
               record(1, ("a?", "2"), ("b?", "cat"), ("c?", "ant"), ("d?", "the"))]  # fmt: skip
    assert frequent_answers(records, 3) == ["a dog", "2", "ant"]
    made = choices(records, ["a dog", "2", "ant"], skip=set())
    assert made.tokens[:, 0].tolist() == [0, 0, 0, 1, 1, 2]
    assert made.image.tolist() == [0, 0, 0, 0, 1, 1]
    assert made.prompts == ["a?", "b?", "c?", "d?", "a?", "c?"]
    assert len(choices(records, ["a dog"], skip={0})) == 0


def batches_of(encoder, read_before, classes=None):
    """Questions about the tiny images, their prompts tokenised or read."""
    vocabulary = load_bert_vocabulary(encoder / "assets" / "vocab.txt")
    prompts = BertTokenizer(vocabulary, True, 16)
    data = tiny_training.captions(IMAGES, 3)
    tokens = data.tokens if classes is None else classes
    given = [QUESTIONS[i % 3] if i % 5 else "" for i in range(len(data))]
    data = Examples(data.image, tokens, data.texts, given)
    if read_before:
        prompts = ReadPrompts(given, prompts, TextEncoder(encoder, dtype="float32"))
    return Batches(data, CachedImages(Cache()), batch_size=21, captions_per_image=3,
                   prompt_tokenizer=prompts)  # fmt: skip


def chooser(encoder, answers=5):
    images = quick_encoder(config.settings(overrides=["model.image_side=32"]))
    words = TextEncoder(encoder, dtype="float32", name="text_encoder")
    return Captioner(images, words, AnswerHead(answers, 8, 2, name="decoder"), name="captioner")


@pytest.mark.parametrize("kind", ["says", "chooses"])
def test_prompts_that_were_read_change_no_loss(tiny_encoder, kind):
    classes = np.arange(IMAGES * 3, dtype=np.int32)[:, None] % 5 if kind == "chooses" else None
    model = chooser(tiny_encoder) if kind == "chooses" else tiny_training.model(encoder=tiny_encoder)
    objective = answer_loss if kind == "chooses" else caption_loss
    found = []
    for read_before in (False, True):
        made = batches_of(tiny_encoder, read_before, classes)
        (batch,) = next(made.epoch(0))
        assert (READ[0] in batch) == read_before
        assert set(batch) == set(made.signature())
        for name, spec in made.signature().items():
            assert spec.is_compatible_with(tf.constant(batch[name])), name
        batch = {name: tf.constant(one) for name, one in batch.items()}
        losses = objective(model, batch, training=False)
        found.append([float(one) for one in losses[:4]])
    np.testing.assert_allclose(*found, rtol=2e-3)  # read ones are kept in half precision


def test_questions_of_an_image_share_it_and_are_answered_alone(tiny_encoder):
    model = chooser(tiny_encoder)
    vocabulary = load_bert_vocabulary(tiny_encoder / "assets" / "vocab.txt")
    inputs = BertTokenizer(vocabulary, True, 16)(tf.constant(QUESTIONS))
    images = tf.random.stateless_normal([2, 4, 6], [1, 2])
    rows = tf.constant([1, 0, 1])
    together, _ = model.decoder(model.encode(images, inputs, image_rows=rows))
    for at, row in enumerate(rows.numpy()):
        one = {name: column[at : at + 1] for name, column in inputs.items()}
        alone, weights = model.decoder(model.encode(images[row : row + 1], one))
        np.testing.assert_allclose(together[at], alone[0], atol=1e-5)
        assert float(tf.reduce_sum(weights)) == pytest.approx(1, abs=1e-5)
    assert np.abs(together[0] - together[2]).max() > 1e-4  # the question counts
    other, _ = model.decoder(model.encode(images[::-1], inputs, image_rows=rows))
    assert np.abs(together - other).max() > 1e-4  # and so does the image


def test_a_head_is_what_its_config_says():
    head = AnswerHead(5, 8, heads=2, dropout=0.1)
    assert AnswerHead.from_config(head.get_config()).get_config() == head.get_config()


def test_validation_scores_each_question_of_each_readable_image():
    records = [record(n, ("is it red?", "yes"), ("how?", "so")) for n in range(3)]
    seen = []

    def answer(images, rows, questions):
        def note(rows, questions):
            seen.append((rows.tolist(), [one.decode() for one in questions]))
            return np.array([b"yes"] * len(questions), object)

        return tf.numpy_function(note, [rows, questions], tf.string)

    questions = [answerable(one) for one in records]
    made = PromptedValidation(
        answer, accuracies, CURVES, questions, CachedImages(Cache()), skip={1}
    )
    scores = made.scores()
    assert scores == {"accuracy": 0.5, "other": 0.5}
    assert seen == [([0, 0, 1, 1], ["is it red?", "how?"] * 2)]
    assert next(iter(scores)) == "accuracy"  # what the best weights go by
