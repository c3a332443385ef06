"""Maximal marginal relevance."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.after.reordering import Reordering
from fusion.after.scale import min_max
from fusion.after.similarity import SimilarityConfig, bind_similarity, similarity
from fusion.after.step import StepContext
from fusion.data.dataset import Catalog
from fusion.data.fields import FieldValues

__all__ = ["MMR", "MMRConfig", "greedy_mmr"]


class MMRConfig(SimilarityConfig):
    """Options of `MMR`."""

    trade_off: float = Field(
        0.7, ge=0, le=1, description="weight of relevance; 1 = relevance only, 0 = diversity only"
    )


class MMR(Reordering):
    """One item after the other, by ``trade_off * relevance - (1 - trade_off) * max similarity``.

    Relevance is the fused score by min-max over the pool; the maximum runs over the items picked
    so far, and is 0 for the first place. Of equal items the first in the ranking is picked.

    Source: Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering
    documents and producing summaries", SIGIR 1998. The min-max scale and the default are ours.
    """

    Config: ClassVar[type[MMRConfig]] = MMRConfig

    def bind(self, catalog: Catalog) -> FieldValues | None:
        """The values of the field."""
        return bind_similarity(self.config.field, catalog, self.name)

    def pick(
        self,
        scores: npt.NDArray[np.float64],
        items: npt.NDArray[np.int32],
        q: int,
        n: int,
        context: StepContext,
    ) -> npt.NDArray[np.int64]:
        """See `Reordering.pick`."""
        weight = self.config.trade_off
        if weight == 1:
            return np.arange(n)
        return greedy_mmr(min_max(scores), similarity(items, context), weight, n)


def greedy_mmr(
    relevance: npt.NDArray[np.float64],
    alike: npt.NDArray[np.float64],
    weight: float,
    n: int,
) -> npt.NDArray[np.int64]:
    """(n,) places in the order of picking.

    Args:
        relevance: (P,) float64.
        alike: (P, P) float64.
        weight: of relevance, 0..1.
        n: at most P.
    """
    worth = weight * relevance
    nearest = np.full(len(relevance), -np.inf)
    picked = np.empty(n, np.int64)
    for step in range(n):
        gain = worth - (1 - weight) * nearest if step else worth.copy()
        gain[picked[:step]] = -np.inf
        picked[step] = np.argmax(gain)
        np.maximum(nearest, alike[picked[step]], out=nearest)
    return picked
