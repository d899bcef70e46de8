"""Confidence intervals against closed forms."""

import math

import numpy as np
import pytest

from audiogen.metrics.bootstrap import bootstrap, ratio_interval, ratio_of_sums


def test_interval_of_a_mean_has_the_width_of_the_normal_theory():
    values = np.random.default_rng(0).normal(5.0, 2.0, size=400)
    interval = ratio_interval(values, np.ones(400), resamples=4000)
    half_width = 1.96 * values.std() / math.sqrt(400)
    assert interval.value == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(2 * half_width, rel=0.05)


def test_interval_covers_the_true_mean_as_often_as_it_promises():
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(300):
        values = rng.exponential(1.0, size=60)
        interval = ratio_interval(values, np.ones(60), level=0.9, resamples=300, seed=trial)
        covered += interval.low <= 1.0 <= interval.high
    assert 0.83 < covered / 300 < 0.94  # 0.9 less the percentile method's small-sample bias; noise is 0.017


def test_long_items_weigh_more():
    interval = ratio_interval([0, 30], [90, 10])
    assert interval.value == pytest.approx(0.3)
    assert (interval.low, interval.high) == (
        0.0,
        3.0,
    )  # draws hold only the first or only the second item, too


def test_equal_items_leave_no_doubt():
    interval = ratio_interval([1.0] * 5, [4.0] * 5)
    assert (interval.low, interval.value, interval.high) == (0.25, 0.25, 0.25)
    assert str(interval) == "0.250 [0.250, 0.250]"


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(2).normal(size=(30, 2)) + 5
    first, again, other = (bootstrap(values, ratio_of_sums, seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_draws_without_a_denominator_are_left_out():
    interval = ratio_interval([0.0, 1.0], [0.0, 2.0])
    assert (interval.low, interval.value, interval.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("sums", "options", "message"),
    [
        (np.zeros((0, 2)), {}, "at least one item"),
        (np.ones(3), {}, "one row of numbers"),
        (np.ones((3, 2)), {"level": 1.0}, "between 0 and 1"),
        (np.ones((3, 2)), {"resamples": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_resampled_is_refused(sums, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap(sums, ratio_of_sums, **options)
