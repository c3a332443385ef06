"""What steps share that choose an order for the first items of each list."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.after.step import Ranking, Step, StepContext
from fusion.protocols import ComponentConfig

__all__ = ["Pick", "PoolConfig", "Reordering", "reordered"]

#: scores (P,), items (P,), query, how many -> places (n,) int64 and their probabilities (n,)
Pick = Callable[
    [npt.NDArray[np.float64], npt.NDArray[np.int32], int, int],
    tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]],
]


class PoolConfig(ComponentConfig):
    """What steps have that look beyond the list that is shown."""

    pool: int = Field(
        100, ge=1, description="how many of the first fused items it looks at, at least"
    )


class Reordering(Step):
    """A step that picks the first places out of the pool, query by query.

    What it does not pick keeps its order behind. Scores stay as they are, so they need not fall.
    An item from beyond the first ``k`` gets a note that says where it came from.
    """

    Config: ClassVar[type[PoolConfig]] = PoolConfig

    def depth(self, k: int) -> int:
        """At least ``pool``."""
        return max(k, int(self.config.pool))

    @abstractmethod
    def pick(
        self,
        scores: npt.NDArray[np.float64],
        items: npt.NDArray[np.int32],
        q: int,
        n: int,
        context: StepContext,
    ) -> npt.NDArray[np.int64]:
        """(n',) places of the pool in their new order, ``n' <= n``.

        Args:
            scores: (P,) float64, in the order of the pool; NaN = an inserted item.
            items: (P,) int32 item_index.
            q: the query.
            n: how many to pick, at most P.
            context: of the whole batch.
        """

    def apply(self, ranking: Ranking, context: StepContext) -> Ranking:
        """The picks of each query first."""

        def pick(
            scores: npt.NDArray[np.float64], items: npt.NDArray[np.int32], q: int, n: int
        ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
            picked = self.pick(scores, items, q, n, context)
            return picked, np.ones(len(picked))

        size = max(int(self.config.pool), context.wanted)
        return reordered(ranking, context, size, context.wanted, pick)


def reordered(ranking: Ranking, context: StepContext, size: int, n: int, pick: Pick) -> Ranking:
    """``ranking`` with the picks of each query's first ``size`` items before the others.

    Args:
        ranking: of the batch.
        context: its ``k`` and ``label`` are for the notes.
        size: how many items may be picked from.
        n: how many to pick.
        pick: ``pick(scores, items, q, n)`` gives places in their new order, and the probability of
            each.
    """
    order = np.arange(len(ranking), dtype=np.int64)
    propensities = ranking.propensities.copy()
    moved: dict[int, list[tuple[int, int]]] = {}
    for q in range(len(ranking.offsets) - 1):
        start, stop = int(ranking.offsets[q]), int(ranking.offsets[q + 1])
        pool = slice(start, min(stop, start + size))
        items = ranking.items[pool]
        if len(items) < 2:
            continue
        picked, chances = pick(ranking.scores[pool], items, q, min(n, len(items)))
        left = np.ones(len(items), bool)
        left[picked] = False
        order[pool] = start + np.concatenate([picked, np.flatnonzero(left)])
        propensities[start + picked] *= chances
        for place in picked[: context.k][picked[: context.k] >= context.k].tolist():
            moved.setdefault(place + 1, []).append((q, int(items[place])))
    out = replace(ranking, propensities=propensities).take(order, ranking.lengths)
    for place, where in moved.items():
        out = out.noted(where, f"{context.label}: from place {place}")
    return out
