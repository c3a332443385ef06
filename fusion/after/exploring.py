"""What exploring steps share: places drawn at random, with the probability of each draw.

The probability logged for a place is that of its item given the items of the places before it. The
probability of the whole list is their product; one over it weighs a logged list in off-policy
evaluation.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.after.reordering import PoolConfig, reordered
from fusion.after.step import Phase, Ranking, Step, StepContext

__all__ = ["Drawn", "Exploring", "ExploringConfig"]

#: places (n,) int64 in their new order, and the probability (n,) float64 of each
Drawn = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


class ExploringConfig(PoolConfig):
    """What every exploring step has."""

    keep: int = Field(0, ge=0, description="so many first places are left as they are")


class Exploring(Step):
    """Draws the places ``keep + 1`` to ``k`` from the pool; what is not drawn follows in order."""

    Config: ClassVar[type[ExploringConfig]] = ExploringConfig
    phase = Phase.EXPLORE

    def depth(self, k: int) -> int:
        """At least ``pool``."""
        return max(k, int(self.config.pool))

    @abstractmethod
    def draw(self, scores: npt.NDArray[np.float64], n: int, rng: np.random.Generator) -> Drawn:
        """Draw ``n`` places out of those of ``scores`` (P,), best first, ``n <= P``."""

    def apply(self, ranking: Ranking, context: StepContext) -> Ranking:
        """The draws of each query first, with their propensities."""

        def pick(
            scores: npt.NDArray[np.float64], items: npt.NDArray[np.int32], q: int, n: int
        ) -> Drawn:
            kept = min(int(self.config.keep), n)
            places, chances = self.draw(scores[kept:], n - kept, context.generator(q))
            return (
                np.concatenate([np.arange(kept), kept + places]),
                np.concatenate([np.ones(kept), chances]),
            )

        size = max(int(self.config.pool), context.k)
        return reordered(ranking, context, size, context.k, pick)
