from __future__ import annotations

import numpy as np
from pools import candidates_of

from fusion.candidates import Missing
from fusion.normalizations.sum import Sum

COLD = Missing.COLD


def test_arithmetic() -> None:
    lists = candidates_of([{1: (2, 10), 2: (3, COLD), 3: (6, 40)}, {1: (-5, 1), 9: (-1, 1)}])
    total = (3 - 2) + (6 - 2)
    np.testing.assert_array_equal(
        Sum().normalize(lists),
        [[0, 0], [1 / total, np.nan], [4 / total, 1], [0, 1 / 2], [1, 1 / 2]],
    )


def test_equal_scores_share_the_sum() -> None:
    lists = candidates_of([{1: (0, -7), 2: (0, COLD), 3: (0, COLD)}, {5: (9, COLD)}, {}])
    np.testing.assert_array_equal(
        Sum().normalize(lists), [[1 / 3, 1], [1 / 3, np.nan], [1 / 3, np.nan], [1, np.nan]]
    )


def test_the_whole_range_of_float32() -> None:
    top = float(np.finfo(np.float32).max)
    lists = candidates_of([{1: (-top, 0), 2: (0, 1e-45), 3: (top, 1e-45)}])
    np.testing.assert_array_equal(Sum().normalize(lists), [[0, 0], [1 / 3, 1 / 2], [2 / 3, 1 / 2]])
