"""`Result`: one row of a table, with every query's values kept for the intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fusion.data.dataset import Dataset
from fusion.data.splits import Split
from fusion.errors import DataError, explain
from fusion.evaluation.beyond_accuracy import (
    average_popularity,
    coverage,
    exposure_gini,
    intra_list_diversity,
    novelty,
    popularity_share,
)
from fusion.evaluation.fingerprint import Fingerprint
from fusion.evaluation.metrics import per_query

__all__ = ["DEFAULT_METRICS", "Kind", "Result", "summarize_lists"]

Kind = Literal["model", "fusion"]
DEFAULT_METRICS = ("NDCG@10", "HR@10", "Recall@10", "Precision@10", "MRR@10", "MAP@10")


@dataclass(frozen=True)
class Result:
    """What one model or one fusion reached under one protocol.

    Attributes:
        name: of the row.
        kind: ``"model"`` for a single model, ``"fusion"`` for a strategy over several.
        fingerprint: the protocol it was measured under.
        users: (Q,) int32, the cluster of each query for the bootstrap.
        per_query: metric name -> (Q,) float64, higher is better, finite.
        summary: metric name -> mean, and what has no value a query (``"coverage@10"``); NaN where
            undefined.
        latency_ms: ``"p50"`` and others, milliseconds of one ``recommend``; ``None`` = not timed.
        extra: whatever else should stay with the result (JSON values).

    Raises:
        DataError: an unknown kind, values that are not finite or not one a query.
    """

    name: str
    kind: Kind
    fingerprint: Fingerprint
    users: npt.NDArray[np.int32]
    per_query: Mapping[str, npt.NDArray[np.float64]]
    summary: Mapping[str, float] = field(default_factory=dict)
    latency_ms: Mapping[str, float] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        who = f"result {self.name!r}"
        if self.kind not in ("model", "fusion"):
            raise DataError(explain(who, "kind 'model' or 'fusion'", repr(self.kind)))
        for metric, values in self.per_query.items():
            if np.shape(values) != np.shape(self.users):
                expected = f"{len(self.users)} values of {metric}, one a query"
                raise DataError(explain(who, expected, str(np.shape(values))))
            if not np.isfinite(values).all():
                raise DataError(explain(who, f"finite values of {metric}", "NaN or infinity"))

    def __len__(self) -> int:
        return len(self.users)

    @classmethod
    def measure(
        cls,
        name: str,
        kind: Kind,
        fingerprint: Fingerprint,
        split: Split,
        top: npt.NDArray[np.int32],
        *,
        metrics: Iterable[str] = DEFAULT_METRICS,
        k: int = 10,
        features: npt.NDArray[np.floating | np.bool_] | None = None,
        latency_ms: Mapping[str, float] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Result:
        """Measure ``top`` (Q, K) int32, the lists for ``split.queries``, padded with -1.

        Args:
            name: of the row.
            kind: ``"model"`` or ``"fusion"``.
            fingerprint: ``Fingerprint.of(data, split)``.
            split: gives targets, users and the popularity in train.
            top: recommended item_index, the best first.
            metrics: names for `per_query`.
            k: cutoff of the `summarize_lists` figures.
            features: (I, D) for the intra-list diversity; bool = categories (Jaccard), else
                vectors (cosine); ``None`` = no such figure.
            latency_ms: milliseconds by name.
            extra: JSON values.
        """
        values = per_query(top, split.targets, metrics)
        means = {metric: float(of_query.mean()) for metric, of_query in values.items()}
        means |= summarize_lists(top, split.train, k, features)
        return cls(name, kind, fingerprint, split.users, values, means, latency_ms, extra or {})

    def to_json(self) -> dict[str, Any]:
        """Ready for ``json.dumps(..., allow_nan=False)``; NaN is null."""
        return {
            "name": self.name,
            "kind": self.kind,
            "fingerprint": self.fingerprint.to_json(),
            "users": self.users.tolist(),
            "per_query": {metric: values.tolist() for metric, values in self.per_query.items()},
            "summary": {metric: _none(value) for metric, value in self.summary.items()},
            "latency_ms": None
            if self.latency_ms is None
            else {name: _none(value) for name, value in self.latency_ms.items()},
            "extra": dict(self.extra),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Result:
        """What `to_json` gave.

        Raises:
            DataError: a key is missing.
            FingerprintError: the fingerprint was altered.
        """
        try:
            latency = value["latency_ms"]
            return cls(
                value["name"],
                value["kind"],
                Fingerprint.from_json(value["fingerprint"]),
                np.asarray(value["users"], dtype=np.int32),
                {m: np.asarray(v, dtype=np.float64) for m, v in value["per_query"].items()},
                {m: _nan(v) for m, v in value["summary"].items()},
                None if latency is None else {m: _nan(v) for m, v in latency.items()},
                dict(value["extra"]),
            )
        except KeyError as error:
            raise DataError(explain("result", f"a key {error}", "none", "measure again")) from error


def summarize_lists(
    top: npt.NDArray[np.int32],
    train: Dataset,
    k: int,
    features: npt.NDArray[np.floating | np.bool_] | None = None,
) -> dict[str, float]:
    """The figures beyond accuracy, as means over the lists that have them; NaN where none has.

    Args:
        top: (Q, K) int32, padded with -1.
        train: gives popularity and the size of the catalogue.
        k: cutoff.
        features: as in `Result.measure`.
    """
    popularity = train.popularity
    n_users = int((np.diff(train.offsets) > 0).sum())
    out = {
        f"coverage@{k}": coverage(top, train.n_items, k),
        f"gini@{k}": exposure_gini(top, train.n_items, k),
        f"novelty@{k}": _mean(novelty(top, popularity, n_users, k)),
        f"arp@{k}": _mean(average_popularity(top, popularity, k)),
        f"popularity_share@{k}": _mean(popularity_share(top, popularity, k)),
    }
    if features is not None:
        how: Literal["jaccard", "cosine"] = "jaccard" if features.dtype == bool else "cosine"
        out[f"diversity@{k}"] = _mean(intra_list_diversity(top, features, k, how))
    return out


def _mean(values: npt.NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)
