"""The whole model: what each logit may and may not depend on.

Legend: N images, B captions, R regions, D encoder width, T caption tokens, K beams, V vocabulary.
"""

import numpy as np
import pytest
import tensorflow as tf

from captioner import config
from captioner.decoding.captions import search
from captioner.inputs.text import END, PAD, SPECIAL, START, UNK
from captioner.learning.objectives import caption_loss
from captioner.models.build import build

WORDS = [*SPECIAL, "a", "big", "dog", "runs", "on", "grass", "##s", "red"]
V = len(WORDS)
R, D = 4, 256  # of the narrow ResNet50
PROMPTS = ["red grass", "a dog runs on", "?"]


def make(overrides, *more):
    """A built captioner whose every weight, biases too, is random and of a size that shows."""
    built = build(config.settings("demo", overrides=[*overrides, *more]), WORDS)
    rng = np.random.default_rng(1)
    encoder = {id(variable) for variable in built.model.image_encoder.variables}
    for variable in built.model.trainable_variables:
        if id(variable) not in encoder:
            wide = 1.0 if len(variable.shape) < 2 else 1.5 / np.sqrt(variable.shape[0])
            variable.assign(variable + rng.normal(0, wide, variable.shape))
    return built


@pytest.fixture(scope="module")
def built(tiny_overrides):
    return make(tiny_overrides)


@pytest.fixture(scope="module")
def model(built):
    return built.model


@pytest.fixture(scope="module")
def prompts(built):
    return built.prompt_tokenizer(tf.constant(PROMPTS))


def features(count=3, seed=0):
    return tf.random.stateless_normal([count, R, D], [seed, 1])


TOKENS = tf.constant(
    [[START, 4, 5, 6, 7, END], [START, 6, 7, 8, 9, 10], [START, 4, 11, END, PAD, PAD]]
)
INPUTS = TOKENS[:, :-1]


def logits(model, memory, tokens=INPUTS):
    return model.decoder(tokens, memory)[0].numpy()


# Time.


@pytest.mark.parametrize("changed", [1, 3, 4])
def test_a_token_does_not_change_the_logits_before_it(model, prompts, changed):
    inputs = {"image": features(), "prompt": prompts, "tokens": INPUTS}
    other = INPUTS.numpy()
    # Another caption's ending: with as many different words, products are rounded alike.
    other[:, changed:] = np.roll(other[:, changed:], 1, axis=0)
    before, looked = model(inputs)
    after, looked_after = model(inputs | {"tokens": tf.constant(other)})
    np.testing.assert_array_equal(before[:, :changed], after[:, :changed])
    np.testing.assert_array_equal(looked[:, :changed], looked_after[:, :changed])
    assert np.abs(before - after)[:, changed:].max(axis=(1, 2)).min() > 1e-3


def test_no_gradient_flows_back_from_an_earlier_logit(model, prompts):
    inputs = {"image": features(), "prompt": prompts, "tokens": INPUTS}
    table = model.decoder.words.embeddings.value
    only = tf.constant([[START, 4, 5, 6, 7]] * 3)  # every token once
    with tf.GradientTape() as tape:
        _, looked = model(inputs | {"tokens": only})
        loss = tf.reduce_sum(looked[:, 2] ** 2)
    rows = np.abs(tf.convert_to_tensor(tape.gradient(loss, table))).max(axis=1)
    assert rows[[START, 4, 5]].all() and not rows[[6, 7]].any()


def test_steps_unrolled_equal_the_call(model, prompts):
    memory = model.encode(
        features(2), prompts, image_rows=tf.constant([0, 1, 1]),
        prompt_rows=tf.constant([1, -1, 0]),
    )
    expected, looked = model.decoder(INPUTS, memory)
    expected = tf.nn.log_softmax(expected)
    state = model.initial(memory, beams=2)
    for t in range(INPUTS.shape[1]):
        tokens = tf.repeat(INPUTS[:, t, None], 2, axis=1)
        log_probs, state = model.step(tokens, state, memory)
        for beam in range(2):
            np.testing.assert_allclose(log_probs[:, beam], expected[:, t], rtol=1e-6, atol=1e-5)
            np.testing.assert_allclose(state["attention"][:, beam], looked[:, t], atol=1e-6)


def test_beams_do_not_mix(model, prompts):
    memory = model.encode(features(), prompts)
    start = model.initial(memory, beams=3)
    tokens = tf.constant([[4, 5, 6], [7, 8, 9], [10, 11, 4]])
    together, state = model.step(tokens, start, memory)
    for beam in range(3):
        one = tf.nest.map_structure(lambda entry: entry[:, :1], start)
        alone, after = model.step(tokens[:, beam : beam + 1], one, memory)
        np.testing.assert_allclose(together[:, beam], alone[:, 0], rtol=1e-6, atol=1e-5)
        np.testing.assert_allclose(state["cells"][:, beam], after["cells"][:, 0], atol=1e-5)


