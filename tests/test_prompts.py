"""Prompts drawn from captions: true, repeatable, and as many as asked for."""

import numpy as np
import pytest

from captioner.inputs.prompts import STOP_WORDS, content_words, draw

CAPTIONS = [
    "a brown dog runs across the green grass",
    "two children's kites fly over a black-and-white house",
    "the man and the woman are on the beach",
    "dog",
    "a man in front of a man",
] * 400


@pytest.fixture(scope="module")
def drawn() -> list[str]:
    return draw(CAPTIONS, 1.0, np.random.default_rng(0))


def test_content_words_are_those_that_say_what_is_seen():
    assert content_words("a brown dog runs by a dog") == ["brown", "dog", "runs"]
    assert content_words("this is one of them") == []
    assert content_words("") == []


def test_the_same_state_draws_the_same_prompts(drawn):
    assert draw(CAPTIONS, 1.0, np.random.default_rng(0)) == drawn
    assert draw(CAPTIONS, 1.0, np.random.default_rng(1)) != drawn


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.7, 1.0])
def test_the_share_is_met(share):
    captions = CAPTIONS[:1] * 4000
    prompts = draw(captions, share, np.random.default_rng(2))
    assert len(prompts) == len(captions)
    given = sum(map(bool, prompts)) / len(prompts)
    assert given == pytest.approx(share, abs=0.03 if 0 < share < 1 else 0)


def test_both_kinds_are_drawn(drawn):
    beginnings = [prompt for prompt in drawn if prompt.endswith("…")]
    assert 0.15 * len(drawn) < len(beginnings) < 0.4 * len(drawn)


def test_key_words_are_a_few_of_the_captions_content_words(drawn):
    counts, strays = set(), 0
    for caption, prompt in zip(CAPTIONS, drawn, strict=True):
        if prompt and not prompt.endswith("…"):
            words = prompt.split(" ")
            own = [word for word in words if word in set(caption.split()) - STOP_WORDS]
            assert len(set(words)) == len(words) and len(words) - len(own) <= 1
            counts.add(len(own))
            strays += len(words) - len(own)
    assert counts == {1, 2, 3}
    assert 0.05 < strays / len(drawn) < 0.2


def test_a_stray_key_word_is_of_another_caption():
    captions = ["red dog", "blue cat"] * 200
    prompts = draw(captions, 1.0, np.random.default_rng(5))
    strays = {word for prompt in prompts[::2] if "…" not in prompt for word in prompt.split()}
    assert strays == {"red", "dog", "blue", "cat"}
    alone = draw(["red dog"] * 200, 1.0, np.random.default_rng(5))
    assert not {"blue", "cat"} & {word for prompt in alone for word in prompt.split()}


def test_key_words_come_in_any_order(drawn):
    pairs = {prompt for prompt in drawn if set(prompt.split()) == {"dog", "grass"}}
    assert pairs == {"dog grass", "grass dog"}


def test_beginnings_are_the_captions_own_and_leave_something_to_say(drawn):
    lengths = set()
    for caption, prompt in zip(CAPTIONS, drawn, strict=True):
        if prompt.endswith("…"):
            words = prompt[:-1].split(" ")
            assert words == caption.split()[: len(words)]
            assert 1 <= len(words) < len(caption.split())
            lengths.add(len(words) / len(caption.split()))
    assert min(lengths) < 0.2 and max(lengths) > 0.8


@pytest.mark.parametrize("caption", ["", "a", "on the"])
def test_captions_that_say_nothing_get_no_key_words(caption):
    prompts = draw([caption] * 200, 1.0, np.random.default_rng(3))
    assert {prompt for prompt in prompts if not prompt.endswith("…")} == {""}


def test_no_captions_no_prompts():
    assert draw([], 0.5, np.random.default_rng(0)) == []
