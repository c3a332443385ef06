"""Max normalisation: scores as shares of the list's largest magnitude."""

from __future__ import annotations

import numpy as np

from fusion.candidates import Candidates
from fusion.normalizations.rowwise import lists, rowwise
from fusion.normalizations.segments import FloatArray, extremes
from fusion.protocols import Normalization

__all__ = ["Max"]


class Max(Normalization):
    """``s / max |s|`` over a model's scores in the query: ``s / max s`` where none is negative.

    Zero stays zero and a score twice another stays twice, so it fits scores that have a true zero:
    probabilities, counts, cosines. Dividing by the largest *magnitude* keeps a list with negative
    scores in [-1, 1] and in order; dividing by the largest score, as the literature does for scores
    that are never negative, would blow up a list whose best is just above 0 and turn round one
    whose best is below. A list of zeros stays zeros; one other score alone gives 1 or -1.

    Source: Lee, "Combining Multiple Evidence from Different Properties of Weighting Schemes",
    SIGIR 1995 (maximum normalisation).

    Example:
        >>> from fusion.candidates import Candidates
        >>> lists = Candidates.single(
        ...     "a", np.array([0, 3]), np.arange(3, dtype=np.int32), np.float32([1, 2, 4])
        ... )
        >>> Max().normalize(lists).ravel().tolist()
        [0.25, 0.5, 1.0]
    """

    def normalize(self, candidates: Candidates) -> FloatArray:
        """(N, M) float64 in [-1, 1]; NaN stays NaN."""
        scores, offsets = lists(candidates)
        low, high = extremes(scores, offsets)
        top = np.maximum(np.abs(low), np.abs(high))
        out = np.empty(len(scores))
        rowwise(np.divide, scores, np.where(top == 0.0, 1.0, top), offsets, out)
        return out.reshape(len(candidates.models), len(candidates)).T
