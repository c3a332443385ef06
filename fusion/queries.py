"""What is known of the askers: their history in order, what not to return, the time of asking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fusion.ragged import IntArray, Ragged, spans

__all__ = ["Queries"]


@dataclass(frozen=True, slots=True)
class Queries:
    """A batch of ``Q`` queries; a batch of one is the single case.

    Attributes:
        history: ``Q`` lists of item_index, the oldest event first.
        times: (H,) float64, seconds since the epoch, one an event; NaN = unknown.
        ratings: (H,) float32, aligned likewise; NaN = none given.
        users: (Q,) int32 user_index; -1 = not a user of the data set.
        now: (Q,) float64, the time of asking in seconds; NaN = unknown.
        excluded: ``Q`` lists of item_index that no retriever may return.
    """

    history: Ragged
    times: npt.NDArray[np.float64]
    ratings: npt.NDArray[np.float32]
    users: npt.NDArray[np.int32]
    now: npt.NDArray[np.float64]
    excluded: Ragged

    @classmethod
    def from_history(cls, history: Ragged, *, exclude_seen: bool = True) -> Queries:
        """Anonymous queries: items only, no times, no ratings."""
        q, h = len(history), len(history.values)
        return cls(
            history,
            np.full(h, np.nan),
            np.full(h, np.nan, np.float32),
            np.full(q, -1, np.int32),
            np.full(q, np.nan),
            history if exclude_seen else Ragged.empty(q),
        )

    @staticmethod
    def concatenate(parts: Sequence[Queries]) -> Queries:
        """One batch from several, in their order."""
        return Queries(
            Ragged.concatenate([p.history for p in parts]),
            np.concatenate([p.times for p in parts]),
            np.concatenate([p.ratings for p in parts]),
            np.concatenate([p.users for p in parts]),
            np.concatenate([p.now for p in parts]),
            Ragged.concatenate([p.excluded for p in parts]),
        )

    def __len__(self) -> int:
        return len(self.history)

    @property
    def steps_ago(self) -> npt.NDArray[np.int64]:
        """(H,) int64: 0 for a query's newest event, 1 for the one before, ..."""
        return (
            np.repeat(self.history.offsets[1:], self.history.lengths)
            - 1
            - np.arange(len(self.history.values))
        )

    def take(self, which: IntArray) -> Queries:
        """The queries ``which`` (K,), in that order."""
        which = np.asarray(which, dtype=np.int64)
        events = spans(self.history.offsets[which], self.history.lengths[which])
        return Queries(
            self.history.take(which),
            self.times[events],
            self.ratings[events],
            self.users[which],
            self.now[which],
            self.excluded.take(which),
        )

    def batches(self, size: int) -> Iterator[Queries]:
        """Consecutive batches of at most ``size`` queries."""
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))))

    def newest(self, n: int) -> Queries:
        """The same queries, knowing only their ``n`` newest events (``excluded`` is kept)."""
        keep = self.steps_ago < n
        lengths = np.minimum(self.history.lengths, n)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return replace(
            self,
            history=Ragged(offsets, self.history.values[keep]),
            times=self.times[keep],
            ratings=self.ratings[keep],
        )
