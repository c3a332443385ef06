from __future__ import annotations

import numpy as np
from pools import candidates_of

from fusion.candidates import Missing
from fusion.methods.comb_anz import CombANZ

GONE = Missing.NOT_RETRIEVED
# min-max: a 0, 1, 1/4; b 1, -, 0
LISTS = candidates_of([{1: (2, 30), 2: (6, GONE), 3: (3, 10)}, {}, {4: (5, Missing.COLD)}])


def test_arithmetic() -> None:
    np.testing.assert_array_equal(
        CombANZ().contributions(LISTS, np.array([1.0, 3.0])),
        [[0 / 4, 3 * 1 / 4], [1, 0], [1 / 4 / 4, 0], [1, 0]],
    )


def test_only_the_proportions_of_the_weights_count() -> None:
    heavy = CombANZ().fused(LISTS, np.array([1.0, 3.0]))
    np.testing.assert_array_equal(CombANZ().fused(LISTS, np.array([1 / 8, 3 / 8])), heavy)


def test_one_good_word_beats_two_middling_ones() -> None:
    lists = candidates_of([{1: (4, GONE), 2: (2, 2), 3: (0, 0), 4: (3, 4)}])
    assert CombANZ().fused(lists, np.ones(2)).tolist() == [1, (1 / 2 + 1 / 2) / 2, 0, 1.75 / 2]


def test_a_row_that_nobody_scored_gets_0() -> None:
    lists = candidates_of([{1: (GONE, GONE), 2: (1, 2)}])
    assert CombANZ().fused(lists, np.ones(2)).tolist() == [0, 1]
