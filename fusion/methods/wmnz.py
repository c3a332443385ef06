"""WMNZ: CombMNZ in which the models are counted by their weights."""

from __future__ import annotations

import numpy as np

from fusion.methods.base import ScoreMethod
from fusion.methods.voices import emphasised, muted, present_weight
from fusion.normalizations.segments import FloatArray

__all__ = ["WMNZ"]


class WMNZ(ScoreMethod):
    """``(sum of the weights of the models giving a score) * (sum of their normalised scores)``.

    The weights stand in the count alone, not in the sum: to what a row scores, a heavy model adds
    no more than a light one, but who has its word rises. All 1 gives CombMNZ. A missing score adds
    nothing and is not counted; a model of weight 0 is not there.

    Source: Wu and Crestani, "Data Fusion with Estimated Weights", CIKM 2002.
    """

    monotone = True

    def combine(self, worth: FloatArray, weights: FloatArray) -> FloatArray:
        """(M, N) float64: the weights of the row's models times ``worth``, 0 for NaN."""
        worth = muted(worth, weights)
        return emphasised(worth, np.ones(len(weights)), present_weight(worth, weights))
