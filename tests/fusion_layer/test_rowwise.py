from __future__ import annotations

import numpy as np
import pytest

from fusion.normalizations.rowwise import rowwise


@pytest.mark.parametrize("lengths", [[2, 2, 2], [1, 3, 0, 2], [0, 0], [], [3], [0, 3, 3]])
def test_one_number_a_query(lengths: list[int]) -> None:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    column = np.arange(offsets[-1], dtype=np.float32)
    numbers = np.arange(len(lengths)) * 10.0 + 1
    out = np.empty(len(column))
    rowwise(np.subtract, column, numbers, offsets, out)
    expected = [c - numbers[np.searchsorted(offsets, i, "right") - 1] for i, c in enumerate(column)]
    np.testing.assert_array_equal(out, expected)


def test_in_place_and_in_float64() -> None:
    column = np.array([1.0, 2.0, 3.0, 4.0])
    rowwise(np.divide, column, np.array([2.0, 4.0]), np.array([0, 2, 4]), column)
    assert column.tolist() == [1 / 2, 2 / 2, 3 / 4, 4 / 4]
    top = np.finfo(np.float32).max
    wide = np.empty(2)
    rowwise(np.subtract, np.float32([top, -top]), np.array([-float(top)]), np.array([0, 2]), wide)
    assert wide.tolist() == [2 * float(top), 0]
