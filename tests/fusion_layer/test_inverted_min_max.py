from __future__ import annotations

import numpy as np
from pools import candidates_of

from fusion.candidates import Missing
from fusion.normalizations.inverted_min_max import InvertedMinMax

COLD = Missing.COLD


def test_arithmetic() -> None:
    lists = candidates_of([{1: (2, 10), 2: (3, COLD), 3: (6, 30)}, {1: (0, -4), 9: (-1, -2)}])
    np.testing.assert_array_equal(
        InvertedMinMax().normalize(lists),
        [[1, 1], [(6 - 3) / (6 - 2), np.nan], [0, 0], [0, 1], [1, 0]],
    )


def test_equal_scores_are_all_the_best() -> None:
    lists = candidates_of([{1: (7, 2), 2: (7, COLD)}, {5: (-3, COLD)}, {}])
    np.testing.assert_array_equal(
        InvertedMinMax().normalize(lists), [[1, 1], [1, np.nan], [1, np.nan]]
    )
