from __future__ import annotations

import numpy as np
from pools import candidates_of

from fusion.candidates import Missing
from fusion.methods.comb_max import CombMAX

GONE = Missing.NOT_RETRIEVED
# min-max: a 0, 1, 1/4; b 1, -, 0
LISTS = candidates_of([{1: (2, 30), 2: (6, GONE), 3: (3, 10)}, {}, {4: (5, Missing.COLD)}])


def test_arithmetic() -> None:
    assert CombMAX().fused(LISTS, np.ones(2)).tolist() == [1, 1, 1 / 4, 1]
    np.testing.assert_array_equal(
        CombMAX().contributions(LISTS, np.ones(2)), [[0, 1], [1, 0], [1 / 4, 0], [1, 0]]
    )


def test_weights_stretch_scores_away_from_the_bad_end() -> None:
    assert CombMAX().fused(LISTS, np.array([8.0, 3.0])).tolist() == [3, 8, 2, 8]
    z = CombMAX({"normalization": "z_score"})  # a -1, 1; b 1, -1
    lists = candidates_of([{1: (0, 6), 2: (2, 4)}])
    assert z.fused(lists, np.array([2.0, 0.5])).tolist() == [0.5, 2]
    few = candidates_of([{1: (0, GONE), 2: (2, GONE)}])
    assert z.fused(few, np.array([2.0, 1.0])).tolist() == [-1 / 2, 2]


def test_who_ties_shares() -> None:
    lists = candidates_of([{1: (1, 1, 0), 2: (0, 0, 5)}])
    given = CombMAX().contributions(lists, np.ones(3))
    np.testing.assert_array_equal(given, [[1 / 2, 1 / 2, 0], [0, 0, 1]])


def test_a_model_of_weight_0_and_a_row_that_nobody_scored() -> None:
    lists = candidates_of([{1: (GONE, 7), 2: (1, 2), 3: (3, 1)}])
    assert CombMAX().fused(lists, np.array([1.0, 0.0])).tolist() == [0, 0, 1]
