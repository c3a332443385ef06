"""What diversity costs: accuracy against diversity and coverage, for a list of settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.after.pipeline import After
from fusion.after.step import ItemVectors
from fusion.data.dataset import Catalog
from fusion.data.fields import values_of
from fusion.errors import DataError, explain
from fusion.evaluation.beyond_accuracy import coverage, intra_list_diversity
from fusion.evaluation.metrics import per_query
from fusion.protocols import Fused
from fusion.queries import Queries
from fusion.ragged import Ragged

__all__ = ["TradeOffPoint", "trade_off"]


@dataclass(frozen=True, slots=True)
class TradeOffPoint:
    """How the lists do under one setting.

    Attributes:
        label: the setting in words; ``"as fused"`` for the lists without steps.
        steps: the setting.
        k: length of the lists.
        ndcg: mean NDCG@k.
        diversity: mean intra-list diversity@k, 0..1; NaN where no list has two items.
        coverage: share of the catalogue that is shown to anybody, 0..1.
    """

    label: str
    steps: tuple[Mapping[str, Any], ...]
    k: int
    ndcg: float
    diversity: float
    coverage: float

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN is null."""
        plain = asdict(self)
        return {**plain, "diversity": None if np.isnan(self.diversity) else self.diversity}


def trade_off(
    fused: Fused,
    targets: npt.NDArray[np.int32],
    settings: Sequence[Mapping[str, Any] | Sequence[Mapping[str, Any]]],
    *,
    queries: Queries,
    catalog: Catalog,
    k: int = 10,
    field: str = "categories",
    item_vectors: ItemVectors | None = None,
    seed: int = 0,
) -> list[TradeOffPoint]:
    """One point for the fused lists as they are, and one for each setting.

    Args:
        fused: what a strategy said of ``queries``.
        targets: (Q,) int32, the item that each query met next.
        settings: each a step or a list of steps, as in YAML:
            ``[{"name": "mmr", "trade_off": x} for x in (0.9, 0.7, 0.5)]``.
        queries: Q of them.
        catalog: the items.
        k: length of the lists.
        field: diversity is measured as 1 - mean cosine of the items' sets of values of this field,
            also for settings that diversify by something else, so that they compare.
        item_vectors: for diversity by vectors.
        seed: for settings that explore.

    Raises:
        ConfigError: ``field`` or a setting names what is not there.
        DataError: not one target a query.
    """
    if len(targets) != len(queries):
        got = f"{len(targets)} targets of {len(queries)} queries"
        raise DataError(explain("trade_off", "one target a query", got))
    values = values_of(catalog, field, "trade_off")
    truth = Ragged.of([[target] for target in targets.tolist()])
    points = []
    for setting in [[], *settings]:
        steps = (setting,) if isinstance(setting, Mapping) else tuple(setting)
        after = After(steps)
        rng = np.random.default_rng(seed)
        shown = after.apply(
            fused, queries, catalog, k, rng, item_vectors=item_vectors, explain=False
        )
        top = shown.top.matrix(k)
        found, at = np.unique(top, return_inverse=True)
        # the features of what is shown only: of the whole catalogue they would not always fit
        features = values.members(np.maximum(found, 0).astype(np.int32))
        local = np.where(top >= 0, at.reshape(top.shape), -1).astype(np.int32)
        spread = intra_list_diversity(local, features, k)
        some = ~np.isnan(spread)
        points.append(
            TradeOffPoint(
                _label(steps),
                steps,
                k,
                float(per_query(top, truth, [f"NDCG@{k}"])[f"NDCG@{k}"].mean()),
                float(spread[some].mean()) if some.any() else float("nan"),
                coverage(top, len(catalog), k),
            )
        )
    return points


def _label(steps: Sequence[Mapping[str, Any]]) -> str:
    if not steps:
        return "as fused"
    return ", ".join(
        " ".join(
            str(value) if key == "name" else f"{key}={json.dumps(value)}"
            for key, value in step.items()
        )
        for step in steps
    )
