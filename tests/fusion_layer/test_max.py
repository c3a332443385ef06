from __future__ import annotations

import numpy as np
from pools import candidates_of

from fusion.candidates import Missing
from fusion.normalizations.max import Max

COLD = Missing.COLD


def test_arithmetic() -> None:
    lists = candidates_of([{1: (2, 10), 2: (3, COLD), 3: (6, 40)}, {1: (5, 0), 9: (1, 8)}])
    np.testing.assert_array_equal(
        Max().normalize(lists), [[2 / 6, 10 / 40], [3 / 6, np.nan], [1, 1], [1, 0], [1 / 5, 1]]
    )


def test_negative_scores_are_shares_of_the_largest_magnitude() -> None:
    lists = candidates_of([{1: (-2, 1e-9), 2: (-8, -4)}])
    np.testing.assert_array_equal(
        Max().normalize(lists), [[-2 / 8, float(np.float32(1e-9)) / 4], [-1, -1]]
    )


def test_zeros_one_item_and_equal_scores() -> None:
    lists = candidates_of([{1: (0, 7), 2: (0, 7)}, {3: (-5, COLD)}, {}])
    np.testing.assert_array_equal(Max().normalize(lists), [[0, 1], [0, 1], [-1, np.nan]])
