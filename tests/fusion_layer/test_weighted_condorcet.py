from __future__ import annotations

import numpy as np
from pools import candidates_of

from fusion.candidates import Missing
from fusion.methods.condorcet import Condorcet
from fusion.methods.weighted_condorcet import WeightedCondorcet

GONE = Missing.NOT_RETRIEVED


def test_it_is_condorcet() -> None:
    lists = candidates_of([{1: (9, 1), 2: (5, 3), 3: (GONE, GONE), 4: (GONE, 2)}])
    weights = np.array([1.0, 2.0])
    expected = Condorcet().contributions(lists, weights)
    assert Condorcet().fused(lists, weights).tolist() == [1, 3, 0, 2]
    np.testing.assert_array_equal(WeightedCondorcet().contributions(lists, weights), expected)
