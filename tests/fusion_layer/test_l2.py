from __future__ import annotations

import numpy as np
from pools import candidates_of

from fusion.candidates import Missing
from fusion.normalizations.l2 import L2

COLD = Missing.COLD


def test_arithmetic() -> None:
    lists = candidates_of([{1: (3, 6), 2: (-4, COLD)}, {3: (-2, 0), 4: (0, 0)}, {}])
    np.testing.assert_array_equal(
        L2().normalize(lists), [[3 / 5, 1], [-4 / 5, np.nan], [-1, 0], [0, 0]]
    )


def test_equal_scores() -> None:
    lists = candidates_of([dict.fromkeys(range(4), (-8,))])
    np.testing.assert_array_equal(L2().normalize(lists).ravel(), [-1 / 2] * 4)


def test_the_whole_range_of_float32() -> None:
    top = float(np.finfo(np.float32).max)
    lists = candidates_of([{1: (top, 3e-45), 2: (top, 0)}])
    np.testing.assert_allclose(L2().normalize(lists), [[0.5**0.5, 1], [0.5**0.5, 0]], rtol=1e-15)
