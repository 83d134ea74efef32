"""Sentence embeddings: of texts, of images, and how the map from one to the other is fitted."""

import numpy as np
import pytest
import tensorflow as tf

from captioner.errors import CaptionerError
from captioner.inputs.texts import read_texts
from captioner.learning.sentences import fit, noisy, of_others, unit, whitened
from captioner.models.sentences import SentenceHead, embed

IMAGES, VIEWS, WIDTH, SENTENCE = 60, 2, 12, 5


def pairs(noise: float = 0.3):
    """Features and the embeddings that depend on them, neither of them centred."""
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(WIDTH, SENTENCE))
    shown = rng.normal(size=(IMAGES, WIDTH))
    views = shown[:, None] + 0.1 * rng.normal(size=(IMAGES, VIEWS, WIDTH))
    targets = shown @ truth + noise * rng.normal(size=(IMAGES, SENTENCE)) + 2
    return (3 * views + 7).astype(np.float32), targets.astype(np.float32)


def test_the_fit_finds_a_map_that_holds_for_other_images():
    features, targets = pairs()
    half = IMAGES // 2
    found = fit(features[:half], targets[:half])
    told = unit(features[half:, 0] @ found.kernel + found.bias)
    cosine = (told * unit(targets[half:] - found.center)).sum(-1).mean()
    assert cosine > 0.9 and found.cosine == pytest.approx(cosine, abs=0.05)


def test_an_image_is_told_of_by_the_map_of_all_the_others():
    features, targets = pairs()
    found = fit(features, targets)
    mean = features.mean((0, 1), dtype=float)
    size = np.sqrt(np.square(features - mean).mean(dtype=float))
    x, y = (features - mean) / size, targets - targets.mean(0, dtype=float)
    for left_out in (0, 31, 59):
        rest = np.arange(IMAGES) != left_out
        a, b = x[rest].reshape(-1, WIDTH), np.repeat(y[rest], VIEWS, axis=0)
        penalty = found.penalty * IMAGES * VIEWS * np.eye(WIDTH)
        kernel = np.linalg.solve(a.T @ a + penalty, a.T @ b)
        np.testing.assert_allclose(found.held_out[left_out], unit(x[left_out] @ kernel), atol=1e-5)


def test_nothing_is_promised_where_there_is_nothing_to_learn():
    features, targets = pairs()
    shuffled = np.random.default_rng(0).permutation(targets)
    assert abs(fit(features, shuffled).cosine) < 0.3 < fit(features, targets).cosine
    with pytest.raises(ValueError, match="two images"):
        fit(features[:1], targets[:1])


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_features_that_never_change_are_survived(value):
    found = fit(np.full((4, 1, 3), value, np.float32), pairs()[1][:4])
    assert np.isfinite(found.kernel).all() and np.isfinite(found.held_out).all()


def test_a_caption_is_told_of_by_the_others_of_its_image():
    rng = np.random.default_rng(1)
    embeddings = rng.normal(size=(5, 3)).astype(np.float32)
    center = np.float32([1, 0, -1])
    told = of_others(embeddings, ["a", "b", "a", "a", "c"], center)
    away = embeddings - center
    np.testing.assert_allclose(told[0], unit(away[[2, 3]].mean(0)), rtol=1e-5)
    np.testing.assert_allclose(told[[1, 4]], unit(away[[1, 4]]), rtol=1e-5)  # they stand alone
    np.testing.assert_allclose(of_others(embeddings, None, center), unit(away), rtol=1e-5)


def test_whitened_vectors_compare_as_both_do_in_the_whitened_space():
    rng = np.random.default_rng(2)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    vectors = unit(rng.normal(size=(400, 6)) * [30, 9, 3, 1, 0.3, 0.1] @ turn)
    sentences = unit(rng.normal(size=(20, 6)))
    np.testing.assert_array_equal(whitened(vectors, 0), vectors)
    for amount in (0.5, 1.0):
        values, axes = np.linalg.eigh(vectors.T.astype(float) @ vectors / 400)
        half = (values + 0.1 * values.mean()) ** (-amount / 2)
        cosines = unit(sentences @ axes * half) @ unit(vectors @ axes * half).T
        likeness = sentences @ whitened(vectors, amount).T
        # But for a factor that is each sentence's own.
        np.testing.assert_allclose(unit(likeness), unit(cosines), atol=1e-5)


