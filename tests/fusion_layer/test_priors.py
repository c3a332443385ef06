from __future__ import annotations

import numpy as np
import pytest

from fusion.methods.priors import priors_of

NAN = float("nan")


def test_arithmetic() -> None:
    worth = np.array([[1.0, 2.0, 3.0, 4.0, NAN, NAN]])
    labels = np.array([0, 0, 1, 1, 0, 1], np.float32)
    # overall 1/2; by worth (0 + 1/2) / 2 = 1/4, 1/4, (1 + 1/2) / 2 = 3/4, 3/4
    gone = np.isnan(worth).T
    # missing (1 + 1/2) / (2 + 1) = 1/2: first reached at 3
    assert priors_of(worth, gone, labels).tolist() == [3]
    # missing (0 + 1/2) / (1 + 1) = 1/4, the lowest worth's share
    gone[5] = False
    assert priors_of(worth, gone, labels).tolist() == [1]


def test_missing_that_are_right_more_often_than_the_best() -> None:
    worth = np.array([[1.0, 2.0, NAN, NAN, NAN]])
    labels = np.array([0, 0, 1, 1, 1], np.float32)
    assert priors_of(worth, np.isnan(worth).T, labels).tolist() == [2]


def test_a_share_that_falls_is_made_monotone() -> None:
    worth = np.array([[1.0, 2.0, NAN]])
    labels = np.array([1, 0, 0], np.float32)
    # overall 1/3; (1 + 1/3) / 2 and (0 + 1/3) / 2 pool to 5/12; missing (0 + 1/3) / 2 = 1/6
    assert priors_of(worth, np.isnan(worth).T, labels).tolist() == [1]


def test_equal_worths_are_one_point_in_any_order() -> None:
    rng = np.random.default_rng(0)
    worth = rng.integers(0, 4, 60).astype(np.float64)
    labels = (rng.random(60) < worth / 5).astype(np.float32)
    worth[rng.random(60) < 0.3] = NAN
    expected = priors_of(worth[None], np.isnan(worth)[:, None], labels)
    for _ in range(3):
        shuffle = rng.permutation(60)
        again = priors_of(worth[None, shuffle], np.isnan(worth)[shuffle, None], labels[shuffle])
        assert again.tolist() == expected.tolist()


def test_nothing_missing_and_nothing_scored() -> None:
    worth = np.array([[2.0, 1.0, 3.0], [NAN, NAN, NAN]])
    gone = np.zeros((3, 2), bool)
    gone[:, 1] = True
    found = priors_of(worth, gone, np.array([0, 1, 0], np.float32))
    np.testing.assert_array_equal(found, [1, NAN])


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_a_missing_score_that_says_nothing_gets_a_middling_worth(rate: float) -> None:
    """Missing at random: as often right as the average, whose worth is the middle of the scale."""
    rng = np.random.default_rng(0)
    worth = rng.random(20_000)
    labels = (rng.random(20_000) < worth * 2 * rate).astype(np.float32)
    column = np.where(rng.random(20_000) < 0.3, NAN, worth)
    found = priors_of(column[None], np.isnan(column)[:, None], labels)
    assert found == pytest.approx(0.5, abs=0.12)
