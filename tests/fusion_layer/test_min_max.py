from __future__ import annotations

import numpy as np
from pools import candidates_of, random_candidates

from fusion.candidates import Missing
from fusion.normalizations.min_max import MinMax

COLD = Missing.COLD


def test_arithmetic() -> None:
    lists = candidates_of([{1: (2, 10), 2: (3, COLD), 3: (6, 30)}, {1: (0, -4), 9: (-1, -2)}])
    np.testing.assert_array_equal(
        MinMax().normalize(lists),
        [[0, 0], [(3 - 2) / (6 - 2), np.nan], [1, 1], [1, 0], [0, 1]],
    )


def test_equal_scores_are_all_the_best() -> None:
    lists = candidates_of([{1: (7, 2), 2: (7, COLD)}, {5: (-3, COLD)}, {}])
    np.testing.assert_array_equal(MinMax().normalize(lists), [[1, 1], [1, np.nan], [1, np.nan]])


def test_the_whole_range_of_float32_neither_overflows_nor_vanishes() -> None:
    top = float(np.finfo(np.float32).max)
    lists = candidates_of([{1: (-top, 0), 2: (0, 1e-45), 3: (top, 2e-45)}])
    tiny = float(np.float32(1e-45)), float(np.float32(2e-45))
    np.testing.assert_array_equal(
        MinMax().normalize(lists), [[0, 0], [0.5, tiny[0] / tiny[1]], [1, 1]]
    )


def test_a_batch_is_its_queries() -> None:
    batch = random_candidates(np.random.default_rng(3))
    alone = [MinMax().normalize(batch.take(np.array([q]))) for q in range(batch.n_queries)]
    np.testing.assert_array_equal(MinMax().normalize(batch), np.concatenate(alone))
