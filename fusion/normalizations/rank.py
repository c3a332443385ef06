"""Rank normalisation: the place in the list, on a scale of its length."""

from __future__ import annotations

import numpy as np

from fusion.candidates import Candidates
from fusion.normalizations.segments import FloatArray, ranks, sums
from fusion.protocols import Normalization

__all__ = ["Rank"]


class Rank(Normalization):
    """``1 - (rank - 1) / n`` over the ``n`` scores of a model in the query: from 1 down to ``1/n``.

    Only the order of the scores enters. Equal scores have different ranks, by item index, as
    everywhere in the project. A list of one item gives 1.

    Source: Lee, "Analyses of Multiple Evidence Combination", SIGIR 1997, section 4 ("Rank_Sim").
    """

    def normalize(self, candidates: Candidates) -> FloatArray:
        """(N, M) float64 in (0, 1]; NaN stays NaN."""
        place = ranks(candidates)
        out = np.empty(place.shape[::-1])
        for m, column in enumerate(place.T):
            n = np.maximum(sums(~np.isnan(column), candidates.offsets), 1.0)
            out[m] = 1.0 - (column - 1.0) / np.repeat(n, candidates.lengths)
        return out.T
