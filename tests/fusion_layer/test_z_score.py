from __future__ import annotations

import numpy as np
from pools import candidates_of, random_candidates

from fusion.candidates import Missing
from fusion.normalizations.z_score import ZScore

COLD = Missing.COLD


def test_arithmetic() -> None:
    lists = candidates_of([{1: (2, 1), 2: (4, COLD), 3: (9, 3)}])
    sd = np.sqrt(((2 - 5) ** 2 + (4 - 5) ** 2 + (9 - 5) ** 2) / 3)
    np.testing.assert_allclose(
        ZScore().normalize(lists),
        [[(2 - 5) / sd, (1 - 2) / 1], [(4 - 5) / sd, np.nan], [(9 - 5) / sd, (3 - 2) / 1]],
        rtol=1e-15,
    )


def test_equal_scores_give_0() -> None:
    lists = candidates_of([dict.fromkeys(range(7), (0.1,)), {7: (5,)}, {}, {1: (COLD,)}])
    np.testing.assert_array_equal(ZScore().normalize(lists).ravel(), [0] * 7 + [0, np.nan])


def test_the_whole_range_of_float32() -> None:
    top = float(np.finfo(np.float32).max)
    lists = candidates_of([{1: (-top, 1e-45), 2: (top, 3e-45)}])
    np.testing.assert_array_equal(ZScore().normalize(lists), [[-1, -1], [1, 1]])


def test_a_batch_is_its_queries() -> None:
    batch = random_candidates(np.random.default_rng(3))
    alone = [ZScore().normalize(batch.take(np.array([q]))) for q in range(batch.n_queries)]
    np.testing.assert_array_equal(ZScore().normalize(batch), np.concatenate(alone))
