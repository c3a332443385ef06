"""CombMNZ: the sum of the scores times how many models gave one."""

from __future__ import annotations

from fusion.methods.base import ScoreMethod
from fusion.methods.voices import emphasised, heard
from fusion.normalizations.segments import FloatArray

__all__ = ["CombMNZ"]


class CombMNZ(ScoreMethod):
    """``n * sum over models of weight * normalised score``, with ``n`` models giving a score.

    A missing score adds nothing and is not counted, whatever its reason: rewarding agreement is
    the method's whole point. Where every model scores every candidate, ``n`` is the same for all
    and the order is that of the weighted sum. A model of weight 0 is not counted either.

    With scores that may be negative (`ZScore`) agreement on a bad item is punished more than a
    single voice; that is the formula, not a fault.

    Source: Fox and Shaw, "Combination of Multiple Searches", TREC-2 1994. The weights are ours; all
    1 gives the paper's.
    """

    monotone = True

    def combine(self, worth: FloatArray, weights: FloatArray) -> FloatArray:
        """(M, N) float64: ``n * weight * worth``, 0 for NaN."""
        return emphasised(worth, weights, heard(worth, weights))
