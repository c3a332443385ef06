"""CombMAX: the best of the scores."""

from __future__ import annotations

import numpy as np

from fusion.methods.base import ScoreMethod
from fusion.methods.voices import muted, shared
from fusion.normalizations.segments import FloatArray

__all__ = ["CombMAX", "stretched"]


class CombMAX(ScoreMethod):
    """``max over models of weight * normalised score``; a score below 0 is divided by the weight.

    So a heavier model is more often the one that decides, and a weight near 0 is near to a model
    that is not there. A missing score does not take part; a row without any score gets 0.

    Contributions: the score belongs to the model that gave it, in equal parts if several did.

    Source: Fox and Shaw, "Combination of Multiple Searches", TREC-2 1994. The weights are ours; all
    1 gives the paper's.
    """

    monotone = True

    def merge(self, worth: FloatArray, weights: FloatArray) -> FloatArray:
        """(N,) float64: the best of each row."""
        return _best(stretched(worth, weights))

    def combine(self, worth: FloatArray, weights: FloatArray) -> FloatArray:
        """(M, N) float64: the best of each row, where it came from."""
        values = stretched(worth, weights)
        best = _best(values)
        return shared(best, values == best)


def stretched(worth: FloatArray, weights: FloatArray) -> FloatArray:
    """(M, N): ``worth`` times the weight above 0, by the weight below; NaN where that is 0."""
    if (weights == 1.0).all():
        return worth
    factor = np.where(weights > 0, weights, 1.0)[:, None]
    up = worth * factor
    np.divide(worth, factor, out=up, where=worth < 0)
    return muted(up, weights)


def _best(values: FloatArray) -> FloatArray:
    best = values[0].copy() if len(values) else np.zeros(values.shape[1])
    for column in values[1:]:
        np.fmax(best, column, out=best)  # passes over NaN
    np.copyto(best, 0.0, where=np.isnan(best))
    return best
