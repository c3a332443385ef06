from __future__ import annotations

from math import log2

import numpy as np
import pytest

from fusion.tournament.complementarity import complementarity_of


def test_by_hand() -> None:
    ranks = {
        "a": np.array([1, 2, 0, 11, 5]),
        "b": np.array([3, 0, 0, 0, 12]),
        "c": np.array([0, 1, 0, 0, 0]),
        "d": np.array([0, 0, 11, 0, 0]),
    }
    in_union = np.array([True, True, True, True, False])
    found = complementarity_of(ranks, in_union, 10)
    assert found.found.tolist() == [3 / 5, 1 / 5, 1 / 5, 0]
    # a alone has the last one; the first it shares with b, the second with c
    assert found.alone.tolist() == [1 / 5, 0, 0, 0]
    np.testing.assert_allclose(
        found.overlap,
        [[1, 1 / 3, 1 / 3, 0], [1, 1, 0, 0], [1, 0, 1, 0], [np.nan] * 4],
    )
    assert found.together == 3 / 5
    assert found.oracle == pytest.approx((1 + 1 + 0 + 0 + 1 / log2(6)) / 5)
    assert found.union == 4 / 5
    assert found.to_json()["overlap"][3] == [None] * 4
