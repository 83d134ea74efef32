"""The course of the learning rate, by hand."""

import keras
import numpy as np
import pytest

from captioner.config import Train
from captioner.learning.schedules import WarmupCosine, schedule


def test_rate_rises_and_falls_by_half_a_cosine():
    rate = WarmupCosine(2.0, [12], 1 / 3)
    rising = [0.25, 0.5, 0.75, 1.0]
    falling = [0.5 * (1 + np.cos(np.pi * i / 8)) for i in range(9)]
    got = [float(rate(step)) / 2 for step in range(13)]
    np.testing.assert_allclose(got, [*rising, *falling], atol=1e-6)


def test_each_stage_has_a_course_of_its_own():
    rate, first, second = (WarmupCosine(1.0, stages, 0.2) for stages in ([10, 20], [10], [20]))
    for step in range(10):
        assert float(rate(step)) == float(first(step))
    for step in range(20):
        assert float(rate(10 + step)) == float(second(step))
    assert float(rate(30)) == pytest.approx(0, abs=1e-6)
    assert float(rate(1000)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("stages, warmup", [([1], 0.0), ([1], 0.9), ([3], 0.0), ([1, 1], 0.5)])
def test_no_step_of_a_short_run_is_wasted(stages, warmup):
    rate = WarmupCosine(1.0, stages, warmup)
    got = [float(rate(step)) for step in range(sum(stages))]
    assert got[0] == 1 and min(got) > 0.2 and max(got) <= 1


def course(kind, stages=(10,), warmup=0.0, **changed):
    """The course that the settings name, with a peak of 2."""
    settings = Train(schedule=kind, warmup=warmup, **changed)
    return schedule(settings, 2.0, stages, (1.0, 0.5)[: len(stages)])


def values(rate):
    return [float(rate(step)) for step in range(sum(rate.stages))]


def test_a_half_cosine_is_the_default():
    assert type(schedule(Train(), 1.0, [10])) is WarmupCosine


def test_a_constant_rate():
    """In each stage after its rise, at its share of the peak."""
    rate = course("constant", (8, 4), 0.5)
    assert values(rate) == [0.5, 1, 1.5, 2, 2, 2, 2, 2, 0.5, 1, 1, 1]
    assert float(rate(100)) == 1


def test_a_rate_in_steps():
    """Times a quarter after every third of 12 steps, the rise not counted; anew in each stage."""
    rate = course("step", (12, 4), 0.25, schedule_step=1 / 4, schedule_factor=0.25)
    rising, falls = [2 / 3, 4 / 3], [2, 2, 2, 2, 0.5, 0.5, 0.5, 0.125, 0.125, 0.125]
    np.testing.assert_allclose(values(rate), [*rising, *falls, 1, 1, 0.25, 0.0625], rtol=1e-6)


def test_a_rate_on_a_plateau_falls_when_it_is_told():
    rate = course("plateau", (4, 2), 0.5)
    assert values(rate) == [1, 2, 2, 2, 1, 1]
    rate.level.assign(0.25)
    assert values(rate) == [1, 0.5, 0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize("kind", ["cosine", "constant", "step", "plateau"])
def test_configuration_of_the_rate_survives(kind):
    rate = course(kind, (5, 6), 0.3)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rate))
    assert [float(again(step)) for step in range(11)] == values(rate)
