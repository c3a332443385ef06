"""Histories as weighted rows of a sparse matrix: the newest event counts most."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.queries import Queries

__all__ = ["decayed", "history_matrix"]


def decayed(steps: npt.NDArray[Any], half_life: float | None) -> npt.NDArray[np.float32]:
    """``0.5 ** (steps / half_life)`` as float32; all ones without a half-life.

    Args:
        steps: whole numbers from 0: how many events ago.
        half_life: the number of events after which an event counts half.

    >>> decayed(np.array([0, 5, 10]), 5.0).tolist()
    [1.0, 0.5, 0.25]
    """
    if half_life is None:
        return np.ones(len(steps), np.float32)
    return np.exp2(steps / -float(half_life)).astype(np.float32)


def history_matrix(
    queries: Queries,
    columns: npt.NDArray[np.int32],
    width: int,
    *,
    half_life: float | None,
    newest: int | None = None,
) -> Any:
    """(Q, width) float32 `scipy.sparse.csr_array`: each query's events, weighted by their age.

    The age is counted in events, over the whole history; events of unknown items are then left
    out, so that they push older events back but add nothing of their own.

    Args:
        queries: Q of them.
        columns: (I,) int32: the column of each item_index; -1 = leave it out.
        width: number of columns.
        half_life: see `decayed`.
        newest: keep only so many newest events; ``None`` = keep all.
    """
    from scipy.sparse import csr_array

    history = queries.history
    steps = queries.steps_ago
    column = columns[history.values]
    keep = column >= 0
    if newest is not None:
        keep &= steps < newest
    kept = np.concatenate([[0], np.cumsum(keep)]).astype(np.int64)
    return csr_array(
        (decayed(steps[keep], half_life), column[keep], kept[history.offsets]),
        shape=(len(queries), width),
    )
