"""Z-score normalisation: zero mean, unit variance (ZMUV)."""

from __future__ import annotations

import numpy as np

from fusion.candidates import Candidates
from fusion.normalizations.rowwise import lists, rowwise
from fusion.normalizations.segments import FloatArray, sums
from fusion.protocols import Normalization

__all__ = ["ZScore"]


class ZScore(Normalization):
    """``(s - mean) / sd`` over a model's scores in the query; ``sd`` is the population's.

    A list whose scores are all equal gives 0, the mean: on this scale it says nothing, and `MinMax`
    or `Rank` is the one to take where models bring single-score lists.

    Source: Montague and Aslam, "Relevance Score Normalization for Metasearch", CIKM 2001,
    section 3.3 (ZMUV).
    """

    def normalize(self, candidates: Candidates) -> FloatArray:
        """(N, M) float64, mean 0 in each query; NaN stays NaN."""
        scores, offsets = lists(candidates)
        count = np.maximum(sums(~np.isnan(scores), offsets), 1.0)
        # float64 holds the sum of equal float32 exactly: their mean is each, their sd is 0
        mean = sums(scores, offsets) / count
        out = np.empty(len(scores))
        rowwise(np.subtract, scores, mean, offsets, out)
        sd = np.sqrt(sums(np.square(out), offsets) / count)
        rowwise(np.divide, out, np.where(sd > 0.0, sd, 1.0), offsets, out)
        return out.reshape(len(candidates.models), len(candidates)).T
