"""What the models know that the others do not: the room that a fusion has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.tournament.judging import hit, ndcg

__all__ = ["Complementarity", "complementarity_of"]


@dataclass(frozen=True)
class Complementarity:
    """Over the judged queries.

    Attributes:
        models: M names.
        k: a model finds a target that is among its first ``k``.
        found: (M,) share of queries whose target the model finds.
        alone: (M,) share of queries whose target this model finds and no other.
        overlap: (M, M): of the targets that the row's model finds, the share that the column's
            finds too; NaN in the row of a model that finds none.
        together: share of queries whose target any model finds: what a perfect choice of a model
            in each query would reach as HR@k.
        oracle: mean NDCG@k of the best model of each query, the same as NDCG.
        union: share of queries whose target is among the candidates at all, at any depth.
    """

    models: tuple[str, ...]
    k: int
    found: npt.NDArray[np.float64]
    alone: npt.NDArray[np.float64]
    overlap: npt.NDArray[np.float64]
    together: float
    oracle: float
    union: float

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN is null."""
        return {
            "models": list(self.models),
            "k": self.k,
            "found": self.found.tolist(),
            "alone": self.alone.tolist(),
            "overlap": [
                [None if np.isnan(value) else float(value) for value in row] for row in self.overlap
            ],
            "together": self.together,
            "oracle": self.oracle,
            "union": self.union,
        }


def complementarity_of(
    ranks: Mapping[str, npt.NDArray[np.int64]], in_union: npt.NDArray[np.bool_], k: int
) -> Complementarity:
    """From each model's ``ranks`` (J,) of the targets, 0 = not listed, and ``in_union`` (J,)."""
    models = tuple(ranks)
    finds = np.array([hit(ranks[name], k) for name in models])  # (M, J)
    others = finds.sum(axis=0) - finds
    both = finds @ finds.T
    own = np.diag(both)[:, None]
    overlap = np.divide(both, own, out=np.full_like(both, np.nan), where=own > 0)
    return Complementarity(
        models,
        k,
        finds.mean(axis=1),
        ((finds > 0) & (others == 0)).mean(axis=1),
        overlap,
        float((finds.max(axis=0) > 0).mean()),
        float(np.max([ndcg(ranks[name], k) for name in models], axis=0).mean()),
        float(in_union.mean()),
    )
