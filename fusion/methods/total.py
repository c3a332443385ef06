"""The fused score: a sum that does not depend on the order of the models, in bounded memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates
from fusion.methods.base import chunks
from fusion.normalizations.segments import FloatArray
from fusion.protocols import Explain, Method

__all__ = ["explain_by", "fused_scores", "total"]


def fused_scores(method: Method, candidates: Candidates, weights: FloatArray) -> FloatArray:
    """(N,) float64: the scores by ``method``, a range of queries at a time.

    The contributions of a range are summed and forgotten, so that what is allocated beside the
    scores does not grow with the number of queries.
    """
    out = np.empty(len(candidates))
    at = 0
    for start, stop in chunks(candidates):
        given = method.contributions(candidates.between(start, stop), weights)
        out[at : at + len(given)] = total(given)
        at += len(given)
    return out


def explain_by(method: Method, candidates: Candidates, weights: FloatArray) -> Explain:
    """See `fusion.protocols.Fused`: only the queries of the rows asked for are worked on."""

    def explain(rows: npt.NDArray[np.int64]) -> FloatArray:
        owner = np.searchsorted(candidates.offsets, rows, side="right") - 1
        queries, position = np.unique(owner, return_inverse=True)
        few = candidates.take(queries)
        given = method.contributions(few, weights)
        inside = rows - candidates.offsets[owner]
        picked: FloatArray = given[few.offsets[position] + inside]
        return picked

    return explain


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
