"""Weighted sum of normalised scores, with a stated rule for the missing ones."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from fusion.candidates import Candidates, Missing
from fusion.methods.spec import NormalizationSpec
from fusion.normalizations.segments import FloatArray, extremes
from fusion.protocols import ComponentConfig, Method

__all__ = ["WeightedSum", "WeightedSumConfig", "impute_lowest"]


class WeightedSumConfig(ComponentConfig):
    """Settings of `WeightedSum`."""

    normalization: NormalizationSpec = Field(
        default_factory=lambda: NormalizationSpec(name="min_max"),
        description="puts the models on one scale",
        json_schema_extra={"default": "min_max"},
    )
    missing: Literal["lowest", "omit"] = Field(
        "lowest",
        description="what a model says of an item that it gave no score while it scored others of "
        "the query: the lowest it gave there, or nothing; an item it cannot know is always omitted",
    )


class WeightedSum(Method):
    """``sum over models of weight * normalised score``.

    A score is missing for a reason, and the reason decides (`missing`):

    - not retrieved, filtered, timed out: the model chose other items, or was cut short among the
      less promising ones, so its score is taken to be no better than the lowest it gave in the
      query, and that one stands in (``lowest``; the value is censored, not unknown). ``omit`` adds
      nothing instead, which on a scale with negative numbers *raises* an item above the model's
      worst.
    - cold: the model cannot know the item or the user, so it says nothing: always omitted.
    - a model without a single score in the query adds nothing to any item of it.

    With `MinMax` or `Rank`, raising one model's score of an item never lowers the item; `ZScore`
    does not promise it (an outlier widens the scale that it stands on).

    Source: Fox and Shaw, "Combination of Multiple Searches", TREC-2 1994 (CombSUM), with weights.
    """

    Config = WeightedSumConfig

    def __init__(self, config: object = None, *, name: str | None = None) -> None:
        super().__init__(config, name=name)  # type: ignore[arg-type]
        self._normalization = self.config.normalization.build()

    def contributions(self, candidates: Candidates, weights: FloatArray) -> FloatArray:
        """(N, M) float64: ``weight * normalised score``."""
        scores: FloatArray = self._normalization.normalize(candidates)
        if self.config.missing == "lowest":
            impute_lowest(scores, candidates)
        out = np.empty(scores.shape[::-1])
        for m, weight in enumerate(weights):
            out[m] = np.where(np.isnan(scores[:, m]), 0.0, scores[:, m] * weight)
        return out.T


def impute_lowest(scores: FloatArray, candidates: Candidates) -> None:
    """Replace NaN in ``scores`` (N, M), in place, by the lowest of its column in the query.

    Cold entries stay NaN, and so does a column without a number in the query. Where all numbers of
    a column in the query are equal, they tell only listed from not listed: the not listed get 0,
    or that number if it is lower, lest a list of one item say the same of every item.
    """
    for m, column in enumerate(scores.T):
        why = candidates.why[:, m]
        censored = (why != Missing.PRESENT) & (why != Missing.COLD)
        if censored.any():
            low, high = extremes(column, candidates.offsets)
            floor = np.where(low == high, np.minimum(low, 0.0), low)
            np.copyto(column, np.repeat(floor, candidates.lengths), where=censored)