@pytest.mark.parametrize("extra", [1, 5])
def test_padding_changes_no_loss_and_no_gradient(model, prompts, extra):
    def losses(tokens):
        with tf.GradientTape() as tape:
            out = caption_loss(
                model, {"image": features(), "tokens": tokens, **prompts}, smoothing=0.1,
                training=False,
            )
        return out, tape.gradient(out.loss, model.decoder._fusion.kernel.value)

    short, gradient = losses(TOKENS)
    padded, padded_gradient = losses(tf.pad(TOKENS, [[0, 0], [0, extra]]))
    assert short.count == padded.count == 5 + 5 + 3
    np.testing.assert_allclose(short.loss, padded.loss, rtol=1e-6)
    np.testing.assert_allclose(short.nats, padded.nats, rtol=1e-6)
    np.testing.assert_allclose(gradient, padded_gradient, atol=1e-5)


# Prompts.


def test_empty_prompts_are_no_prompts(model, built, prompts):
    nothing = logits(model, model.encode(features()))
    empty = tf.fill([3], -1)
    none = {name: one[:0] for name, one in prompts.items()}
    for given in (prompts, none, built.prompt_tokenizer(tf.constant(["", "", ""]))):
        found = logits(model, model.encode(features(), given, prompt_rows=empty))
        np.testing.assert_array_equal(nothing, found)


def test_a_row_has_the_logits_that_it_has_alone(model, prompts):
    """Empty rows those of no prompt at all, others those of their prompt."""
    rows = [1, -1, 0]
    together = logits(model, model.encode(features(), prompts, prompt_rows=tf.constant(rows)))
    for i, row in enumerate(rows):
        given = None if row < 0 else {name: one[row : row + 1] for name, one in prompts.items()}
        memory = model.encode(features()[i : i + 1], given)
        alone = logits(model, memory, INPUTS[i : i + 1])
        # Logits are up to 60 here.
        np.testing.assert_allclose(together[i : i + 1], alone, rtol=1e-6, atol=2e-5)


def test_prompts_tell_and_their_padding_does_not(model, prompts):
    found = logits(model, model.encode(features(), prompts))
    assert np.abs(found - logits(model, model.encode(features()))).max(axis=(1, 2)).min() > 1e-2
    padded = {name: tf.pad(one, [[0, 0], [0, 3]]) for name, one in prompts.items()}
    np.testing.assert_allclose(found, logits(model, model.encode(features(), padded)), atol=2e-5)


def test_a_prompt_sees_the_image_of_its_own_caption(model, prompts):
    """Changing the other image leaves a prompted row alone."""
    rows = {"image_rows": tf.constant([0, 0, 1]), "prompt_rows": tf.constant([2, -1, 0])}
    images = features(2)
    before = logits(model, model.encode(images, prompts, **rows))
    other = tf.stack([images[0], images[1] + 1])
    after = logits(model, model.encode(other, prompts, **rows))
    np.testing.assert_array_equal(before[:2], after[:2])
    assert np.abs(before[2] - after[2]).max() > 1e-3


def test_a_captioner_without_prompts(tiny_overrides):
    without = ("model.text_encoder=none", "model.sentence_head=false", "model.neighbours=0",
               "model.copying=false")  # fmt: skip
    model = make(tiny_overrides, *without).model
    found, looked = model({"image": features(), "tokens": INPUTS})
    assert found.shape == (3, 5, V) and looked.shape == (3, 5, R)
    assert not any("prompt_projection" in variable.path for variable in model.variables)


# Images.


