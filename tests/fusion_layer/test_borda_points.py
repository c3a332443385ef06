"""The normalisation; ``test_borda.py`` is about the method."""

from __future__ import annotations

import numpy as np
from pools import candidates_of

from fusion.candidates import Missing
from fusion.normalizations.borda import Borda

COLD = Missing.COLD


def test_arithmetic() -> None:
    lists = candidates_of([{1: (5, 1), 2: (7, COLD), 3: (5, 2), 4: (COLD, COLD)}, {}, {9: (0, 0)}])
    np.testing.assert_array_equal(
        Borda().normalize(lists),
        [[1 - 1 / 4, 1 - 1 / 4], [1, np.nan], [1 - 2 / 4, 1], [np.nan, np.nan], [1, 1]],
    )
