"""Boosts: items that meet a condition gain (or lose) score."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from fusion.after.conditions import Condition, all_hold
from fusion.after.reordering import PoolConfig
from fusion.after.step import Phase, Ranking, Step, StepContext
from fusion.data.dataset import Catalog
from fusion.ragged import segment_rank

__all__ = ["Boost", "BoostConfig"]


class BoostConfig(PoolConfig):
    """Options of `Boost`: exactly one of ``add`` and ``multiply``."""

    where: tuple[Condition, ...] = Field(
        min_length=1, description="conditions that an item must meet, each of them"
    )
    add: float | None = Field(
        None,
        description="so many standard deviations of the query's fused scores over the pool; "
        "negative = demote",
    )
    multiply: float | None = Field(
        None,
        ge=0,
        description="factor on the score's height above the lowest of the pool; below 1 = demote",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.add is None) == (self.multiply is None):
            raise ValueError("a boost needs exactly one of add and multiply")
        return self


class Boost(Step):
    """Changes the fused score of the pool's items that meet the conditions, and sorts again.

    With the scores ``s`` of the query's first ``pool`` items (``sd`` their population standard
    deviation, 1 where they are equal; ``low`` the lowest)::

        add:       s' = s + add * sd
        multiply:  s' = low + (s - low) * multiply

    Neither depends on the scale of the fusion's scores or on their zero, so a setting means the
    same for every fusion. The difference stands among the contributions as ``boost``. Items beyond
    the pool stay as they are.
    """

    Config: ClassVar[type[BoostConfig]] = BoostConfig
    phase = Phase.BOOST

    def depth(self, k: int) -> int:
        """At least ``pool``."""
        return max(k, int(self.config.pool))

    def bind(self, catalog: Catalog) -> npt.NDArray[np.bool_]:
        """(I,) bool: the items that meet the conditions."""
        return all_hold(self.config.where, catalog, self.name)

    def apply(self, ranking: Ranking, context: StepContext) -> Ranking:
        """By the new scores; equal ones are ordered by item index."""
        inside = ranking.places <= max(int(self.config.pool), context.wanted)
        met = inside & context.bound[ranking.items]
        if not met.any():
            return ranking
        scores = ranking.scores.copy()
        for q in np.unique(ranking.queries[met]).tolist():
            own = slice(int(ranking.offsets[q]), int(ranking.offsets[q + 1]))
            pool = ranking.scores[own][inside[own]]
            if self.config.add is not None:
                scores[own][met[own]] += self.config.add * (np.std(pool) or 1.0)
            else:
                low = pool.min()
                scores[own][met[own]] = low + (scores[own][met[own]] - low) * self.config.multiply
        order, _ = segment_rank(ranking.offsets, (ranking.items, -scores))
        out = replace(ranking, scores=scores).take(order, ranking.lengths)
        words = " and ".join(map(str, self.config.where))
        where = zip(ranking.queries[met].tolist(), ranking.items[met].tolist(), strict=True)
        return out.noted(where, f"{context.label}: {words}")
