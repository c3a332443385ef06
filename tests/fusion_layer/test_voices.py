from __future__ import annotations

import numpy as np
import pytest

from fusion.methods.voices import emphasised, heard, muted, present_weight, shared, units

NAN = float("nan")


def worths() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array([[1.0, NAN, NAN], [2.0, 5.0, NAN]])


def test_who_is_heard() -> None:
    assert heard(worths(), np.array([1.0, 0.5])).tolist() == [2, 1, 0]
    assert heard(worths(), np.array([1.0, 0.0])).tolist() == [1, 0, 0]
    assert present_weight(worths(), np.array([1.0, 0.5])).tolist() == [1.5, 0.5, 0]


def test_the_order_of_the_models_is_not_in_the_weight() -> None:
    weights = np.array([0.1, 0.2, 0.3])
    assert (0.1 + 0.2) + 0.3 != (0.3 + 0.2) + 0.1
    sums = {
        present_weight(np.ones((3, 1)), weights[list(order)]).item()
        for order in ([0, 1, 2], [2, 1, 0])
    }
    assert len(sums) == 1


def test_muted_and_emphasised_and_shared() -> None:
    np.testing.assert_array_equal(
        muted(worths(), np.array([0.0, 2.0])), [[NAN, NAN, NAN], [2, 5, NAN]]
    )
    given = emphasised(worths(), np.array([1.0, 2.0]), np.array([10.0, 100.0, np.inf]))
    assert given.tolist() == [[10, 0, 0], [40, 1000, 0]]
    deciders = np.array([[True, False, False], [True, True, False]])
    assert shared(np.array([4.0, 3.0, 9.0]), deciders).tolist() == [[2, 0, 0], [2, 3, 0]]


@pytest.mark.parametrize(
    ("weights", "votes", "slack"),
    [
        ([1, 1, 1], [1, 1, 1], 0),
        ([0.7, 0, 0.7], [1, 0, 1], 0),
        ([0.1, 0.2, 0.3], [1, 2, 3], 0),
        ([0.5, 2, 1.25], [2, 8, 5], 0),
        ([0, 0], [0, 0], 0),
        ([1, 1000], [round(2**20 / 1000), 2**20], 2),
        ([1, 1e9, 0], [1, 2**20, 0], 3),  # however light, a vote
    ],
)
def test_votes(weights: list[float], votes: list[int], slack: int) -> None:
    found = units(np.array(weights, np.float64))
    assert (found[0].tolist(), found[1]) == (votes, slack)
