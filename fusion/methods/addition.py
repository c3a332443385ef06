"""A sum that does not depend on the order of the models."""

from __future__ import annotations

import numpy as np

from fusion.normalizations.segments import FloatArray

__all__ = ["added", "total"]


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
    return added(contributions.T.copy())


def added(parts: FloatArray) -> FloatArray:
    """`total` of ``parts`` (M, N), whose memory is used up: (N,) float64, perhaps inside it."""
    if not len(parts):
        return np.zeros(parts.shape[1])
    columns = list(parts)
    spare = np.empty(parts.shape[1])
    # sorted across the columns by exchanging neighbours: all rows at once, whole columns a step
    for last in range(len(columns) - 1, 1, -1):
        for left in range(last):
            low, high = columns[left], columns[left + 1]
            np.minimum(low, high, out=spare)
            np.maximum(low, high, out=high)
            columns[left], spare = spare, low
    out: FloatArray = columns[0]  # a + b is b + a: the first two need no exchange
    for column in columns[1:]:
        out += column
    return out
