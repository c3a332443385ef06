"""CombSUM: the sum of the scores."""

from __future__ import annotations

from fusion.methods.base import ScoreMethod

__all__ = ["CombSUM"]


class CombSUM(ScoreMethod):
    """``sum over models of weight * normalised score``.

    A missing score adds nothing. `fusion.methods.weighted_sum.WeightedSum` is the same sum with
    another default for scores that are missing.

    Source: Fox and Shaw, "Combination of Multiple Searches", TREC-2 1994. The weights are ours; all
    1 gives the paper's.
    """

    monotone = True
