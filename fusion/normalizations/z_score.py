"""Z-score normalisation: zero mean, unit variance (ZMUV)."""

from __future__ import annotations

import numpy as np

from fusion.candidates import Candidates
from fusion.normalizations.rowwise import rowwise
from fusion.normalizations.segments import FloatArray, columns, sums
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
        offsets = candidates.offsets
        out = np.empty((len(candidates.models), len(candidates)))
        for column, scaled in zip(columns(candidates), out, strict=True):
            count = np.maximum(sums(~np.isnan(column), offsets), 1.0)
            # float64 holds the sum of equal float32 exactly: their mean is each, their sd is 0
            mean = sums(column, offsets) / count
            rowwise(np.subtract, column, mean, offsets, scaled)
            sd = np.sqrt(sums(np.square(scaled), offsets) / count)
            rowwise(np.divide, scaled, np.where(sd > 0.0, sd, 1.0), offsets, scaled)
        return out.T
