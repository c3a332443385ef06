"""PosFuse: how often each place of a list is right."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from fusion.candidates import Candidates
from fusion.methods.base import MethodConfig
from fusion.methods.positions import Lists, PlaceMethod, Places, deepest, look_up
from fusion.normalizations.segments import FloatArray

__all__ = ["PosFuse", "PosFuseConfig"]


class PosFuseConfig(MethodConfig):
    """Settings of `PosFuse`."""

    pseudo_count: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="as if each place had been seen so many times more and been right as often as "
        "the model's average place; steadies the estimates from few queries. 0 is the paper's",
    )


class PosFuse(PlaceMethod):
    """``sum over models of weight * P(relevant | place)``.

    The probability is estimated for each model and place: relevant items there, divided by the
    training queries in which the model's list reached the place. A place deeper than any seen gets
    the least that a place of this model got; a missing score adds nothing.

    Inputs: ranks only.
    Requirements: out-of-window scores with labels. Each place has one estimate of its own, so the
    estimates are rough: at 1,000 queries a rate of 1 % is known to +- 0.6 % at best.
    Relations: `fusion.methods.slide_fuse.SlideFuse` averages neighbouring places.

    Source: Lillis, Zhang, Toolan, Collier, Leonard and Dunnion, "Estimating Probabilities for
    Effective Data Fusion", SIGIR 2010. The weights, the pseudo-count and the rule for deeper places
    are ours; 1 and 0 give the paper's.

    Example, in YAML::

        fusion: {mode: parallel, method: {name: pos_fuse, pseudo_count: 10}}
    """

    Config = PosFuseConfig

    def learn(self, lists: Lists) -> FloatArray:
        """(D,) the probability at each place from the first to the deepest seen."""
        seen, hits = lists.at_places()
        if not len(seen):
            return seen
        pseudo = self.config.pseudo_count
        rates: FloatArray = (hits + pseudo * hits.sum() / seen.sum()) / (seen + pseudo)
        return rates

    def at(self, place: Places, table: FloatArray, candidates: Candidates) -> FloatArray:
        """(N,) float64: the probability of each row's place."""
        return look_up(self.curve(table, deepest(candidates)), place)

    def curve(self, table: FloatArray, depth: int) -> FloatArray:
        """(depth,) the probabilities, the least of them beyond the deepest seen; 0 without any."""
        out = np.full(depth, table.min() if len(table) else 0.0)
        out[: len(table)] = table[:depth]
        return out
