"""Where a user stands among the items: the recency-weighted mean of the vectors met."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fusion.queries import Queries
from fusion.ragged import Ragged
from retrievers.dense_store import VectorStore
from retrievers.encoder import unit
from retrievers.history import decayed
from retrievers.linear import SCRATCH

__all__ = ["mean_users", "readable_history"]

#: half-lives after which an event is left out: its weight is below what float32 resolves
_FORGOTTEN = 32


def readable_history(queries: Queries, columns: npt.NDArray[np.int32]) -> Queries:
    """The same queries without the events whose item has no column.

    Args:
        columns: (I,) int32: the row of each item_index in the store; -1 = it has none.
    """
    history = queries.history
    keep = columns[history.values] >= 0
    if keep.all():
        return queries
    kept = np.concatenate([[0], np.cumsum(keep)]).astype(np.int64)
    return replace(
        queries,
        history=Ragged(kept[history.offsets], history.values[keep]),
        times=queries.times[keep],
        ratings=queries.ratings[keep],
    )


def mean_users(
    queries: Queries,
    columns: npt.NDArray[np.int32],
    store: VectorStore,
    half_life: float | None,
) -> npt.NDArray[np.float32]:
    """(Q, D) float32 of length 1: the sum of ``0.5 ** (events ago / half_life)`` times each vector.

    Only the vectors of the histories are read. An event 32 half-lives old weighs 2e-10 of the
    newest and is left out. A query without events is all zeros.

    Args:
        queries: histories of items that have a column, see `readable_history`.
        columns: (I,) int32: the row of each item_index in ``store``.
        half_life: in events; ``None`` = all count alike.
    """
    steps = queries.steps_ago
    keep = steps < (np.inf if half_life is None else _FORGOTTEN * half_life)
    offsets = np.concatenate([[0], np.cumsum(keep)]).astype(np.int64)[queries.history.offsets]
    rows = columns[queries.history.values[keep]]
    weights = decayed(steps[keep], half_life)[:, None]
    out = np.zeros((len(queries), store.width), np.float32)
    asked = np.flatnonzero(np.diff(offsets))
    most = max(1, SCRATCH // (8 * store.width))  # events at once
    while len(asked):
        start = offsets[asked[0]]
        few = max(1, int(np.searchsorted(offsets[asked + 1], start + most, side="right")))
        now, asked = asked[:few], asked[few:]
        part = slice(start, offsets[now[-1] + 1])
        met = store.take(rows[part]) * weights[part]  # (H, D)
        out[now] = np.add.reduceat(met, offsets[now] - start, axis=0)
    return unit(out)
