from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of

from fusion.candidates import Missing
from fusion.methods.comb_med import CombMED

GONE = Missing.NOT_RETRIEVED
LISTS = candidates_of(
    [
        # a 0, 1, 1/4, 1/2; b 1, -, 0, 3/4; c 1, 0, -, -
        {1: (2, 30, 9), 2: (6, GONE, 1), 3: (3, 10, GONE), 4: (4, 25, GONE)},
        {},
        {5: (5, GONE, GONE)},
        {6: (GONE, GONE, GONE)},
    ]
)
EXPECTED = [1, 1 / 2, 1 / 8, 5 / 8, 1, 0]


def test_arithmetic() -> None:
    assert CombMED().fused(LISTS, np.ones(3)).tolist() == EXPECTED
    np.testing.assert_array_equal(
        CombMED().contributions(LISTS, np.ones(3)),
        [
            [0, 1 / 2, 1 / 2],  # b and c gave the median
            [1 / 2, 0, 0],  # half of a's 1, half of c's 0
            [1 / 8, 0, 0],
            [1 / 4, 3 / 8, 0],
            [1, 0, 0],
            [0, 0, 0],
        ],
    )


@pytest.mark.parametrize("scale", [0.1, 1, 7.3])
def test_only_the_proportions_of_the_weights_count(scale: float) -> None:
    assert CombMED().fused(LISTS, np.full(3, scale)).tolist() == EXPECTED


def test_weights() -> None:
    # first item: 0 by a; second: a 1, c 0; third: a 1/4, b 0; fourth: a 1/2, b 3/4
    heavy = CombMED().fused(LISTS, np.array([3.0, 1.0, 1.0]))
    assert heavy.tolist() == [0, 1, 1 / 4, 1 / 2, 1, 0]
    # two against three tenths: exact halves in decimals, whatever floats make of them
    halves = CombMED().fused(LISTS, np.array([0.3, 0.1, 0.2]))
    assert halves.tolist() == [(0 + 1) / 2, 1, 1 / 4, 1 / 2, 1, 0]
    uneven = CombMED().fused(LISTS, np.array([1.0001, 1.0, 1e-3]))
    assert uneven.tolist() == [1, 1, 1 / 4, 1 / 2, 1, 0]


def test_a_model_of_weight_0_has_no_vote() -> None:
    given = CombMED().fused(LISTS, np.array([1.0, 1.0, 0.0]))
    assert given.tolist() == [1 / 2, 1, 1 / 8, 5 / 8, 1, 0]


def test_agrees_with_numpy() -> None:
    rng = np.random.default_rng(0)
    worth = np.where(rng.random((7, 200)) < 0.3, np.nan, rng.normal(size=(7, 200)))
    worth[0] = rng.normal(size=200)
    np.testing.assert_array_equal(
        CombMED().merge(worth.copy(), np.ones(7)), np.nanmedian(worth, axis=0)
    )
