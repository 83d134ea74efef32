"""Captions without their padding: where tokens stand, and that the model computes the same.

Legend: B captions, T tokens, S tokens of all captions together, R regions, D encoder width.
"""

import numpy as np
import pytest
import tensorflow as tf
import tiny_training as tiny

from captioner.inputs.text import END, PAD, START
from captioner.learning.objectives import caption_loss
from captioner.models.packing import group, pack


def test_the_pack_is_step_by_step_longest_first():
    packing = pack(tf.constant([2, 0, 3, 2]))
    np.testing.assert_array_equal(packing.order, [2, 0, 3, 1])  # of equal ones the first first
    np.testing.assert_array_equal(packing.sizes, [3, 3, 1])
    np.testing.assert_array_equal(packing.captions, [2, 0, 3, 2, 0, 3, 2])
    np.testing.assert_array_equal(packing.steps, [0, 0, 0, 1, 1, 1, 2])
    np.testing.assert_array_equal(packing.ranks, [0, 1, 2, 0, 1, 2, 0])
    back = tf.gather(tf.stack([packing.captions, packing.steps], 1), packing.unpacked)
    expected = [[0, 0], [0, 1], [2, 0], [2, 1], [2, 2], [3, 0], [3, 1]]
    np.testing.assert_array_equal(back, expected)


@pytest.mark.parametrize("lengths", [[], [0], [0, 0]])
def test_a_pack_of_nothing(lengths):
    packing = pack(tf.constant(lengths, tf.int32))
    assert packing.captions.shape == packing.unpacked.shape == (0,)
    np.testing.assert_array_equal(packing.sizes, [0])
    groups = group(packing.captions, tf.constant(2))
    assert groups.gather(tf.zeros([0, 3])).shape == (2, 0, 3)
    assert groups.scatter(tf.zeros([2, 0, 3])).shape == (0, 3)


@pytest.mark.parametrize("rows", [[0, 0, 1, 1], [1, 0, 1, 0], [-1, 2, -1, 0], [-1] * 4])
def test_each_token_comes_to_its_memory_and_back(rows):
    lengths = [2, 1, 3, 4]
    owners = np.repeat(rows, lengths)
    groups = group(tf.constant(owners, tf.int32), tf.constant(3))
    tokens = tf.range(1.0, 11.0)[:, None]
    grouped = groups.gather(tokens)
    back = groups.scatter(grouped + 100.0 * tf.range(3.0)[:, None, None])
    expected = np.where(owners >= 0, tokens[:, 0] + 100 * owners, 0)
    np.testing.assert_array_equal(back[:, 0], expected)
    widths = [sum(n for n, row in zip(lengths, rows, strict=True) if row == g) for g in range(3)]
    assert grouped.shape == (3, max(widths), 1)  # and no wider


# The model.

B, T = 5, 6
LENGTHS = [4, 1, 6, 3, 6]
SMOOTHING = 0.2


def captions() -> np.ndarray:
    """[START], words, [END] and padding; the longest fill the row."""
    rng = np.random.default_rng(3)
    tokens = np.full((B, T + 1), PAD, np.int32)
    for row, length in zip(tokens, LENGTHS, strict=True):
        row[: length + 1] = [START, *rng.integers(4, 4 + len(tiny.WORDS), length - 1), END]
    return tokens


def step_by_step(model, inputs, tokens):
    """The smoothed loss and the plain one, token by token as the search goes, each caption with
    an image and a prompt of its own."""
    image, rows = inputs.get("image"), inputs["image_rows"]
    if image is not None:
        image, rows = tf.gather(image, rows), tf.range(B)
    memory = model.encode(
        image, inputs.get("prompt"), image_rows=rows, prompt_rows=inputs.get("prompt_rows")
    )
    state = model.initial(memory, beams=1)
    smoothed = plain = 0.0
    for t in range(T):
        log_probs, state = model.step(tokens[:, t, None], state, memory)
        target = tf.one_hot(tokens[:, t + 1], log_probs.shape[-1])
        there = tf.cast(tokens[:, t + 1] != PAD, tf.float32)
        soft = (1 - SMOOTHING) * target + SMOOTHING / target.shape[-1]
        plain -= tf.reduce_sum(tf.reduce_sum(target * log_probs[:, 0], -1) * there)
        smoothed -= tf.reduce_sum(tf.reduce_sum(soft * log_probs[:, 0], -1) * there)
    return smoothed, plain


@pytest.fixture(scope="module", params=["float32", "mixed_bfloat16"])
def model(request, tiny_encoder):
    made = tiny.model(encoder=tiny_encoder, precision=request.param)
    rng = np.random.default_rng(1)
    for variable in made.trainable_variables:
        if "text_encoder" not in variable.path:
            variable.assign(variable + rng.normal(0, 0.3, variable.shape))
    return made


