"""Determinantal point process: the list whose items span the most."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.after.reordering import Reordering
from fusion.after.scale import z_score
from fusion.after.similarity import SimilarityConfig, bind_similarity, similarity
from fusion.after.step import StepContext
from fusion.data.dataset import Catalog
from fusion.data.fields import FieldValues

__all__ = ["DPP", "DPPConfig", "greedy_map"]

#: a residual below this is rounding: the item lies in the span of those picked
_NOTHING_LEFT = 1e-10


class DPPConfig(SimilarityConfig):
    """Options of `DPP`."""

    trade_off: float = Field(
        0.7, ge=0, le=1, description="weight of relevance; 1 = relevance only, 0 = diversity only"
    )
    ridge: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of the identity in the similarity; above 0, items with the same values "
        "can stand in one list",
    )


class DPP(Reordering):
    """Greedy search for the list of the highest ``log det`` of the kernel ``L``.

    ``L = diag(w) S diag(w)`` with the similarity ``S`` (mixed with ``ridge`` of the identity) and
    ``w = exp(alpha * r)``, ``r`` the fused score by z-score over the pool, ``alpha = trade_off /
    (2 (1 - trade_off))``. So the list maximises ``trade_off * sum r + (1 - trade_off) * log det
    S``. Where the pool spans no more, what is left follows in its old order.

    Source: Chen, Zhang and Zhou, "Fast greedy MAP inference for determinantal point process to
    improve recommendation diversity", NeurIPS 2018 (algorithm 1, and their trade-off theta). The
    z-score, the ridge and the default are ours.
    """

    Config: ClassVar[type[DPPConfig]] = DPPConfig

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
        weight, ridge = self.config.trade_off, self.config.ridge
        if weight == 1:
            return np.arange(n)
        alike = (1 - ridge) * similarity(items, context) + ridge * np.eye(len(items))
        return greedy_map(alike, weight / (2 * (1 - weight)) * z_score(scores), n)


def greedy_map(
    alike: npt.NDArray[np.float64], log_weight: npt.NDArray[np.float64], n: int
) -> npt.NDArray[np.int64]:
    """(n',) places in the order of picking, ``n' <= n``: fewer where nothing is left to span.

    The Cholesky factor grows by one row a pick; the residual ``d_i^2`` of an item is by how much
    its pick multiplies the determinant. The weights enter as ``log d_i^2 + 2 log w_i``, so that
    no ``exp`` can overflow.

    Args:
        alike: (P, P) float64, positive semi-definite.
        log_weight: (P,) float64, ``log w``.
        n: at most P.
    """
    residual = np.diag(alike).copy()
    factor = np.zeros((n, len(residual)))
    picked = np.empty(n, np.int64)
    open_ = np.ones(len(residual), bool)
    for step in range(n):
        spans = open_ & (residual > _NOTHING_LEFT)
        if not spans.any():
            return picked[:step]
        gain = np.full(len(residual), -np.inf)
        gain[spans] = np.log(residual[spans]) + 2 * log_weight[spans]
        best = int(np.argmax(gain))
        picked[step], open_[best] = best, False
        row = (alike[best] - factor[:step, best] @ factor[:step]) / np.sqrt(residual[best])
        factor[step] = row
        residual -= row**2
    return picked
