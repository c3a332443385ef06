from __future__ import annotations

import numpy as np
from pools import candidates_of

from fusion.candidates import Missing
from fusion.methods.comb_min import CombMIN

GONE = Missing.NOT_RETRIEVED
# min-max: a 0, 1, 1/4; b 1, -, 0
LISTS = candidates_of([{1: (2, 30), 2: (6, GONE), 3: (3, 10)}, {}, {4: (5, Missing.COLD)}])


def test_arithmetic() -> None:
    assert CombMIN().fused(LISTS, np.ones(2)).tolist() == [0, 1, 0, 1]
    lists = candidates_of([{1: (0, 6), 2: (3, 2), 3: (4, 4), 4: (2, 3)}])
    # a 0, 3/4, 1, 1/2; b 1, 0, 1/2, 1/4
    np.testing.assert_array_equal(
        CombMIN().contributions(lists, np.ones(2)), [[0, 0], [0, 0], [0, 1 / 2], [0, 1 / 4]]
    )


def test_a_heavier_model_decides_more_often() -> None:
    lists = candidates_of([{1: (0, 6), 2: (4, 2), 3: (3, 5)}])  # 3: a 3/4, b 3/4
    assert CombMIN().fused(lists, np.array([1.0, 3.0])).tolist() == [0, 0, 1 / 4]
    given = CombMIN().contributions(lists, np.array([1.0, 3.0]))
    np.testing.assert_array_equal(given[2], [0, 1 / 4])
    z = CombMIN({"normalization": "z_score"})  # a -1, 1
    assert z.fused(candidates_of([{1: (0,), 2: (2,)}]), np.array([4.0])).tolist() == [-4, 1 / 4]


def test_0_is_not_a_negative_0() -> None:
    scores = CombMIN().fused(LISTS, np.ones(2))
    assert not np.signbit(scores).any()
    assert not np.signbit(CombMIN().contributions(LISTS, np.ones(2))).any()
