"""From item indices to what a caller sees: recommendations, or a table of many users."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fusion.data.dataset import Dataset
from fusion.recommendation import ModelRun, Recommendation
from fusion.topk import Top

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TableParts", "items_of", "runs_of_all"]


def items_of(
    top: Top,
    data: Dataset,
    notes: Sequence[tuple[str, ...]] = (),
    propensities: Sequence[float] = (),
) -> list[Recommendation]:
    """The rows of a batch of one.

    Args:
        notes: one a row, or none at all.
        propensities: likewise.
    """
    ids, titles = data.catalog.ids, data.catalog.titles
    return [
        Recommendation(
            ids[item],
            float(top.scores[row]),
            row + 1,
            {p: float(v) for p, v in zip(top.parts, top.contributions[row], strict=True)},
            titles[item],
            tuple(notes[row]) if len(notes) else (),
            float(propensities[row]) if len(propensities) else 1.0,
        )
        for row, item in enumerate(top.items)
    ]


def runs_of_all(models: Sequence[str], runs: Mapping[str, ModelRun]) -> dict[str, ModelRun]:
    """How every model of the engine did, those too that nobody asked."""
    unasked = ModelRun("skipped", 0.0, "the fusion did not ask it")
    return {name: runs.get(name, unasked) for name in models}


class TableParts:
    """Collects the batches of `Engine.recommend_many`."""

    def __init__(self, data: Dataset) -> None:
        self._ids = np.array(data.catalog.ids, dtype=object)
        self._users: list[str] = []
        self._items: list[npt.NDArray[Any]] = []
        self._scores: list[npt.NDArray[np.float64]] = []
        self._ranks: list[npt.NDArray[np.int32]] = []
        self.failures: dict[str, dict[str, Any]] = {}
        self.removed: dict[str, int] = {}

    def add(self, users: Sequence[str], top: Top) -> None:
        """The lists of ``users``."""
        counts = np.diff(top.offsets)
        self._users += [u for u, n in zip(users, counts, strict=True) for _ in range(n)]
        self._items.append(self._ids[top.items])
        self._scores.append(top.scores)
        self._ranks.append(top.ranks)

    def note(self, runs: Mapping[str, ModelRun], users: int) -> None:
        """Keep which models failed, why, and for how many users."""
        for name, run in runs.items():
            if run.status == "failed":
                seen = self.failures.setdefault(name, {"reason": run.reason, "users": 0})
                seen["users"] += users

    def note_removed(self, removed: Mapping[str, Sequence[Any]]) -> None:
        """Keep how many items each rule took out."""
        for rule, items in removed.items():
            self.removed[rule] = self.removed.get(rule, 0) + len(items)

    def table(self) -> pa.Table:
        """See `Engine.recommend_many`."""
        import pyarrow as pa

        table = pa.table(
            {
                "user_id": pa.array(self._users, pa.string()),
                "item_id": pa.array([i for part in self._items for i in part], pa.string()),
                "score": pa.array(np.concatenate([np.empty(0), *self._scores])),
                "rank": pa.array(np.concatenate([np.empty(0, np.int32), *self._ranks])),
            }
        )
        about = {"failed": self.failures, "removed": self.removed}
        return table.replace_schema_metadata({"recfusion": json.dumps(about)})
