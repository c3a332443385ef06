from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from fusion.methods.addition import added, total


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_the_order_of_the_parts_does_not_matter_to_the_last_bit(n: int) -> None:
    parts = 1 / (60.0 + np.array([1, 2, 8, 30, 77])[:n])
    rows = np.array(list(permutations(parts)))
    assert len(set(total(rows).tolist())) == 1
    np.testing.assert_allclose(total(rows), rows.sum(axis=1), rtol=1e-15)
    np.testing.assert_array_equal(added(rows.T.copy()), total(rows))


def test_the_smallest_come_first() -> None:
    assert total(np.array([[1e16, 1.0, 1.0], [1.0, 1e16, 1.0]])).tolist() == [1e16 + 2] * 2


def test_its_input_stays() -> None:
    rows = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    assert total(rows).tolist() == [6, 6]
    assert rows.tolist() == [[3, 2, 1], [1, 2, 3]]


def test_no_parts() -> None:
    assert total(np.empty((2, 0))).tolist() == [0, 0]
    assert total(np.empty((0, 3))).tolist() == []
