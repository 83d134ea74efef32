"""What learns, and one step's arithmetic."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from captioner import config
from captioner.inputs.text import SPECIAL
from captioner.learning import distribution
from captioner.learning.optimisation import Optimisation, is_frozen, name
from captioner.models.build import build

# What is trainable.


@pytest.fixture(scope="module")
def model(tiny_overrides):
    """With encoders that may be fine-tuned."""
    more = ['train.freeze=["image_encoder"]']
    settings = config.settings("demo", overrides=[*tiny_overrides, *more])
    return build(settings, [*SPECIAL, "a", "dog"]).model


def paths(optimisation):
    return [[name(variable) for variable in group] for _, group in optimisation.groups]


def ids(variables):
    return {id(variable) for variable in variables}


def test_frozen_encoders_are_in_no_group(model):
    made = Optimisation(model, config.Train(), [10])
    assert len(made.groups) == 1
    encoders = [*model.image_encoder.variables, *model.text_encoder.variables]
    assert not ids(made.variables) & ids(encoders)
    rest = ids(model.trainable_variables) - ids(encoders)
    assert ids(made.variables) == rest


def test_an_encoder_that_learns_has_a_group_and_a_rate_of_its_own(model):
    settings = config.Train(
        freeze=("image_encoder/conv[1-4]", "text_encoder"), encoder_rate=0.1, learning_rate=0.02
    )
    made = Optimisation(model, settings, [10])
    others, encoder = paths(made)
    assert encoder and all(path.startswith("image_encoder/conv5_") for path in encoder)
    assert not any("moving" in path for path in encoder)
    assert not any("encoder" in path for path in others)
    rates = [float(optimizer.learning_rate) for optimizer, _ in made.groups]
    np.testing.assert_allclose(rates, [0.02, 0.002], rtol=1e-6)
    assert float(made.rate) == pytest.approx(0.02)


def test_both_encoders_may_learn(model):
    made = Optimisation(model, config.Train(freeze=()), [10])
    _, encoders = made.groups[1]
    expected = [
        *model.image_encoder.trainable_variables, *model.text_encoder.trainable_variables
    ]
    assert ids(encoders) == ids(expected)
    assert ids(made.variables) == ids(model.trainable_variables)


def test_freezing_goes_by_the_start_of_the_name(model):
    words = model.decoder.words.embeddings
    assert name(words) == "decoder/words/embeddings"
    assert is_frozen(words, ["nothing", "decoder/w"]) and is_frozen(words, ["dec.*embeddings"])
    assert not is_frozen(words, ["words"]) and not is_frozen(words, [])


def test_no_two_variables_share_a_name(model):
    assert len({name(variable) for variable in model.variables}) == len(model.variables)


def test_decay_leaves_out_biases_norms_and_positions(model):
    made = Optimisation(model, config.Train(freeze=()), [10])
    for optimizer, group in made.groups:
        for variable in group:
            decays = optimizer._use_weight_decay(variable)
            assert decays == (len(variable.shape) > 1 and "position" not in variable.path), name(
                variable
            )


# A step's arithmetic, against NumPy.

STEPS = 4
SETTINGS = config.Train(
    learning_rate=0.1, encoder_rate=0.1, warmup=0, weight_decay=0.2, clip_norm=0.5, average=0.9,
    freeze=(),
)


def small(**changed):
    """Two layers, one of them an encoder, and their optimisation."""
    layers = [keras.layers.Dense(2, name=part) for part in ("text_encoder", "decoder")]
    for seed, layer in enumerate(layers):
        layer.build((None, 3))
        layer.kernel.assign(tf.random.stateless_normal([3, 2], [seed, 1]))
        layer.bias.assign(tf.random.stateless_normal([2], [seed, 2]))
    model = keras.Sequential(layers, name="captioner")
    return model, Optimisation(model, SETTINGS.model_copy(update=changed), [STEPS])


def some_gradients(variables, step, size=1.0):
    return [
        size * tf.random.stateless_normal(variable.shape, [step, i])
        for i, variable in enumerate(variables)
    ]


def adamw(variables, groups, gradients, clip):
    """Loshchilov and Hutter (2019), with Keras's constants, on NumPy arrays by name."""
    values = {name(v): v.numpy().astype(np.float64) for v in variables}
    first, second = ({key: 0.0 for key in values} for _ in range(2))
    for step, at in enumerate(gradients):
        norm = np.sqrt(sum((gradient.numpy() ** 2).sum() for gradient in at))
        for variable, gradient in zip(variables, at, strict=True):
            key = name(variable)
            gradient = gradient.numpy() * min(1, clip / norm)
            cosine = 1 if step == 0 else 0.5 * (1 + np.cos(np.pi * (step - 1) / (STEPS - 1)))
            rate = groups[key] * cosine
            if "kernel" in key:
                values[key] = values[key] - values[key] * SETTINGS.weight_decay * rate
            first[key] = 0.9 * first[key] + 0.1 * gradient
            second[key] = 0.999 * second[key] + 0.001 * gradient**2
            rate *= np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
            values[key] = values[key] - rate * first[key] / (np.sqrt(second[key]) + 1e-7)
    return values


