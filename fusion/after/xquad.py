"""xQuAD: cover the aspects that the user cares for."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.after.aspects import aspects_of
from fusion.after.reordering import PoolConfig, Reordering
from fusion.after.scale import softmax, z_score
from fusion.after.step import StepContext
from fusion.data.dataset import Catalog
from fusion.data.fields import FieldValues, values_of

__all__ = ["XQuAD", "XQuADConfig", "greedy_xquad"]

#: below any share; it only keeps 0 / 0 out where no item has an aspect
_TINY = 1e-300


class XQuADConfig(PoolConfig):
    """Options of `XQuAD`."""

    field: str = Field("categories", description="the item field whose values are the aspects")
    trade_off: float = Field(
        0.5, ge=0, le=1, description="weight of relevance; 1 = relevance only, 0 = coverage only"
    )
    half_life: float | None = Field(
        None, gt=0, description="events after which a past event counts half; null = all alike"
    )


class XQuAD(Reordering):
    """One item after the other, by relevance and by the aspects that the list does not cover yet.

    ::

        trade_off * P(d|q) + (1 - trade_off) * sum_a P(a|q) P(d|a) prod_{j picked} (1 - P(j|a))

    ``P(d|q)`` is the softmax of the fused score's z-score over the pool; ``P(a|q)`` the share of
    the value ``a`` in the history (even over the pool's values where the history has none of
    them); ``P(d|a)`` is ``P(d|q)`` among the pool's items with the value, by Bayes' rule.

    Source: Santos, Macdonald and Ounis, "Exploiting query reformulations for web search result
    diversification", WWW 2010 (section 3; their weight is ``1 - trade_off``). History in
    the place of query reformulations follows Vargas, Castells and Vallet, "Intent-oriented
    diversity in recommender systems", SIGIR 2011. The softmax is ours.
    """

    Config: ClassVar[type[XQuADConfig]] = XQuADConfig

    def bind(self, catalog: Catalog) -> FieldValues:
        """The values of the field."""
        return values_of(catalog, self.config.field, self.name)

    def pick(
        self,
        scores: npt.NDArray[np.float64],
        items: npt.NDArray[np.int32],
        q: int,
        n: int,
        context: StepContext,
    ) -> npt.NDArray[np.int64]:
        """See `Reordering.pick`."""
        if self.config.trade_off == 1:
            return np.arange(n)
        wanted, own = aspects_of(items, q, context, self.config.half_life)
        has = own > 0
        there = has.any(axis=0).astype(np.float64)
        among = wanted * there
        raw = among if among.any() else there
        share = np.asarray(raw / max(float(raw.sum()), _TINY))
        relevance = softmax(z_score(scores))
        return greedy_xquad(relevance, has, share, self.config.trade_off, n)


def greedy_xquad(
    relevance: npt.NDArray[np.float64],
    has: npt.NDArray[np.bool_],
    wanted: npt.NDArray[np.float64],
    weight: float,
    n: int,
) -> npt.NDArray[np.int64]:
    """(n,) places in the order of picking.

    Args:
        relevance: (P,) float64, ``P(d|q)``.
        has: (P, G) bool: which aspects an item has.
        wanted: (G,) float64, ``P(a|q)``.
        weight: of relevance, 0..1.
        n: at most P.
    """
    within = has * relevance[:, None]
    total = within.sum(axis=0)
    within /= np.where(total > 0, total, 1.0)  # (P, G): P(d|a)
    uncovered = wanted.copy()
    picked = np.empty(n, np.int64)
    for step in range(n):
        gain = weight * relevance + (1 - weight) * (within @ uncovered)
        gain[picked[:step]] = -np.inf
        picked[step] = np.argmax(gain)
        uncovered *= 1 - within[picked[step]]
    return picked