@pytest.fixture(scope="module")
def prompts(tiny_encoder):
    tokenizer = tiny.prompt_tokenizer(tiny_encoder)
    return dict(tokenizer(tf.constant(["red dog", "a kite flies"])))


@pytest.mark.parametrize("prompted", [False, True], ids=["plain", "prompted"])
@pytest.mark.parametrize("shown", [False, True], ids=["blind", "images"])
def test_loss_and_gradients_are_those_of_one_token_after_the_other(model, prompts, prompted, shown):
    tokens = tf.constant(captions())
    rows = [1, 0, 1, 2, 0] if shown else [0, 1, 2, 3, 4]  # captions of an image needn't be together
    image = tf.random.stateless_normal([3, tiny.REGIONS, tiny.WIDTH], [1, 2])
    batch = {"tokens": tokens, "image_rows": tf.constant(rows)}
    if shown:
        batch["image"] = image
    given = dict(batch)
    if prompted:
        given["prompt_rows"] = batch["prompt_rows"] = tf.constant([-1, 1, -1, -1, 0])
        given["prompt"] = prompts
        batch |= prompts
    variables = [v.value for v in model.trainable_variables]

    @tf.function(autograph=False)
    def packed():
        with tf.GradientTape() as tape:
            tape.watch(image)
            losses = caption_loss(model, batch, smoothing=SMOOTHING, training=False)
        return losses, slopes(tape, losses.loss)

    def slopes(tape, loss):
        found = tape.gradient(loss, [image, *variables], unconnected_gradients="zero")
        return [tf.convert_to_tensor(one) for one in found]

    with tf.GradientTape() as tape:
        tape.watch(image)
        smoothed, plain = step_by_step(model, given, tokens)
    expected = slopes(tape, smoothed)
    losses, found = packed()
    half = model.compute_dtype == "bfloat16"
    close = 0.02 if half else 1e-5
    np.testing.assert_allclose(losses.loss, smoothed, rtol=close)
    np.testing.assert_allclose(losses.nats, plain, rtol=close)
    assert losses.count == sum(LENGTHS) and losses.examples == B
    assert bool(np.any(found[0])) == shown
    for mine, theirs in zip(found, expected, strict=True):
        scale = np.abs(theirs).max()
        # Rounding, in bfloat16 of sums of many terms of either sign.
        off = np.abs(mine - theirs).max()
        assert off <= (0.1 if half else 1e-4) * scale + (0.02 if half else 1e-5), (off, scale)


def test_with_lengths_the_logits_are_those_of_the_tokens_there(model):
    image = tf.random.stateless_normal([B, tiny.REGIONS, tiny.WIDTH], [1, 2])
    tokens = tf.constant(captions()[:, :-1])
    inputs = {"image": image, "tokens": tokens}
    there = tf.sequence_mask(LENGTHS, T)
    close = 0.1 if model.compute_dtype == "bfloat16" else 1e-5
    whole = model(inputs)
    assert whole[0].shape == (B, T, 4 + len(tiny.WORDS)) and whole[1].shape == (B, T, tiny.REGIONS)
    for mine, all_ in zip(model(inputs | {"lengths": tf.constant(LENGTHS)}), whole, strict=True):
        np.testing.assert_allclose(mine, tf.boolean_mask(all_, there), atol=close)


def test_nothing_is_computed_for_padding():
    """However long the rows, a product has as many rows as there are tokens."""
    model = tiny.model()
    heights = set()
    output = model.decoder._output
    called = output.call

    def noted(inputs, **options):
        heights.add(tuple(inputs.shape))
        return called(inputs, **options)

    output.call = noted
    tokens = tf.pad(captions(), [[0, 0], [0, 20]])
    image = tf.zeros([B, tiny.REGIONS, tiny.WIDTH])
    caption_loss(model, {"image": image, "tokens": tokens}, training=False)
    assert heights == {(sum(LENGTHS), 2 * model.units)}


def test_a_word_is_multiplied_once_however_often_it_is_said():
    model = tiny.model(dropout=0.5)
    language = model.decoder._language
    read, seen = language.read, []

    def noted(inputs, *given, places, **options):
        seen.append((inputs.numpy(), places.numpy()))
        return read(inputs, *given, places=places, **options)

    language.read = noted
    tokens = captions()
    image = tf.zeros([B, tiny.REGIONS, tiny.WIDTH])
    caption_loss(model, {"image": image, "tokens": tokens}, training=True)
    ((words, places),) = seen
    assert places.shape == (sum(LENGTHS),) and set(places) == set(range(len(words)))
    # [PAD] is never read, and a hidden word is [UNK].
    assert len(words) <= len(np.unique(tokens[:, :-1])) + 1 < len(places)
    assert 0 < np.mean(words == 0) < 1  # as they are after dropout
