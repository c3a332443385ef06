from __future__ import annotations

import numpy as np
from pools import candidates_of

from fusion.candidates import Missing
from fusion.methods.comb_mnz import CombMNZ
from fusion.methods.wmnz import WMNZ

GONE = Missing.NOT_RETRIEVED
# min-max: a 0, 1, 1/4; b 1, -, 0
LISTS = candidates_of([{1: (2, 30), 2: (6, GONE), 3: (3, 10)}, {}, {4: (5, Missing.COLD)}])


def test_arithmetic() -> None:
    np.testing.assert_array_equal(
        WMNZ().contributions(LISTS, np.array([1.0, 3.0])),
        [[(1 + 3) * 0, (1 + 3) * 1], [1 * 1, 0], [(1 + 3) * 1 / 4, (1 + 3) * 0], [1 * 1, 0]],
    )


def test_equal_weights_give_comb_mnz() -> None:
    expected = CombMNZ().contributions(LISTS, np.ones(2))
    np.testing.assert_array_equal(WMNZ().contributions(LISTS, np.ones(2)), expected)


def test_a_model_of_weight_0_adds_no_score_either() -> None:
    given = WMNZ().contributions(LISTS, np.array([1.0, 0.0]))
    np.testing.assert_array_equal(given, [[0, 0], [1, 0], [1 / 4, 0], [1, 0]])
