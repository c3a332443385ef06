from __future__ import annotations

import numpy as np
from pools import candidates_of

from fusion.candidates import Missing
from fusion.methods.borda import Borda
from fusion.methods.weighted_borda import WeightedBorda

GONE = Missing.NOT_RETRIEVED


def test_it_is_borda() -> None:
    lists = candidates_of([{1: (9, GONE), 2: (5, GONE), 3: (GONE, GONE), 4: (GONE, 1)}])
    weights = np.array([1.0, 2.0])
    expected = Borda().contributions(lists, weights)
    assert expected[3].tolist() == [1.5, 8]
    np.testing.assert_array_equal(WeightedBorda().contributions(lists, weights), expected)
