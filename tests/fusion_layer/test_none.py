from __future__ import annotations

import numpy as np
from pools import candidates_of

from fusion.candidates import Missing
from fusion.normalizations.none import NoNormalization


def test_the_scores_as_they_are() -> None:
    lists = candidates_of([{1: (3, -0.5), 2: (1e30, Missing.COLD)}, {}, {4: (0, 7)}])
    found = NoNormalization().normalize(lists)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, lists.scores)
    found[:] = 0  # memory of its own
    assert lists.scores[0, 0] == 3
