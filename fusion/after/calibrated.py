"""Calibrated recommendations: a list with the proportions of the user's history."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.after.aspects import aspects_of
from fusion.after.reordering import PoolConfig, Reordering
from fusion.after.scale import min_max
from fusion.after.step import StepContext
from fusion.data.dataset import Catalog
from fusion.data.fields import FieldValues, values_of

__all__ = ["Calibrated", "CalibratedConfig", "divergence", "greedy_calibrated"]

#: share of the history's distribution in the list's, so that no divergence is infinite (Steck's)
SMOOTHING = 0.01


class CalibratedConfig(PoolConfig):
    """Options of `Calibrated`."""

    field: str = Field("categories", description="the item field whose proportions are kept")
    trade_off: float = Field(
        0.5, ge=0, le=1, description="weight of relevance; 1 = relevance only, 0 = calibration only"
    )
    half_life: float | None = Field(
        None, gt=0, description="events after which a past event counts half; null = all alike"
    )


class Calibrated(Reordering):
    """Greedy search for the list of the highest ``trade_off * sum s - (1 - trade_off) * KL``.

    ``s`` is the fused score by min-max over the pool, ``KL(p || q')`` the divergence of the list's
    distribution over the field's values from the history's ``p`` (`divergence`). An item with
    several values gives each an equal share. A history without any value changes nothing.

    Source: Steck, "Calibrated recommendations", RecSys 2018 (sections 3 and 4; his lambda is
    ``1 - trade_off``). The min-max scale and the default are ours.
    """

    Config: ClassVar[type[CalibratedConfig]] = CalibratedConfig

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
        past, own = aspects_of(items, q, context, self.config.half_life)
        if past.sum() == 0:
            return np.arange(n)
        return greedy_calibrated(min_max(scores), own, past, self.config.trade_off, n)


def divergence(
    past: npt.NDArray[np.float64], lists: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(R,) float64, nats: ``KL(p || (1 - a) q + a p)`` with ``a = 0.01``; 0 = the same shares.

    Args:
        past: (G,) float64, ``p``, of sum 1.
        lists: (R, G) float64, ``q`` of each list, of sum 1 (or 0 where it has no value).

    >>> divergence(np.array([0.5, 0.5]), np.array([[0.5, 0.5], [1.0, 0.0]])).round(3).tolist()
    [0.0, 1.959]
    """
    some = past > 0
    mixed = (1 - SMOOTHING) * lists[:, some] + SMOOTHING * past[some]
    return np.asarray((past[some] * np.log(past[some] / mixed)).sum(axis=1))


def greedy_calibrated(
    relevance: npt.NDArray[np.float64],
    own: npt.NDArray[np.float64],
    past: npt.NDArray[np.float64],
    weight: float,
    n: int,
) -> npt.NDArray[np.int64]:
    """(n,) places in the order of picking.

    Args:
        relevance: (P,) float64.
        own: (P, G) float64: each item's shares; a row's sum is 1 or 0.
        past: (G,) float64, of sum 1.
        weight: of relevance, 0..1.
        n: at most P.
    """
    total = np.zeros(own.shape[1])
    picked = np.empty(n, np.int64)
    for step in range(n):
        lists = total + own
        lists /= np.maximum(lists.sum(axis=1, keepdims=True), 1)
        gain = weight * relevance - (1 - weight) * divergence(past, lists)
        gain[picked[:step]] = -np.inf
        picked[step] = np.argmax(gain)
        total += own[picked[step]]
    return picked
