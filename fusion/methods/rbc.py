"""Rank-biased centroids."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from fusion.candidates import Candidates
from fusion.methods.base import MethodConfig, WorthMethod
from fusion.normalizations.segments import FloatArray, ranks

__all__ = ["RBC", "RBCConfig"]


class RBCConfig(MethodConfig):
    """Settings of `RBC`."""

    phi: float = Field(
        0.9,
        gt=0,
        lt=1,
        description="persistence: the chance that a reader of a list goes on to the next item; "
        "1 / (1 - phi) items are read on average",
    )


class RBC(WorthMethod):
    """``sum over models of weight * (1 - phi) * phi ** (rank - 1)``.

    What a reader sees who leafs through each list and may stop after any item. The worth of a rank
    falls geometrically, where RRF's falls slowly: with a small ``phi`` only the top counts. A
    missing score adds nothing.

    Source: Bailey, Moffat, Scholer and Thomas, "Retrieval Consistency in the Presence of Query
    Variations", SIGIR 2017, section 4. The weights are ours; all 1 gives the paper's. The default
    of ``phi`` is ours: ten items read on average, the length of a usual recommendation list.
    """

    Config = RBCConfig
    by_rank = True
    monotone = True

    def worth(self, candidates: Candidates) -> FloatArray:
        """(M, N) float64, each in [0, 1 - phi]."""
        place = ranks(candidates)
        deepest = int(candidates.lengths.max(initial=0))
        # one power for each rank there can be, and one lookup for each row
        table = np.full(deepest + 1, np.nan)
        table[1:] = (1.0 - self.config.phi) * self.config.phi ** np.arange(deepest)
        worth: FloatArray = table[np.nan_to_num(place.T, nan=0.0).astype(np.intp)]
        return worth
