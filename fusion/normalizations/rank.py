"""Rank normalisation: the place in the list, on a scale of its length."""

from __future__ import annotations

import numpy as np

from fusion.candidates import Candidates
from fusion.normalizations.rowwise import rowwise
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
        out = ranks(candidates).T.astype(np.float64, order="C")
        for place in out:
            n = sums(~np.isnan(place), candidates.offsets)
            np.subtract(1.0, place, out=place)
            rowwise(np.divide, place, np.maximum(n, 1.0), candidates.offsets, place)
        out += 1.0
        return out.T
