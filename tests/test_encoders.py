"""The encoders: frozen and fine-tuned, old Hub handles and new.

Legend: B batch, R regions, D encoder width, P prompt tokens.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from captioner.models.encoders import ImageEncoder, TextEncoder

NAMES = ("input_word_ids", "input_mask", "input_type_ids")
WIDTH = 8


def old_handle(folder):
    """A SavedModel as Hub's BERTs /1 and /2 are: a list in, (pooled, sequence) out."""
    rng = np.random.default_rng(0)
    words = tf.Variable(rng.normal(size=(20, WIDTH)), dtype=tf.float32, name="words")
    types = tf.Variable(rng.normal(size=(2, WIDTH)), dtype=tf.float32, name="types")
    calls = tf.Variable(3, dtype=tf.int64, trainable=False, name="calls")

    @tf.function(autograph=False)
    def call(inputs, training=False):
        ids, mask, kinds = inputs
        sequence = tf.gather(words, ids) + tf.gather(types, kinds)
        if training:
            sequence = tf.nn.dropout(sequence, 0.5)
        sequence *= tf.cast(mask, tf.float32)[..., None]
        return tf.reduce_sum(sequence, 1), sequence

    specs = [tf.TensorSpec([None, None], tf.int32, name) for name in NAMES]
    for training in (False, True):
        call.get_concrete_function(specs, training=training)
    root = tf.train.Checkpoint()
    root.__call__ = call
    root.variables = [words, types, calls]
    root.trainable_variables = [words, types]
    root.regularization_losses = []
    root.do_lower_case = tf.Variable(False, trainable=False)
    path = folder / "cased.txt"
    path.write_text("".join(f"word{i}\n" for i in range(20)), encoding="utf-8")
    root.vocab_file = tf.saved_model.Asset(str(path))
    tf.saved_model.save(root, str(folder / "old"))
    return folder / "old"


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return old_handle(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def handles(old, tiny_encoder):
    return {"old": old, "new": tiny_encoder}


@pytest.fixture
def inputs():
    ids = [[2, 7, 8, 3], [2, 9, 3, 0], [2, 3, 0, 0]]
    return {
        "input_word_ids": tf.constant(ids),
        "input_mask": tf.cast(tf.constant(ids) > 0, tf.int32),
        "input_type_ids": tf.constant([[0, 0, 1, 1]] * 3),
    }


@pytest.mark.parametrize("kind", ["old", "new"])
def test_outputs_are_the_hubs_own(handles, inputs, kind):
    encoder = TextEncoder(handles[kind])
    sequence, pooled = encoder(inputs)
    assert sequence.shape == (3, 4, WIDTH) and pooled.shape == (3, WIDTH)
    assert encoder.width == WIDTH
    if kind == "new":
        out = encoder.hub(inputs)
        expected = out["sequence_output"], out["pooled_output"]
    else:
        expected = encoder.hub([inputs[name] for name in NAMES])[::-1]
    np.testing.assert_array_equal(sequence, expected[0])
    np.testing.assert_array_equal(pooled, expected[1])


def test_an_old_handle_gets_its_list_in_order(handles):
    """Word ids, mask, types: by hand."""
    encoder = TextEncoder(handles["old"])
    words, types, _ = (variable.numpy() for variable in encoder.hub.variables)
    given = {
        "input_type_ids": tf.constant([[1, 0]]),
        "input_mask": tf.constant([[1, 0]]),
        "input_word_ids": tf.constant([[5, 6]]),
    }
    sequence, pooled = encoder(given)
    np.testing.assert_allclose(sequence[0, 0], words[5] + types[1], rtol=1e-6)
    np.testing.assert_array_equal(sequence[0, 1], np.zeros(WIDTH))
    np.testing.assert_allclose(pooled[0], words[5] + types[1], rtol=1e-6)


def test_vocabulary_and_case(handles):
    old, new = TextEncoder(handles["old"]), TextEncoder(handles["new"])
    assert old.vocabulary_file.read_text("utf-8").startswith("word0\n") and not old.lower_case
    assert new.vocabulary_file.read_text("utf-8").startswith("[PAD]\n") and new.lower_case


@pytest.mark.parametrize("kind, learned, others", [("old", 2, 1), ("new", 39, 0)])
def test_the_trainable_are_those_of_the_hub(handles, kind, learned, others):
    frozen, tuned = TextEncoder(handles[kind]), TextEncoder(handles[kind], trainable=True)
    assert len(tuned.trainable_weights) == len(tuned.hub.trainable_variables) == learned
    assert len(tuned.non_trainable_weights) == others
    assert frozen.trainable_weights == []
    assert len(frozen.weights) == len(tuned.weights) == learned + others
    shapes = sorted(tuple(variable.shape) for variable in tuned.hub.trainable_variables)
    assert sorted(tuple(v.shape) for v in tuned.trainable_weights) == shapes


@pytest.mark.parametrize("kind", ["old", "new"])
def test_variables_are_the_hubs_and_no_copies(handles, inputs, kind):
    encoder = TextEncoder(handles[kind])
    assert len(encoder.weights) == len(encoder.hub.variables)
    for mine in encoder.weights:
        assert any(mine.value is theirs for theirs in encoder.hub.variables)
    before, _ = encoder(inputs)
    embeddings = next(v for v in encoder.weights if len(v.shape) == 2 and v.shape[0] >= 20)
    embeddings.assign(embeddings + tf.random.stateless_normal(embeddings.shape, [1, 1]))
    after, _ = encoder(inputs)
    assert np.abs(before - after).max() > 1e-3


@pytest.mark.parametrize("kind", ["old", "new"])
def test_dropout_is_for_fine_tuning_in_training_only(handles, inputs, kind):
    frozen, tuned = TextEncoder(handles[kind]), TextEncoder(handles[kind], trainable=True)
    plain, _ = frozen(inputs)
    np.testing.assert_array_equal(plain, frozen(inputs, training=True)[0])
    np.testing.assert_array_equal(plain, tuned(inputs, training=False)[0])
    assert np.abs(plain - tuned(inputs, training=True)[0]).max() > 1e-3


@pytest.mark.parametrize("kind", ["old", "new"])
def test_fine_tuning_reaches_every_variable_that_counts(handles, inputs, kind):
    encoder = TextEncoder(handles[kind], trainable=True)
    with tf.GradientTape() as tape:
        sequence, pooled = encoder(inputs, training=True)
        loss = tf.reduce_sum(sequence * sequence[:, ::-1] * 3) + tf.reduce_sum(pooled**3)
    gradients = tape.gradient(loss, [v.value for v in encoder.trainable_weights])
    assert all(one is not None for one in gradients)
    before = [v.numpy() for v in encoder.trainable_weights]
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.apply([tf.convert_to_tensor(one) for one in gradients], encoder.trainable_weights)
    moved = [np.any(a != v) for a, v in zip(before, encoder.trainable_weights, strict=True)]
    # A shift of all of a query's scores changes nothing, so the keys' biases hardly learn.
    assert sum(moved) >= len(moved) - 2


def test_no_prompts_at_all(handles, inputs):
    for handle in handles.values():
        sequence, pooled = TextEncoder(handle)({name: one[:0] for name, one in inputs.items()})
        assert sequence.shape == (0, 4, WIDTH) and pooled.shape == (0, WIDTH)


def test_a_folder_that_is_no_encoder(tmp_path):
    with pytest.raises((OSError, ValueError)):
        TextEncoder(tmp_path)


# Images.


@pytest.fixture(scope="module")
def images():
    return ImageEncoder(64, name="image_encoder")


def pixels(count=2):
    drawn = tf.random.stateless_uniform([count, 64, 64, 3], [1, 2], 0, 256, tf.int32)
    return tf.cast(drawn, tf.uint8)


def test_the_grid_of_regions(full_resnet50):
    images = ImageEncoder(64)
    assert (images.rows, images.columns, images.regions, images.width) == (2, 2, 4, 2048)
    grid = images.net(tf.zeros([1, 64, 64, 3]), training=False)
    assert grid.shape == (1, 2, 2, 2048)
    assert images(pixels()).shape == (2, 4, 2048)


def test_regions_go_row_by_row(full_resnet50):
    """A spot in one corner moves its own region the most."""
    images = ImageEncoder(64)
    for region, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        black = np.zeros((1, 64, 64, 3), np.uint8)
        spot = black.copy()
        spot[:, row * 48 : row * 48 + 16, column * 48 : column * 48 + 16] = 255
        moved = np.abs(images(tf.constant(spot)) - images(tf.constant(black))).sum(axis=-1)[0]
        assert np.argmax(moved) == region


def test_statistics_stand_still_in_training(images):
    class Parent(keras.layers.Layer):
        def call(self, inputs, training=False):
            return images(inputs)

    statistics = [v for v in images.variables if "moving" in v.path]
    before = [v.numpy() for v in statistics]
    assert len(before) == 2 * 53
    calm = Parent()(pixels())
    excited = Parent()(pixels(), training=True)
    np.testing.assert_array_equal(calm, excited)
    assert all(np.array_equal(a, v) for a, v in zip(before, statistics, strict=True))
    assert not any(v is one for v in images.trainable_variables for one in statistics)


def test_an_image_has_the_features_it_has_alone(images):
    together = images(pixels(3))
    for i in range(3):
        np.testing.assert_allclose(together[i], images(pixels(3)[i : i + 1])[0], atol=1e-4)


def test_no_images_at_all(images):
    encode = tf.function(
        images, input_signature=[tf.TensorSpec([None, 64, 64, 3], tf.uint8)], autograph=False
    )
    assert encode(pixels(0)).shape == (0, 4, images.width)
    np.testing.assert_allclose(encode(pixels()), images(pixels()), atol=1e-4)


@pytest.mark.parametrize("begun", [1, 2, 4])
def test_it_goes_on_from_what_its_first_stages_gave(images, begun):
    """To the bit, in two parts that share the net's variables and add none."""
    parts = ImageEncoder(64, begun=begun, name="image_encoder")
    assert [v.path for v in parts.variables] == [v.path for v in images.variables]
    for mine, theirs in zip(parts.variables, images.variables, strict=True):
        mine.assign(theirs)
    kept = parts.begin(pixels())
    assert kept.shape[1:] == parts.begun_shape
    np.testing.assert_array_equal(parts(kept), images(pixels()))
    np.testing.assert_array_equal(parts(pixels()), images(pixels()))
    half = tf.cast(kept, tf.float16)
    np.testing.assert_allclose(parts(half), images(pixels()), rtol=0.05, atol=0.05)
    assert parts(kept[:0]).shape == (0, 4, images.width)
    whole = images(pixels())
    assert parts(whole) is whole  # what another encoder made of the pixels


def test_what_the_whole_net_gave_is_left_as_it_is(images):
    assert images.begun_shape == (4, images.width)
    features = images.begin(pixels())
    np.testing.assert_array_equal(features, images(pixels()))
    assert images(features) is features


def test_variables_carry_the_encoders_name(images, handles):
    """What `train.freeze` and the encoders' own rate go by."""
    assert all(v.path.startswith("image_encoder/") for v in images.variables)
    words = TextEncoder(handles["new"], name="text_encoder")
    assert all(v.path.startswith("text_encoder/") for v in words.variables)


def test_weights_come_from_the_file(images, tmp_path):
    path = tmp_path / "net.weights.h5"
    images.net.save_weights(path)
    again = ImageEncoder(64, path, name="image_encoder")
    np.testing.assert_array_equal(images(pixels()), again(pixels()))