def test_sharing_an_image_equals_repeating_it(model, prompts):
    rows = tf.constant([1, 0, 1])
    shared = model.encode(features(2), prompts, image_rows=rows)
    repeated = model.encode(tf.gather(features(2), rows), prompts)
    for a, b in zip(
        model.decoder(INPUTS, shared), model.decoder(INPUTS, repeated), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("prompted", [False, True])
def test_captions_without_images_see_nothing(model, prompts, prompted):
    given = {"prompt": prompts} if prompted else {}
    inputs = {"tokens": INPUTS, "image_rows": tf.range(3), **given}
    with tf.GradientTape() as tape:
        found, looked = model(inputs)
        loss = tf.reduce_sum(found**2)
    regions = [v.value for v in model.trainable_variables if "region" in v.path]
    assert len(regions) == 5 and tape.gradient(loss, regions) == [None] * 5
    assert not looked.numpy().any() and np.isfinite(found).all()
    seen, _ = model({"image": features(), "tokens": INPUTS, **given})
    assert np.abs(found - seen).max() > 1e-3


def test_the_sentence_head_is_heard_unless_another_sentence_is_given(model):
    images = features()
    silent = logits(model, model.encode(images))
    head = model.sentence_head
    kernel = head.kernel.numpy()
    head.kernel.assign(tf.random.stateless_normal(kernel.shape, [1, 2]))
    try:
        heard = logits(model, model.encode(images))
        given = logits(model, model.encode(images, sentences=head(images)))
        other = logits(model, model.encode(images, sentences=head(images)[::-1]))
        without = model.encode(None, image_rows=tf.range(3), sentences=head(images))
    finally:
        head.kernel.assign(kernel)
    np.testing.assert_allclose(heard, given, atol=1e-6)
    assert np.abs(heard - silent).max() > 1e-3 and np.abs(heard - other).max() > 1e-3
    blind = model.encode(None, image_rows=tf.range(3))
    assert np.abs(logits(model, without) - logits(model, blind)).max() > 1e-3


def test_attention_sums_to_one_and_moves(model, prompts):
    _, looked = model({"image": features(), "tokens": INPUTS, "prompt": prompts})
    np.testing.assert_allclose(tf.reduce_sum(looked, -1), np.ones((3, 5)), atol=1e-5)
    assert np.ptp(looked.numpy(), axis=1).max() > 0.01


def test_the_order_of_the_regions_counts(model):
    upside_down = logits(model, model.encode(features()[:, ::-1]))
    assert np.abs(logits(model, model.encode(features())) - upside_down).max() > 1e-3


@pytest.mark.parametrize(("places", "least", "most"), [(0.5, 0.2, 1), (0.02, 1e-3, 0.05)])
def test_regions_know_their_places_before_training(tiny_overrides, places, least, most):
    made = config.settings("demo", overrides=[*tiny_overrides, f"model.places={places}"])
    fresh = build(made, WORDS).model
    seen = np.abs(features(64)[:, :1])  # like what comes out of a ReLU
    keys, _ = fresh.encode(tf.repeat(seen, R, axis=1))["image"]  # [N, H, R, d]
    by_place, by_image = (np.std(keys, axis=axis).mean() for axis in (2, 0))
    assert least < by_place / by_image < most


def test_pixels_and_their_features_are_the_same_to_it(model):
    drawn = tf.random.stateless_uniform([2, 64, 64, 3], [1, 1], 0, 256, tf.int32)
    pixels = tf.cast(drawn, tf.uint8)
    whole = logits(model, model.encode(pixels), INPUTS[:2])
    parts = logits(model, model.encode(model.image_encoder(pixels)), INPUTS[:2])
    np.testing.assert_array_equal(whole, parts)


# Training.


def test_dropout_is_for_training_only(model):
    inputs = {"image": features(), "tokens": INPUTS}
    plain, again, dropped = model(inputs)[0], model(inputs)[0], model(inputs, training=True)[0]
    np.testing.assert_array_equal(plain, again)
    assert np.abs(plain - dropped).max() > 1e-2


def test_word_dropout_hides_words_but_not_the_start(tiny_overrides):
    model = make(
        tiny_overrides, "model.word_dropout=0.9999", "model.dropout=0", "model.feature_dropout=0"
    ).model
    inputs = {"image": features(), "tokens": INPUTS}
    hidden = tf.concat([INPUTS[:, :1], tf.fill([3, INPUTS.shape[1] - 1], UNK)], 1)
    expected, _ = model(inputs | {"tokens": hidden})
    np.testing.assert_allclose(model(inputs, training=True)[0], expected, atol=1e-5)
    assert np.abs(model(inputs)[0] - expected).max() > 1e-2


def test_every_part_learns(model, prompts):
    encoder = {id(v) for v in model.image_encoder.variables}
    variables = [v for v in model.trainable_variables if id(v) not in encoder]
    with tf.GradientTape() as tape:
        # A head that isn't fitted yet says nothing.
        sentences = tf.ones([3, model.sentence_head.width])
        batch = {"image": features(), "tokens": TOKENS, "sentences": sentences, **prompts}
        loss = caption_loss(model, batch, training=False).loss
    gradients = tape.gradient(loss, [v.value for v in variables])
    learned = {
        v.path for v, one in zip(variables, gradients, strict=True)
        if one is not None and np.any(tf.convert_to_tensor(one))
    }
    assert {v.path for v in variables} == learned


@pytest.mark.parametrize("images", ["features", "pixels"])
def test_a_replica_without_captions_adds_nothing(model, prompts, images):
    """As the last, uneven step of an epoch gives it, in a graph that knows no sizes."""
    shape = [0, R, D] if images == "features" else [0, 64, 64, 3]
    dtype = tf.float16 if images == "features" else tf.uint8
    batch = {
        "image": tf.zeros(shape, dtype),
        "image_rows": tf.zeros([0], tf.int32),
        "tokens": tf.zeros([0, 7], tf.int32),
        "prompt_rows": tf.zeros([0], tf.int32),
        **{name: one[:0] for name, one in prompts.items()},
    }
    variables = [v.value for v in model.decoder.trainable_variables]
    signature = tf.nest.map_structure(
        lambda one: tf.TensorSpec([None, *one.shape[1:]], one.dtype), batch
    )

    @tf.function(input_signature=[signature], autograph=False)
    def step(batch):
        with tf.GradientTape() as tape:
            losses = caption_loss(model, batch, smoothing=0.1)
        gradients = tape.gradient(losses.loss, variables, unconnected_gradients="zero")
        return losses, [tf.convert_to_tensor(one) for one in gradients]

    losses, gradients = step(batch)
    assert [float(one) for one in losses[:4]] == [0, 0, 0, 0]
    assert not any(np.any(one) for one in gradients)  # NaN would be true


def test_bfloat16(tiny_overrides, model, prompts):
    half = make(tiny_overrides, "train.precision=bfloat16").model
    assert all(v.dtype == "float32" for v in half.trainable_variables)
    batch = {"image": tf.cast(features(), tf.float16), "tokens": TOKENS, **prompts}
    exact, rough = (caption_loss(one, batch, training=False) for one in (model, half))
    np.testing.assert_allclose(rough.nats, exact.nats, rtol=0.1)
    decode = config.Decode(beams=2, max_tokens=5)
    for given in (None, prompts):
        memory = half.encode(features(), given)  # as validation calls it, outside the model's call
        found = search(half, memory, decode, attention=True)
        assert np.isfinite(found.log_probs).all()
        np.testing.assert_allclose(
            tf.reduce_sum(found.trace[:, 0, 0], -1), np.ones(3), atol=1e-4
        )


# Search.


@pytest.mark.parametrize("beams", [1, 3])
def test_captions_have_the_log_probability_that_teacher_forcing_gives_them(model, prompts, beams):
    decode = config.Decode(beams=beams, max_tokens=7, length_penalty=0.7)
    memory = model.encode(features(), prompts)
    prefix = tf.constant([[UNK, 4], [0, 0], [6, 0]])
    found = search(model, memory, decode, prefix=prefix, attention=True)
    assert found.tokens[0, :, :2].numpy().tolist() == [[UNK, 4]] * beams
    assert found.tokens[2, :, 0].numpy().tolist() == [6] * beams
    free = found.tokens[1].numpy()
    assert not {UNK, START} & set(free.ravel().tolist())
    for beam in range(beams):
        tokens = found.tokens[:, beam]
        inputs = tf.concat([tf.fill([3, 1], START), tokens[:, :-1]], 1)
        forced, looked = model.decoder(inputs, memory)
        log_probs = tf.gather(tf.nn.log_softmax(forced), tokens, axis=2, batch_dims=2)
        said = tf.cast(tokens != PAD, tf.float32)
        assert np.all(tf.reduce_sum(tf.cast(tokens == END, tf.int32), -1) == 1)
        np.testing.assert_allclose(
            found.log_probs[:, beam], tf.reduce_sum(log_probs * said, -1), atol=1e-4
        )
        np.testing.assert_allclose(
            found.trace[:, beam], looked * said[..., None], atol=1e-5
        )


def test_a_caption_does_not_feel_its_neighbours(model, prompts):
    decode = config.Decode(beams=3, max_tokens=8)

    @tf.function(autograph=False)
    def caption(images):
        return search(model, model.encode(images, prompts), decode)

    found = caption(features())
    others = tf.concat([features()[:1], 5 * features(2, seed=3)], 0)
    for a, b in zip(found[:3], caption(others)[:3], strict=True):
        np.testing.assert_array_equal(a[0], b[0])


def test_a_stock_server_has_every_op_of_the_search(model, prompts):
    decode = config.Decode(beams=2, max_tokens=4)

    @tf.function(input_signature=[tf.TensorSpec([None, R, D])], autograph=False)
    def caption(images):
        return search(model, model.encode(images, prompts), decode, attention=True)

    definition = caption.get_concrete_function().graph.as_graph_def()
    ops = {node.op for node in definition.node}
    ops |= {node.op for function in definition.library.function for node in function.node_def}
    assert not [op for op in ops if op.startswith(("Xla", "PyFunc", "EagerPyFunc", "Cudnn"))]
    assert caption(tf.zeros([3, R, D])).tokens.shape == (3, 2, 4)
