"""CombMIN: the worst of the scores."""

from __future__ import annotations

import numpy as np

from fusion.methods.comb_max import CombMAX
from fusion.normalizations.segments import FloatArray

__all__ = ["CombMIN"]


class CombMIN(CombMAX):
    """``min over models of normalised score / weight``; a score below 0 is times the weight.

    `CombMAX` upside down: what is best here is that even the severest model does not object. A
    heavier model's scores count as lower, so it is more often the one that decides, and a weight
    near 0 is near to a model that is not there. A missing score does not take part; a row without
    any score gets 0.

    Contributions: the score belongs to the model that gave it, in equal parts if several did.

    Source: Fox and Shaw, "Combination of Multiple Searches", TREC-2 1994. The weights are ours; all
    1 gives the paper's.
    """

    def merge(self, worth: FloatArray, weights: FloatArray) -> FloatArray:
        """(N,) float64: the worst of each row."""
        return 0.0 - super().merge(np.negative(worth, out=worth), weights)  # never -0.0

    def combine(self, worth: FloatArray, weights: FloatArray) -> FloatArray:
        """(M, N) float64: the worst of each row, where it came from."""
        return 0.0 - super().combine(np.negative(worth, out=worth), weights)
