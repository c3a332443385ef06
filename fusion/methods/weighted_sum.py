"""Weighted sum of normalised scores, with a stated rule for the missing ones."""

from __future__ import annotations

from pydantic import Field

from fusion.methods.base import ScoreConfig, ScoreMethod
from fusion.missing import CensoredPolicy

__all__ = ["WeightedSum", "WeightedSumConfig"]


class WeightedSumConfig(ScoreConfig):
    """Settings of `WeightedSum`."""

    missing: CensoredPolicy = Field(
        default_factory=CensoredPolicy,
        description="what stands for a score that is missing, a rule for each reason",
    )


class WeightedSum(ScoreMethod):
    """``sum over models of weight * normalised score``.

    A score is missing for a reason, and the reason decides (`fusion.missing.MissingPolicy`). By
    default:

    - not retrieved: the model is asked for it.
    - filtered, timed out: the model was cut short among the less promising items, so its score is
      taken to be no better than the lowest it gave in the query, and that one stands in
      (``lowest``; the value is censored, not unknown). ``nan`` adds nothing instead, which on a
      scale with negative numbers *raises* an item above the model's worst.
    - cold: the model cannot know the item or the user, so it says nothing (``nan``).
    - a model without a single score in the query adds nothing to any item of it.

    With `MinMax` or `Rank`, raising one model's score of an item never lowers the item; `ZScore`
    does not promise it (an outlier widens the scale that it stands on).

    Source: Fox and Shaw, "Combination of Multiple Searches", TREC-2 1994 (CombSUM), with weights.
    """

    Config = WeightedSumConfig
    monotone = True
