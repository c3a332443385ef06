from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from fusion.methods.total import total


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_the_order_of_the_parts_does_not_matter_to_the_last_bit(n: int) -> None:
    parts = 1 / (60.0 + np.array([1, 2, 8, 30, 77])[:n])
    rows = np.array(list(permutations(parts)))
    assert len(set(total(rows).tolist())) == 1
    np.testing.assert_allclose(total(rows), rows.sum(axis=1), rtol=1e-15)


def test_no_parts() -> None:
    assert total(np.empty((2, 0))).tolist() == [0, 0]
