from __future__ import annotations

import numpy as np
from pools import candidates_of, random_candidates

from fusion.candidates import Missing
from fusion.normalizations.rank import Rank

COLD = Missing.COLD


def test_arithmetic() -> None:
    lists = candidates_of([{1: (2, 1), 2: (4, COLD), 3: (9, 3), 4: (4, COLD)}, {8: (0, 0)}, {}])
    np.testing.assert_allclose(
        Rank().normalize(lists),
        [
            [1 - 3 / 4, 1 - 1 / 2],
            [1 - 1 / 4, np.nan],  # item 2 before item 4: the same score
            [1, 1],
            [1 - 2 / 4, np.nan],
            [1, 1],
        ],
    )


def test_a_monotone_change_of_the_scores_changes_nothing() -> None:
    lists = random_candidates(np.random.default_rng(5))
    before = Rank().normalize(lists)
    np.exp(lists.scores, out=lists.scores)
    np.testing.assert_array_equal(Rank().normalize(lists), before)
