"""The image function where it runs: in batches, tf.data, Sessions; and on mutated files."""

import numpy as np
import pytest
import tensorflow as tf
from pictures import FILES, SIDE, encode, mutate, read, read_one, scene

from captioner.inputs.images import decode_image, decode_images


def test_an_empty_batch():
    pixels, errors = decode_images(tf.constant([], tf.string), SIDE)
    assert pixels.shape == (0, SIDE, SIDE, 3) and errors.shape == (0,)


def test_a_bad_image_leaves_its_neighbours_alone():
    good = [make() for make in FILES.values()]
    before, _ = read(*good)
    mixed = list(good)
    for place, bad in ((0, b""), (4, b"nonsense"), (9, good[9][:400]), (len(good) - 1, b"GIF8")):
        mixed[place] = bad
    pixels, errors = read(*mixed)
    for place, error in enumerate(errors):
        if place in (0, 4, 9, len(good) - 1):
            assert error and not pixels[place].any()
        else:
            assert not error
            np.testing.assert_array_equal(pixels[place], before[place])


def test_single_image_raises():
    with pytest.raises(tf.errors.InvalidArgumentError, match="WebP"):
        decode_image(tf.constant(encode(scene(), "WEBP")), SIDE)
    good = encode(scene(), "PNG")
    np.testing.assert_array_equal(decode_image(tf.constant(good), SIDE), read_one(good))


@pytest.mark.slow
def test_in_tf_data_and_tf_function():
    files = [FILES["jpeg"](), FILES["png alpha"](), b"bad"]
    wanted, _ = read(*files)
    rows = tf.data.Dataset.from_tensor_slices(files)
    singles = list(rows.take(2).map(lambda data: decode_image(data, SIDE)))
    np.testing.assert_array_equal(singles, wanted[:2])
    batches = rows.batch(3).map(lambda data: decode_images(data, SIDE))
    ((pixels, errors),) = batches.as_numpy_iterator()
    np.testing.assert_array_equal(pixels, wanted)
    assert [bool(error) for error in errors] == [False, False, True]
    traced = tf.function(lambda data: decode_images(data, SIDE)[0])
    np.testing.assert_array_equal(traced(tf.constant(files)), wanted)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """The exported function in a v1 Session, which is how a model server runs it."""
    folder = str(tmp_path_factory.mktemp("export"))
    module = tf.Module()
    module.decode = tf.function(
        lambda image_bytes: dict(zip(("pixels", "error"), decode_images(image_bytes, SIDE))),
        input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")],
        autograph=False,
    )
    tf.saved_model.save(module, folder, signatures=module.decode)
    running = tf.compat.v1.Session(graph=tf.Graph())
    with running.graph.as_default():
        loaded = tf.compat.v1.saved_model.loader.load(running, ["serve"], folder)
    signature = loaded.signature_def["serving_default"]
    outputs = [signature.outputs[name].name for name in ("pixels", "error")]

    def run(files):
        feed = {signature.inputs["image_bytes"].name: np.array(files, object)}
        return running.run(outputs, feed)

    run.graph = loaded
    yield run
    running.close()


def test_built_in_a_v1_graph():
    files = [FILES["jpeg"](), b"bad", FILES["gif"](), FILES["bmp palette"]()]
    with tf.Graph().as_default(), tf.compat.v1.Session() as running:
        fed = tf.compat.v1.placeholder(tf.string, [None])
        pixels, errors = running.run(decode_images(fed, SIDE), {fed: np.array(files, object)})
        single = running.run(decode_image(tf.constant(files[0]), SIDE))
    wanted, wanted_errors = read(*files)
    np.testing.assert_array_equal(pixels, wanted)
    np.testing.assert_array_equal(single, wanted[0])
    assert [error.decode() for error in errors] == wanted_errors


def test_in_a_session(session):
    files = [make() for make in FILES.values()]
    pixels, errors = session(files + [b"bad"])
    np.testing.assert_array_equal(pixels[:-1], read(*files)[0])
    assert not any(errors[:-1]) and errors[-1]
    pixels, errors = session([])
    assert pixels.shape == (0, SIDE, SIDE, 3) and errors.shape == (0,)


def test_only_core_ops_are_exported(session):
    graph = session.graph.graph_def
    ops = {node.op for node in graph.node}
    ops |= {node.op for function in graph.library.function for node in function.node_def}
    forbidden = [op for op in ops if op.startswith(("Xla", "PyFunc", "EagerPyFunc", "Cudnn"))]
    assert not forbidden and "DecodeWebP" not in ops and "DecodeImage" not in ops


def fuzz(run, rounds: int, seed: int):
    random = np.random.default_rng(seed)
    originals = [make() for make in FILES.values()]
    sentinel = FILES["jpeg"]()
    wanted = read_one(sentinel)
    refused = 0
    for _ in range(rounds):
        files = [mutate(data, random) for data in originals]
        places = sorted(random.choice(len(files), 3, replace=False))
        for place in places:
            files.insert(place, sentinel)
        pixels, errors = run(files)
        for file, row, error in zip(files, pixels, errors):
            assert not error or not row.any()
            if file == sentinel:
                assert not error
                np.testing.assert_array_equal(row, wanted)
        again, errors_again = run(files[::-1])
        np.testing.assert_array_equal(again[::-1], pixels)
        assert list(errors_again[::-1]) == list(errors)
        refused += sum(bool(error) for error in errors)
    assert 0.2 < refused / (rounds * len(originals)) < 0.95


def eagerly(files):
    pixels, errors = decode_images(tf.constant(files), SIDE)
    return pixels.numpy(), errors.numpy()


def test_mutated_files(session):
    fuzz(session, rounds=8, seed=1)
    fuzz(eagerly, rounds=2, seed=2)


@pytest.mark.slow
def test_many_mutated_files(session):
    fuzz(session, rounds=150, seed=3)
    fuzz(eagerly, rounds=50, seed=4)
