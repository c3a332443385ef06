"""Sum normalisation: the worst of a list becomes 0, and the list sums to 1."""

from __future__ import annotations

import numpy as np

from fusion.candidates import Candidates
from fusion.normalizations.rowwise import lists, rowwise
from fusion.normalizations.segments import FloatArray, extremes, sums
from fusion.protocols import Normalization

__all__ = ["Sum"]


class Sum(Normalization):
    """``(s - min) / sum of (s - min)`` over a model's scores in the query.

    Every model has the same mass, 1, to give away. So a long list gives less to each of its items
    than a short one, and a list with one outstanding item gives nearly all to it. A list of ``n``
    equal scores (one candidate is the plainest case) gives each ``1 / n``: the sum is 1 there too.

    Source: Montague and Aslam, "Relevance Score Normalization for Metasearch", CIKM 2001,
    there named Sum.

    Example:
        >>> from fusion.candidates import Candidates
        >>> lists = Candidates.single(
        ...     "a", np.array([0, 3]), np.arange(3, dtype=np.int32), np.float32([2, 3, 5])
        ... )
        >>> Sum().normalize(lists).ravel().tolist()
        [0.0, 0.25, 0.75]
    """

    def normalize(self, candidates: Candidates) -> FloatArray:
        """(N, M) float64 in [0, 1]; NaN stays NaN."""
        scores, offsets = lists(candidates)
        low, _ = extremes(scores, offsets)
        out = np.empty(len(scores))
        rowwise(np.subtract, scores, low, offsets, out)
        total = sums(out, offsets)
        constant = total == 0.0
        rowwise(np.divide, out, np.where(constant, 1.0, total), offsets, out)
        if constant.any():
            count = sums(~np.isnan(scores), offsets)
            share = np.where(constant, 1.0 / np.maximum(count, 1.0), 0.0)
            rowwise(np.add, out, share, offsets, out)  # 0 becomes 1 / n
        return out.reshape(len(candidates.models), len(candidates)).T
