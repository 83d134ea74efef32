"""The web page's server with a tiny model that answers questions, and its page."""

import re
import threading

import numpy as np
import pytest
import tensorflow as tf
from clients import jpeg
from tiny_training import quick_encoder
from web_site import serving, until

from captioner import config, tasks
from captioner.captioning import Captioner
from captioner.models.build import build
from captioner.web.app import Limits

QUESTION = "what colour is it?"
ANSWERS = ["red", "blue", "yes", "no", "2"]


@pytest.fixture(scope="module")
def model(tiny_encoder):
    """As `captioner.load` gives it, with the weights that training begins with."""
    words = [
        "model.image_side=64", f"model.text_encoder={tiny_encoder}", "model.units=16",
        "model.heads=2", f"model.answers={len(ANSWERS)}", "decode.beams=3", "decode.max_tokens=5",
    ]  # fmt: skip
    settings = config.settings("vqa", data="demo", overrides=words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("captioner.models.build.image_encoder", quick_encoder)
        served = tasks.of(settings).serve(settings, build(settings, ANSWERS))

    def call(signature, inputs):
        tensors = {name: tf.constant(rows, tf.string) for name, rows in inputs.items()}
        return {name: one.numpy() for name, one in served.functions[signature](**tensors).items()}

    return Captioner("runs/questions", call, {"beams": 3, "max_tokens": 5})


@pytest.fixture(scope="module")
def site(model):
    limits = Limits(upload=100_000, images=4)
    with serving(limits, load=lambda: model, ready=True, task="vqa") as site:
        yield site


def test_answers_come_with_probabilities_and_maps(site, model):
    photo = jpeg(1, 60, 50)
    status, answer, _ = site.form(
        ("image", photo), ("prompt", QUESTION.encode()), ("captions", b"3"), ("attention", b"1")
    )
    assert status == 200 and answer["error"] is None
    wanted = model.caption(photo, QUESTION, captions=3, attention=True).captions
    assert len(wanted) == 3
    for one, known in zip(answer["captions"], wanted, strict=True):
        assert (one["text"], one["tokens"]) == (known.text, [known.text])
        assert one["log_prob"] == pytest.approx(known.log_prob, abs=1e-4)
        np.testing.assert_allclose(one["attention"], known.attention, atol=1e-4)
        assert np.sum(one["attention"]) == pytest.approx(1, abs=1e-2)
    assert sum(np.exp(one["log_prob"]) for one in answer["captions"]) <= 1 + 1e-5


@pytest.mark.parametrize("parts", [[], [("prompt", b"")], [("prompt", b" \n ")]])
def test_without_a_question_it_says_what_is_missing(site, parts):
    status, answer, _ = site.form(("image", jpeg(1, 60, 50)), *parts)
    assert status == 400 and answer["captions"] == []
    assert answer["error"].startswith("no question: ") and "field prompt" in answer["error"]


def test_the_model_tells_its_task(site):
    status, about, _ = site.ask("GET", "/api/model")
    assert (status, about["task"], about["beams"]) == (200, "vqa", 3)
    assert site.ask("POST", "/api/search")[0] == 404


def test_the_task_is_known_while_the_model_loads(model):
    loading = threading.Event()

    def load():
        assert loading.wait(60)
        return model

    with serving(load=load, task="vqa") as site:
        until(lambda: site.ask("GET", "/healthz")[0] == 200)
        status, answer, headers = site.ask("GET", "/api/model")
        assert (status, answer["task"]) == (503, "vqa") and "retry-after" in headers
        loading.set()
        assert site.announced.wait(300)


def test_answers_have_no_least_confidence(model):
    with serving(load=lambda: model, task="vqa", min_confidence=0.5) as site:
        site.thread.join(60)
        assert "not of answers" in str(site.failure)


def test_the_page_has_words_for_every_task(site):
    """What is for one task alone is marked as such; all but captioning's is hidden at first."""
    _, page, _ = site.ask("GET", "/")
    marked = re.findall(r"<(\w+)([^>]*data-task=\"([^\"]+)\"[^>]*)>([^<]*)", page)
    shown = {}
    for _, attributes, names, text in marked:
        assert ("hidden" in attributes.split()) == ("caption" not in names.split())
        for name in names.split():
            shown.setdefault(name, []).append(" ".join(text.split()))
    assert set(shown) == {"caption", "vqa", "contrastive"}
    assert "Prompt" in shown["caption"] and "Captions a photo" in shown["caption"]
    assert {"Question", "Answers a photo", "Ask"} <= set(shown["vqa"])
    assert not any("aption" in text or "rompt" in text for text in shown["vqa"])
    _, script, _ = site.ask("GET", "/task.js")
    assert all(f'"{name}"' in script for name in shown)
