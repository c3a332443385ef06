"""BayesFuse: the log-odds that a place is right, added as independent evidence."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from fusion.candidates import Candidates
from fusion.methods.base import MethodConfig
from fusion.methods.positions import (
    Lists,
    PlaceMethod,
    Places,
    by_segment,
    deepest,
    least_for_unseen,
    look_up,
    precision,
    rising,
)
from fusion.normalizations.segments import FloatArray

__all__ = ["BayesFuse", "BayesFuseConfig"]


class BayesFuseConfig(MethodConfig):
    """Settings of `BayesFuse`."""

    ends: Annotated[tuple[int, ...], AfterValidator(rising)] = Field(
        (5, 10, 15, 20, 30, 100, 200, 500, 1000),
        description="last place of each segment, rising; the cut-offs of trec_eval",
    )
    floor: float = Field(
        0.001,
        gt=0,
        lt=0.5,
        description="no probability is taken to be below this or above 1 less this, which keeps "
        "the log-odds finite; also the probability of what a model gave no score. 0.001 as in ranx",
    )


class BayesFuse(PlaceMethod):
    """``sum over models of weight * log(P / (1 - P))``, ``P = P(relevant | segment)``.

    Naive Bayes: given whether an item is relevant, the models' ranks are taken to be independent,
    so the log-odds that they speak for add up. The probability is the share of relevant items in
    a segment of places, averaged over the model's training lists (places that a list does not reach
    count as misses), and kept between ``floor`` and ``1 - floor``. A segment that no training list
    reached, and what lies after the last, gets the least that another segment got.

    Scores are mostly negative, and silence is evidence too: a missing score has the log-odds of
    ``floor``, no more than any place has (the method's own rule; ``missing: {cold: prior}`` learns
    the number instead, which is fairer to items that a model cannot know).

    Inputs: ranks only.
    Requirements: out-of-window scores with labels.
    Relations: the segments of `fusion.methods.seg_fuse.SegFuse`, at other places, without scores.

    Source: Aslam and Montague, "Models for Metasearch", SIGIR 2001: Bayes-fuse. Their odds are
    ``P(rank | relevant) / P(rank | not relevant)``, which differ by the prior odds of relevance:
    one constant for every item. The weights and ``floor`` are ours.

    Example, in YAML::

        fusion: {mode: parallel, method: {name: bayes_fuse, floor: 0.0001}}
    """

    Config = BayesFuseConfig

    def learn(self, lists: Lists) -> FloatArray:
        """(segments,) the log-odds of each, all finite."""
        return self._log_odds(least_for_unseen(precision(lists, self.config.ends)))

    def at(self, place: Places, table: FloatArray, candidates: Candidates) -> FloatArray:
        """(N,) float64: the log-odds of each row's segment."""
        return look_up(by_segment(table, self.config.ends, deepest(candidates)), place)

    def settle(self, worth: FloatArray, candidates: Candidates) -> None:
        """The log-odds of ``floor`` where there is still no worth."""
        np.copyto(worth, self._log_odds(np.zeros(1)), where=np.isnan(worth))

    def _log_odds(self, probability: FloatArray) -> FloatArray:
        kept = np.clip(probability, self.config.floor, 1.0 - self.config.floor)
        odds: FloatArray = np.log(kept / (1.0 - kept))
        return odds
