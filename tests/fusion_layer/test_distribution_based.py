from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of
from pydantic import ValidationError

from fusion.candidates import Missing
from fusion.methods.distribution_based import DistributionBased

GONE = Missing.NOT_RETRIEVED


def test_arithmetic() -> None:
    # a: mean 4, sd 2, from -2 to 10; b: one score; c: all equal
    lists = candidates_of([{1: (2, GONE, 5), 2: (6, 7, 5)}])
    np.testing.assert_allclose(
        DistributionBased().contributions(lists, np.array([1.0, 2.0, 3.0])),
        [[(2 + 2) / 12, 0, 3 / 2], [(6 + 2) / 12, 2 / 2, 3 / 2]],
    )


def test_a_score_beyond_the_ends_is_not_clipped() -> None:
    lists = candidates_of([{0: (1e6,)} | dict.fromkeys(range(1, 20), (0,))])
    assert DistributionBased().fused(lists, np.ones(1))[0] > 1


def test_deviations() -> None:
    lists = candidates_of([{1: (2,), 2: (6,)}])
    given = DistributionBased({"deviations": 1}).fused(lists, np.ones(1))
    assert given.tolist() == [0, 1]


@pytest.mark.parametrize("deviations", [0, -3, float("nan"), float("inf")])
def test_bad_deviations(deviations: float) -> None:
    with pytest.raises(ValidationError):
        DistributionBased({"deviations": deviations})
