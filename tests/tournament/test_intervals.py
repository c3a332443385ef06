from __future__ import annotations

import numpy as np
import pytest

from fusion.errors import DataError
from fusion.evaluation.significance import mean_interval
from fusion.tournament.intervals import by_user, intervals


def test_sums_by_hand() -> None:
    values = np.array([[1.0, 2.0, 4.0], [0.0, 1.0, 1.0]])
    sums, sizes = by_user(values, np.array([7, 3, 7]))
    assert sums.tolist() == [[2.0, 5.0], [1.0, 1.0]]  # user 3, user 7
    assert sizes.tolist() == [1.0, 2.0]


def test_the_intervals_are_those_of_the_evaluation() -> None:
    rng = np.random.default_rng(1)
    users = rng.integers(0, 150, 400)
    values = np.stack([rng.exponential(size=400) ** 2, rng.random(400) < 0.1])
    found = intervals(values, users, resamples=20_000)
    for row, interval in zip(values, found, strict=True):
        expected = mean_interval(row, users, resamples=20_000)
        assert interval.mean == pytest.approx(expected.mean)
        width = expected.high - expected.low
        assert interval.low == pytest.approx(expected.low, abs=0.03 * width)
        assert interval.high == pytest.approx(expected.high, abs=0.03 * width)


def test_the_draws_are_the_same_for_all_rows() -> None:
    rng = np.random.default_rng(2)
    values = rng.random((1, 90))
    one, two = intervals(np.concatenate([values, values + 1]), np.arange(90))
    assert two.low - one.low == pytest.approx(1)
    assert two.high - one.high == pytest.approx(1)


def test_one_user_has_no_interval_and_equal_values_a_point() -> None:
    (alone,) = intervals(np.ones((1, 3)), np.zeros(3, int))
    assert alone.mean == 1
    assert np.isnan(alone.low)
    (point,) = intervals(np.full((1, 4), 0.25), np.arange(4))
    assert (point.low, point.high) == (0.25, 0.25)


def test_bad_input() -> None:
    with pytest.raises(DataError, match="one value and one user"):
        intervals(np.ones((1, 3)), np.zeros(2, int))
    with pytest.raises(DataError, match="finite"):
        intervals(np.array([[np.nan, 1.0]]), np.arange(2))
