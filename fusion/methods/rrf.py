"""Reciprocal rank fusion."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from fusion.candidates import Candidates
from fusion.methods.base import MethodConfig, WorthMethod
from fusion.normalizations.segments import FloatArray, ranks

__all__ = ["RRF", "RRFConfig"]


class RRFConfig(MethodConfig):
    """Settings of `RRF`."""

    k: float = Field(
        60.0,
        ge=0,
        allow_inf_nan=False,
        description="how slowly the worth of a rank falls; 60 is the paper's, set in a pilot study",
    )


class RRF(WorthMethod):
    """``sum over models of weight / (k + rank)``.

    A model without a score for the item adds nothing, whatever the reason. Only ranks enter: a
    monotone change of a model's scores changes nothing, and raising an item's score never lowers
    it.

    Source: Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and
    individual Rank Learning Methods", SIGIR 2009. The weights are ours; all 1 gives the paper's.

    Example:
        >>> import numpy as np
        >>> from fusion.candidates import Candidates
        >>> lists = Candidates.single(
        ...     "a", np.array([0, 2]), np.arange(2, dtype=np.int32), np.float32([1, 9])
        ... )
        >>> RRF().contributions(lists, np.ones(1)).ravel().tolist() == [1 / 62, 1 / 61]
        True
    """

    Config = RRFConfig
    by_rank = True
    monotone = True

    def worth(self, candidates: Candidates) -> FloatArray:
        """(M, N) float64, each in (0, 1 / (k + 1)]."""
        place = ranks(candidates).T.astype(np.float64)
        place += self.config.k
        return np.divide(1.0, place, out=place)
