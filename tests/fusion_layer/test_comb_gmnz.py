from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of
from pydantic import ValidationError

from fusion.candidates import Missing
from fusion.methods.comb_gmnz import CombGMNZ

GONE = Missing.NOT_RETRIEVED
# min-max: a 0, 1, 1/4; b 1, -, 0
LISTS = candidates_of([{1: (2, 30), 2: (6, GONE), 3: (3, 10)}, {}, {4: (5, Missing.COLD)}])


def test_arithmetic() -> None:
    np.testing.assert_allclose(
        CombGMNZ({"gamma": 2}).contributions(LISTS, np.array([1.0, 3.0])),
        [[4 * 0, 4 * 3 * 1], [1 * 1, 0], [4 * 1 / 4, 4 * 3 * 0], [1 * 1, 0]],
    )


def test_gamma_0_is_the_sum_and_minus_1_the_mean() -> None:
    assert CombGMNZ({"gamma": 0}).fused(LISTS, np.ones(2)).tolist() == [1, 1, 1 / 4, 1]
    assert CombGMNZ({"gamma": -1}).fused(LISTS, np.ones(2)).tolist() == [1 / 2, 1, 1 / 8, 1]


def test_a_row_that_nobody_scored_gets_0_under_a_negative_gamma() -> None:
    lists = candidates_of([{1: (GONE, GONE), 2: (1, 2)}])
    assert CombGMNZ({"gamma": -3}).fused(lists, np.ones(2)).tolist() == [0, 2 / 8]


@pytest.mark.parametrize("gamma", [float("nan"), float("inf")])
def test_bad_gamma(gamma: float) -> None:
    with pytest.raises(ValidationError):
        CombGMNZ({"gamma": gamma})