def test_whitening_finds_more_of_what_a_loud_direction_drowns():
    rng = np.random.default_rng(4)
    first = np.arange(8) == 0
    meaning = rng.normal(size=(300, 8)) * ~first
    texts, others = (unit(meaning + 3 * rng.normal(size=(300, 1)) * first) for _ in range(2))
    plain, white = (
        ((others @ whitened(texts, amount).T).argmax(1) == np.arange(300)).mean()
        for amount in (0.0, 1.0)
    )
    assert white > 1.3 * plain > 0.3


def test_whitening_survives_a_vector_without_a_direction():
    found = whitened(np.float32([[1, 0], [0, 0], [1, 0]]), 1.0)
    assert np.isfinite(found).all() and not found[1].any()


def test_noise_is_of_the_length_asked_for():
    exact = unit(np.random.default_rng(0).normal(size=(500, 384)).astype(np.float32))
    for amount, cosine in ((0.0, 1.0), (1.0, 0.5**0.5), (2.0, 0.2**0.5)):
        told = noisy(exact, amount, np.random.default_rng(1))
        np.testing.assert_allclose(np.linalg.norm(told, axis=-1), 1, rtol=1e-5)
        assert (told * exact).sum(-1).mean() == pytest.approx(cosine, abs=0.01)


class Encoder:
    """A text encoder whose tokens' vectors are looked up."""

    table = tf.constant([[9.0, 9.0], [3.0, 0.0], [1.0, 4.0]])

    def __call__(self, inputs):
        tokens = tf.gather(self.table, inputs["input_word_ids"])
        return tokens, tokens[:, 0]


def test_a_text_is_the_mean_of_its_tokens():
    ids = tf.constant([[1, 2, 0], [2, 0, 0], [0, 0, 0]])
    inputs = {"input_word_ids": ids, "input_mask": tf.cast(ids > 0, tf.int32)}
    found = embed(Encoder(), inputs).numpy()
    expected = [np.array([2, 2]) / 8**0.5, np.array([1, 4]) / 17**0.5, [0, 0]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_head_is_the_fitted_map():
    features, targets = pairs()
    found = fit(features, targets)
    head = SentenceHead(SENTENCE, WIDTH)
    assert not head.trainable_variables and not head(features[:2]).numpy().any()
    head.kernel.assign(found.kernel)
    head.bias.assign(found.bias)
    regions = features[:, :1] + np.array([-1, 0, 1], np.float32)[:, None]  # of the same mean
    expected = unit(features[:, 0] @ found.kernel + found.bias)
    np.testing.assert_allclose(head(tf.cast(regions, tf.float32)), expected, atol=1e-5)
    again = SentenceHead.from_config(head.get_config())
    assert (again.width, again.features) == (SENTENCE, WIDTH)


# Captions without images.


def test_texts_are_a_caption_a_line(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_bytes("\ufeffA dog runs.\n\n  a cat \n".encode() + b"\xff\n")
    texts = read_texts(path)
    assert texts.captions == ["A dog runs.", "a cat"] and texts.images is None
    assert "UTF-8" in texts.problems.summary()


def test_texts_may_say_which_belong_together(tmp_path):
    path = tmp_path / "captions.csv"
    path.write_text('Image,Caption\nb.jpg,A dog\n,"A cat, asleep"\na.jpg,\nb.jpg,Dogs\n,A bird\n')
    texts = read_texts(path)
    assert texts.captions == ["A dog", "A cat, asleep", "Dogs", "A bird"]
    assert texts.images[0] == texts.images[2] == "b.jpg"
    assert len(set(texts.images)) == 3  # those without a name stand alone
    path.write_text("caption\nA dog\n")
    assert read_texts(path).images is None


def test_texts_without_captions_are_refused(tmp_path):
    with pytest.raises(CaptionerError, match="data.text: no file"):
        read_texts(tmp_path / "none.txt")
    path = tmp_path / "empty.csv"
    path.write_text("image,caption\na.jpg,\n")
    with pytest.raises(CaptionerError, match="holds no captions"):
        read_texts(path)

