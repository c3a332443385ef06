"""Mixed fusion: between CombSUM and CombMNZ."""

from __future__ import annotations

import numpy as np

from fusion.methods.base import ScoreMethod
from fusion.methods.voices import emphasised, heard
from fusion.normalizations.segments import FloatArray

__all__ = ["Mixed"]


class Mixed(ScoreMethod):
    """``sqrt(n) * sum over models of weight * normalised score``, ``n`` models giving a score.

    That is `CombGMNZ` with ``gamma`` of 1/2. A missing score adds nothing and is not counted; a
    model of weight 0 is not counted either.

    Source: Wu and Crestani, "Data Fusion with Estimated Weights", CIKM 2002. The weights are the
    paper's.
    """

    monotone = True

    def combine(self, worth: FloatArray, weights: FloatArray) -> FloatArray:
        """(M, N) float64: ``sqrt(n) * weight * worth``, 0 for NaN."""
        return emphasised(worth, weights, np.sqrt(heard(worth, weights)))
