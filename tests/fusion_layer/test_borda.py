from __future__ import annotations

import numpy as np
from pools import candidates_of

from fusion.candidates import Missing
from fusion.methods.borda import Borda

GONE = Missing.NOT_RETRIEVED
# points of four: a 4, 3, then 1.5 each; b 4 for the last, then 2 each
LISTS = candidates_of(
    [{1: (9, GONE), 2: (5, GONE), 3: (GONE, GONE), 4: (GONE, 1)}, {}, {5: (GONE, 2)}]
)


def test_arithmetic() -> None:
    np.testing.assert_array_equal(
        Borda().contributions(LISTS, np.array([1.0, 2.0])),
        [[4, 2 * 2], [3, 2 * 2], [(2 + 1) / 2, 2 * 2], [(2 + 1) / 2, 2 * 4], [1, 2 * 1]],
    )


def test_every_ballot_has_the_same_points() -> None:
    given = Borda().contributions(LISTS, np.ones(2))
    assert given[:4].sum(axis=0).tolist() == [4 + 3 + 2 + 1] * 2


def test_lowest_gives_the_points_of_the_last_listed() -> None:
    policy = {"not_retrieved": "lowest"}
    given = Borda({"missing": policy}).contributions(LISTS, np.ones(2))
    assert given[:4, 0].tolist() == [4, 3, 3, 3]


def test_filled_and_left_together() -> None:
    lists = candidates_of([{1: (9,), 2: (8,), 3: (Missing.COLD,), 4: (Missing.TIMED_OUT,)}])
    given = Borda({"missing": {"timed_out": "lowest"}}).contributions(lists, np.ones(1))
    assert given.ravel().tolist() == [4, 3, (2 + 1) / 2, 3]
