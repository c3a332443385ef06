"""Nested folds in time: learn from what came before, judge on what came next.

The queries of the newest window are put in the order of the time of asking and cut into ``F + 1``
blocks. In fold ``f`` everything that learns sees the blocks before block ``f`` (and older windows
whole), and is judged on block ``f``; so each judged query is later than all that was learnt from,
and the estimate is one of the whole procedure, learning included (forward validation: Hyndman and
Athanasopoulos, "Forecasting: principles and practice", 3rd edition 2021, section 5.10).

Without times there is no before and after. Then the order is that of a hash of the user, and no
user stands on both sides of a cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from fusion.errors import DataError, explain
from fusion.queries import Queries

__all__ = ["Folds", "cut_folds"]

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Folds:
    """How a window is cut.

    Attributes:
        order: (Q,) int64, the window's queries, the oldest first.
        bounds: (F+2,) int64: block ``b`` is ``order[bounds[b]:bounds[b + 1]]``; the first block is
            only learnt from.
        in_time: whether the order is that of time.
    """

    order: Indices
    bounds: Indices
    in_time: bool

    def __len__(self) -> int:
        return len(self.bounds) - 2

    def past(self, fold: int) -> Indices:
        """The queries that fold ``fold`` (from 0) learns from."""
        return self.order[: self.bounds[fold + 1]]

    def judged(self, fold: int) -> Indices:
        """The queries that it is judged on."""
        return self.order[self.bounds[fold + 1] : self.bounds[fold + 2]]

    @property
    def all_judged(self) -> Indices:
        """The judged queries of all folds, in their order."""
        return self.order[self.bounds[1] :]

    @property
    def fold_of(self) -> Indices:
        """The fold of each of `all_judged`."""
        return np.repeat(np.arange(len(self)), np.diff(self.bounds[1:]))


def cut_folds(queries: Queries, folds: int) -> Folds:
    """Cut ``queries`` into ``folds + 1`` blocks of about equal size.

    Raises:
        DataError: fewer queries (without times: fewer users) than blocks.
    """
    in_time = bool(np.isfinite(queries.now).all())
    hashes = _user_hashes(queries.users)
    position = np.arange(len(queries))
    keys = (position, hashes, queries.now) if in_time else (position, hashes)
    order = np.lexsort(keys).astype(np.int64)
    blocks = folds + 1
    bounds = np.linspace(0, len(order), blocks + 1).round().astype(np.int64)
    if not in_time and len(order):
        ordered = hashes[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1], True])  # of each user
        near = np.clip(np.searchsorted(starts, bounds), 0, len(starts) - 1)
        bounds = starts[near].astype(np.int64)
    if len(order) < blocks or (np.diff(bounds) == 0).any():
        what = "queries" if in_time else "users"
        found = len(order) if in_time else len(np.unique(hashes))
        raise DataError(
            explain(
                "tournament",
                f"{what} for {blocks} blocks",
                f"{found} {what} in the window",
                "lower tournament.folds, or hold back more events in stacking",
            )
        )
    return Folds(order, bounds, in_time)


def _user_hashes(users: npt.NDArray[np.int32]) -> npt.NDArray[np.uint64]:
    """(Q,) uint64: a hash of each query's user; who has no user is somebody of his own."""
    alone = -1 - np.arange(len(users), dtype=np.int64)
    who = np.where(users >= 0, users.astype(np.int64), alone)
    names, back = np.unique(who, return_inverse=True)
    digests = [blake2b(str(name).encode(), digest_size=8).digest() for name in names]
    hashes = np.array([int.from_bytes(digest, "big") for digest in digests], np.uint64)
    return hashes[back]
