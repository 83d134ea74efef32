"""Exports of half the size compute in float32 with rounded weights (test_graph.py: what is in
them)."""

import gc

import numpy as np
import pytest
import tensorflow as tf
from clients import UNREADABLE, jpeg, loaded

from captioner.loading import load
from captioner.serving.compact import Widened, compacted


@pytest.mark.slow
def test_it_gives_what_rounded_weights_give_in_float32(tiny_run, exports):
    run = load(tiny_run)  # of its own: its weights are changed here
    for variable in run._keep.variables:
        if variable.dtype == tf.float32 and len(variable.shape) > 1:
            variable.assign(tf.cast(tf.cast(variable, tf.float16), tf.float32))
    images = [*(jpeg(seed) for seed in range(6)), *UNREADABLE.values()]
    prompts = ["", "a red car", "two dogs…", "why?", "", "x", *UNREADABLE]
    inputs = {"image_bytes": images, "prompt": [prompt.encode() for prompt in prompts]}
    expected, found = (m.call("caption_beams", inputs) for m in (run, loaded(exports["float16"])))
    np.testing.assert_array_equal(found["captions"], expected["captions"])
    np.testing.assert_allclose(found["log_probs"], expected["log_probs"], atol=1e-4)
    np.testing.assert_allclose(found["attention"], expected["attention"], atol=1e-4)
    # The rounding shows: these are not the float32 export's figures.
    whole = loaded(exports["float32"]).call("caption_beams", inputs)
    assert np.abs(found["log_probs"] - whole["log_probs"]).max() > 1e-5


@pytest.mark.slow
def test_two_of_one_kind_in_a_process_do_not_share_a_fate(exports):
    first, second = load(exports["float16"]), load(exports["float16"])
    expected = first.caption(jpeg(1))
    assert second.caption(jpeg(1)) == expected
    del second
    gc.collect()
    assert first.caption(jpeg(1)) == expected


def test_vectors_integers_and_what_does_not_fit_stay_as_they_are():
    kernel, vector = tf.Variable(tf.ones([2, 3])), tf.Variable(tf.ones([3]))
    huge, count = tf.Variable([[70000.0]]), tf.Variable([[1, 2]])
    made = compacted([kernel, vector, huge, count], "float16")
    assert isinstance(made[0], Widened)
    assert made[1:] == [vector, huge, count]
    assert compacted([kernel, vector], "float32") == [kernel, vector]


def test_the_model_outlives_its_export():
    variable = tf.Variable([[1.0, 2.0]])
    made = compacted([variable], "float16")
    del made
    gc.collect()
    np.testing.assert_array_equal(variable, [[1.0, 2.0]])


def test_equal_contents_of_another_shape_are_another_resource():
    wide, high = compacted([tf.Variable([[0.0, 0.0]]), tf.Variable([[0.0], [0.0]])], "float16")
    assert wide._name != high._name


@pytest.mark.parametrize("storage", ["float64", "int8", "half"])
def test_the_command_takes_no_other_storage(storage, capsys):
    from captioner import export

    with pytest.raises(SystemExit) as stopped:
        export.parser().parse_args(["--run", "runs/x", "--storage", storage])
    assert stopped.value.code == 2 and "float16" in capsys.readouterr().err
