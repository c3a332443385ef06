"""Borda normalisation: the points of a ballot, as a share of the candidates."""

from __future__ import annotations

import numpy as np

from fusion.candidates import Candidates
from fusion.normalizations.rowwise import rowwise
from fusion.normalizations.segments import FloatArray, ranks
from fusion.protocols import Normalization

__all__ = ["Borda"]


class Borda(Normalization):
    """``1 - (rank - 1) / c`` over the ``c`` candidates of the query: from 1 down to above 0.

    As `Rank`, except that the length is that of the whole ballot and not of the model's own list:
    the last of a short list keeps most of its points. Only the order of the scores enters; equal
    scores have different ranks, by item index. What has no score stays NaN, and the method's rule
    for missing scores decides (the `Borda` *method* shares the points that are left).

    Source: Renda and Straccia, "Web Metasearch: Rank vs. Score Based Rank Aggregation Methods", SAC
    2003 (Borda rank normalisation).

    Example:
        >>> import numpy as np
        >>> from fusion.candidates import Scores
        >>> four = Candidates.bare(np.array([0, 4]), np.arange(4, dtype=np.int32))
        >>> four = four.with_scores("a", Scores.of([9, 7, np.nan, np.nan]))
        >>> Borda().normalize(four).ravel().tolist()
        [1.0, 0.75, nan, nan]
    """

    def normalize(self, candidates: Candidates) -> FloatArray:
        """(N, M) float64 in (0, 1]; NaN stays NaN."""
        out = ranks(candidates).T.astype(np.float64, order="C")
        count = candidates.lengths.astype(np.float64)
        for place in out:
            np.subtract(1.0, place, out=place)
            rowwise(np.divide, place, count, candidates.offsets, place)
        out += 1.0
        return out.T
