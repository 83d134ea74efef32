"""Words of the prompt on their way into the caption.

Legend: B batch, T caption tokens, K beams, S pieces of the prompt, V vocabulary.
"""

import json

import numpy as np
import pytest
import tensorflow as tf

from captioner import config
from captioner.errors import CaptionerError
from captioner.inputs.prompt_pieces import COPIED, PromptTokenizer
from captioner.inputs.text import END, SPECIAL, START, CaptionTokenizer
from captioner.models.copying import Copying

CAPTIONS = [*SPECIAL, "a", "dog", "cat", "fire", "##man", "##fighter", "t-shirt", "on", "##s"]
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "t", "-", "shirt", "fire", "##man", ",",
        "cat", "?"]  # fmt: skip
V = len(CAPTIONS)
D, O, W = 6, 8, 5
CONTINUING = [at for at, piece in enumerate(CAPTIONS) if piece.startswith("##")]
ID = {piece: at for at, piece in enumerate(CAPTIONS)}


@pytest.fixture(scope="module")
def tokenizer() -> PromptTokenizer:
    return PromptTokenizer(CaptionTokenizer(CAPTIONS), BERT, True, 8)


@pytest.fixture(scope="module")
def copying() -> Copying:
    """Its scores are those that it starts with, whatever the state."""
    layer = Copying(V, CONTINUING, END)
    layer.build(O, D, W)
    layer._key.kernel.assign(tf.zeros_like(layer._key.kernel))
    return layer


def copied(copying, tokenizer, *prompts):
    given = tokenizer(tf.constant(prompts))
    prompt = tf.random.stateless_normal([len(prompts), 8, D], [1, 2])
    words = tf.random.stateless_normal([V, W], [3, 4])
    return copying.prepare(*(given[name] for name in COPIED), prompt, words)


def scores(copying, memory, *pieces):
    """float32 [V]: what may follow these pieces."""
    tokens = tf.constant([[START, *(ID[piece] for piece in pieces)]])
    out = tf.random.stateless_normal([1, len(pieces) + 1, O], [5, 6])
    return copying(out, copying.progress(tokens, memory), memory)[0, -1].numpy()


def raised(found) -> set[str]:
    return {CAPTIONS[at] for at in np.flatnonzero(found > 0)}


def test_a_prompt_is_spelled_as_captions_are(tokenizer):
    given = tokenizer(tf.constant(["Dog, a T-shirt on dogs", "fireman cat", "", "☃ on cow"]))
    pieces = [[CAPTIONS[at] for at in row if at] for row in given["prompt_pieces"].numpy()]
    assert pieces == [["dog", "t-shirt"], ["fire", "##man", "cat"], [], []]
    places = given["prompt_places"].numpy().tolist()
    # [CLS] dog , a t - shirt [SEP]: the rest is cut, here and there.
    assert places[0][:2] == [1, 4]
    assert places[1][:3] == [1, 1, 3]


def test_what_the_encoder_does_not_read_is_not_copied(tokenizer):
    given = tokenizer(tf.constant(["a a a a a dog cat fire", "dog" * 5000, "a/" * 5000 + "dog"]))
    assert [CAPTIONS[at] for at in given["prompt_pieces"][0].numpy() if at] == ["dog"]
    assert given["prompt_pieces"].shape == (3, 8)


def test_the_encoder_reads_what_it_did(tokenizer):
    from captioner.inputs.wordpiece import BertTokenizer

    texts = tf.constant(["Dog, a T-shirt!", "", "x" * 300, "漢字 dog"])
    mine = tokenizer(texts)
    for name, one in BertTokenizer(BERT, True, 8)(texts).items():
        np.testing.assert_array_equal(mine[name], one)


def test_words_are_raised_until_they_are_said(copying, tokenizer):
    memory = copied(copying, tokenizer, "dog cat")
    assert raised(scores(copying, memory)) == {"dog", "cat"}
    assert raised(scores(copying, memory, "a", "dog")) == {"cat"}
    assert raised(scores(copying, memory, "a", "dog", "on", "cat")) == set()


def test_the_end_loses_by_every_word_that_is_missing(copying, tokenizer):
    memory = copied(copying, tokenizer, "dog cat")
    two, one, none = (
        scores(copying, memory, *said)[END] for said in (("a",), ("dog",), ("dog", "cat"))
    )
    assert two < one < none == 0


def test_a_piece_that_continues_a_word_follows_its_beginning(copying, tokenizer):
    memory = copied(copying, tokenizer, "fireman")
    assert raised(scores(copying, memory)) == {"fire"}
    assert raised(scores(copying, memory, "a", "fire")) == {"##man"}
    assert raised(scores(copying, memory, "fire", "##man")) == set()
    assert raised(scores(copying, memory, "dog", "##man")) == {"fire"}  # that was another word


def test_a_word_that_is_whole_is_not_made_another(copying, tokenizer):
    memory = copied(copying, tokenizer, "fireman dog")
    for said, lowered in ((("dog",), True), (("fire", "##man"), True), (("fire",), False)):
        assert (scores(copying, memory, *said)[ID["##s"]] < 0) == lowered
    assert scores(copying, memory, "dog", "on")[ID["##s"]] == 0


def test_questions_are_not_copied(tokenizer):
    given = tokenizer(tf.constant(["a dog on fire? ", "dog? fire"]))["prompt_pieces"].numpy()
    assert not given[0].any() and given[1].any()


def test_a_word_that_is_asked_for_twice_counts_once(copying, tokenizer):
    once, twice = (copied(copying, tokenizer, text) for text in ("dog cat", "dog cat dog dog"))
    np.testing.assert_allclose(scores(copying, once), scores(copying, twice), rtol=1e-6)
    both = copied(copying, tokenizer, "fireman firefighter")
    assert raised(scores(copying, both, "fire")) == {"##man", "##fighter"}


def test_an_empty_prompt_scores_nothing(copying, tokenizer):
    assert not scores(copying, copied(copying, tokenizer, "")).any()
    assert not scores(copying, copied(copying, tokenizer, "on a ☃")).any()


def test_steps_know_what_teacher_forcing_knows(copying, tokenizer):
    texts = ["dog fireman", "cat", ""]
    memory = copied(copying, tokenizer, *texts)
    rng = np.random.default_rng(0)
    tokens = rng.choice([ID["dog"], ID["fire"], ID["##man"], ID["cat"]], size=(3, 12))
    tokens[:, 0] = START
    whole = copying.progress(tf.constant(tokens, tf.int32), memory)
    progress = {name: one[:, None] for name, one in copying.initial(memory).items()}
    for t in range(12):
        progress = copying.step(tf.constant(tokens[:, t : t + 1], tf.int32), progress, memory)
        for name in ("said", "ready", "whole"):
            np.testing.assert_array_equal(progress[name][:, 0], whole[name][:, t])
    assert whole["said"].numpy()[0].any()


def test_runs_from_before_copy_nothing(tmp_path):
    settings = json.loads(config.settings("flickr8k").dump())
    assert settings["model"].pop("copying") is True
    path = tmp_path / "config.json"
    path.write_text(json.dumps(settings))
    assert config.load(path).model.copying is False


def test_copying_needs_a_text_encoder():
    with pytest.raises(CaptionerError, match="model.copying=true needs a text encoder"):
        config.settings("demo", overrides=["model.copying=true", "model.text_encoder=none"])


def test_the_layer_says_how_to_make_it(copying):
    again = Copying.from_config(copying.get_config())
    assert (again.vocabulary, again.continuing, again.end) == (V, CONTINUING, END)