@pytest.mark.parametrize("size", [0.01, 1.0], ids=["unclipped", "clipped"])
def test_steps_are_those_of_adamw_with_the_whole_gradient_clipped(size):
    _, made = small()
    gradients = [some_gradients(made.variables, step, size * (1 + step)) for step in range(STEPS)]
    rates = {name(v): 0.01 if "encoder" in name(v) else 0.1 for v in made.variables}
    assert sorted(rates.values()) == [0.01, 0.01, 0.1, 0.1]
    expected = adamw(made.variables, rates, gradients, SETTINGS.clip_norm)
    for at in gradients:
        norm = made.apply(at)
        np.testing.assert_allclose(norm, tf.linalg.global_norm(at), rtol=1e-6)
    for variable in made.variables:
        np.testing.assert_allclose(variable, expected[name(variable)], atol=1e-5)


def test_two_replicas_step_as_one():
    """Gradients come summed over the replicas; Keras must not sum them again."""
    _, alone = small()
    strategy = distribution.strategy("mirrored")  # the process's one: see its comment
    assert strategy.num_replicas_in_sync == 2
    with strategy.scope():
        _, mirrored = small()

    @tf.function(autograph=False)
    def both(gradients):
        return strategy.run(lambda given: mirrored.apply(given), args=(gradients,))

    for step in range(STEPS):
        gradients = some_gradients(alone.variables, step)
        alone.apply(gradients)
        both(gradients)
    for a, b in zip(alone.variables, mirrored.variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-6)


# Averages.


def test_the_average_forgets_the_start_and_then_moves_slowly():
    _, made = small()
    variable, average = made.variables[0], made.averages[0]
    expected = variable.numpy()
    np.testing.assert_array_equal(average, expected)
    for step in (0, 1, 5, 1000):
        variable.assign(variable + 1.0)
        made.average(tf.constant(step, tf.int64))
        decay = {0: 0.1, 1: 2 / 11, 5: 6 / 15, 1000: 0.9}[step]
        expected = decay * expected + (1 - decay) * variable.numpy()
        np.testing.assert_allclose(average, expected, rtol=1e-5)


def test_swapping_twice_changes_nothing():
    _, made = small()
    for average in made.averages:
        average.assign(average * 2 + 1)
    weights = [v.numpy() for v in made.variables]
    averages = [v.numpy() for v in made.averages]
    made.swap()
    for i, (variable, average) in enumerate(zip(made.variables, made.averages, strict=True)):
        np.testing.assert_array_equal(variable, averages[i])
        np.testing.assert_array_equal(average, weights[i])
    made.swap()
    for i, (variable, average) in enumerate(zip(made.variables, made.averages, strict=True)):
        np.testing.assert_array_equal(variable, weights[i])
        np.testing.assert_array_equal(average, averages[i])


def test_without_averages_swapping_does_nothing():
    _, made = small(average=0.0)
    weights = [v.numpy() for v in made.variables]
    made.average(tf.constant(3))
    made.swap()
    assert made.averages == []
    assert all(np.array_equal(a, b) for a, b in zip(weights, made.variables, strict=True))
