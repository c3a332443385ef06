"""CombANZ: the mean of the scores that there are."""

from __future__ import annotations

import numpy as np

from fusion.methods.base import ScoreMethod
from fusion.methods.voices import present_weight
from fusion.normalizations.segments import FloatArray

__all__ = ["CombANZ"]


class CombANZ(ScoreMethod):
    """``sum of weight * normalised score / sum of weight``, over the models giving a score.

    A missing score is left out of the mean, so one good word alone beats two middling ones. A row
    without any score gets 0.

    Source: Fox and Shaw, "Combination of Multiple Searches", TREC-2 1994. The weights are ours; all
    1 gives the paper's.
    """

    monotone = True

    def combine(self, worth: FloatArray, weights: FloatArray) -> FloatArray:
        """(M, N) float64: ``weight * worth`` over the weights of the row's models, 0 for NaN."""
        whole = present_weight(worth, weights)
        parts = super().combine(worth, weights)
        np.divide(parts, whole, out=parts, where=whole > 0)
        return parts
