from __future__ import annotations

import numpy as np
from pools import candidates_of

from fusion.candidates import Missing
from fusion.methods.comb_sum import CombSUM

GONE = Missing.NOT_RETRIEVED
# min-max: a 0, 1, 1/4; b 1, -, 0
LISTS = candidates_of([{1: (2, 30), 2: (6, GONE), 3: (3, 10)}, {}, {4: (5, Missing.COLD)}])


def test_arithmetic() -> None:
    np.testing.assert_array_equal(
        CombSUM().contributions(LISTS, np.array([1.0, 3.0])),
        [[0, 3 * 1], [1, 0], [1 / 4, 3 * 0], [1, 0]],
    )


def test_a_missing_score_adds_nothing_unless_the_policy_says_so() -> None:
    lists = candidates_of([{1: (2,), 2: (6,), 3: (Missing.FILTERED,)}])
    z = {"normalization": "z_score"}
    assert CombSUM(z).fused(lists, np.ones(1)).tolist() == [-1, 1, 0]
    z["missing"] = {"filtered": "lowest"}
    assert CombSUM(z).fused(lists, np.ones(1)).tolist() == [-1, 1, -1]
