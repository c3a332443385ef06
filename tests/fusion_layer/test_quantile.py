from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import candidates_of, random_candidates

from fusion.candidates import Missing
from fusion.normalizations.quantile import Quantile

COLD = Missing.COLD


def test_arithmetic() -> None:
    lists = candidates_of(
        [{1: (5, 1), 2: (7, COLD), 3: (7, 2), 4: (1, 2), 5: (COLD, COLD)}, {}, {9: (0, COLD)}]
    )
    np.testing.assert_array_equal(
        Quantile().normalize(lists),
        [[2 / 4, 1 / 3], [1, np.nan], [1, 1], [1 / 4, 1], [np.nan, np.nan], [1, np.nan]],
    )


def test_equal_scores_are_all_the_best() -> None:
    lists = candidates_of([dict.fromkeys(range(3), (-2,)), dict.fromkeys(range(2), (0.0,))])
    np.testing.assert_array_equal(Quantile().normalize(lists).ravel(), [1] * 5)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(0, 4))
def test_the_share_that_is_no_higher(seed: int, levels: int) -> None:
    lists = random_candidates(np.random.default_rng(seed), 5, 20, longest=12, levels=levels)
    found, rows = Quantile().normalize(lists), lists.rows
    for m in range(len(lists.models)):
        for row in range(len(lists)):
            mine = lists.scores[rows == rows[row], m]
            own = lists.scores[row, m]
            share = (mine <= own).sum() / max((~np.isnan(mine)).sum(), 1)
            expected = np.nan if np.isnan(own) else share
            np.testing.assert_allclose(found[row, m], expected, rtol=1e-12)
