"""The fused score: a sum that does not depend on the order of the models."""

from __future__ import annotations

import numpy as np

from fusion.normalizations.segments import FloatArray

__all__ = ["total"]


def total(contributions: FloatArray) -> FloatArray:
    """Each row's sum (N,) of ``contributions`` (N, M), adding the smallest first.

    Floating-point addition depends on its order: ranks 1, 2, 8 by three models and ranks 2, 8, 1
    must tie under reciprocal ranks, and summed from left to right they may not. Sorted first, rows
    of the same parts have the same sum to the last bit, whatever the order of the models.

    >>> a, b, c = 1 / 61, 1 / 62, 1 / 68
    >>> (a + b) + c == (b + c) + a
    False
    >>> tied = total(np.array([[a, b, c], [b, c, a]]))
    >>> bool(tied[0] == tied[1])
    True
    """
    columns = [np.ascontiguousarray(column) for column in contributions.T]
    # sorted across the columns by exchanging neighbours: all rows at once, whole columns a step
    for last in range(len(columns) - 1, 0, -1):
        for left in range(last):
            low = np.minimum(columns[left], columns[left + 1])
            columns[left + 1] = np.maximum(columns[left], columns[left + 1])
            columns[left] = low
    out = np.zeros(len(contributions))
    for column in columns:
        out += column
    return out
