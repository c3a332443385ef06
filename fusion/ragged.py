"""Lists of different lengths as two flat arrays: the layout every batch of the project uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Ragged", "segment_rank", "spans", "whole_segments"]

IntArray = npt.NDArray[np.integer[Any]]


def spans(starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Indices ``start, start+1, ...`` of several spans, one after the other.

    >>> spans(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    total = int(lengths.sum())
    ends = np.cumsum(lengths)
    out: npt.NDArray[np.int64] = np.repeat(starts - (ends - lengths), lengths)
    return out + np.arange(total, dtype=np.int64)


def segment_rank(
    offsets: npt.NDArray[np.int64], keys: tuple[npt.NDArray[Any], ...]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sort every segment by ``keys`` (the last key is the primary one, as in ``np.lexsort``).

    Returns:
        ``order`` (N,) int64: row numbers, segment after segment, each sorted;
        ``rank`` (N,) int64: 1 for the first row of its segment, in the rows' own order.
    """
    lengths = np.diff(offsets)
    segment = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((*keys, segment))
    rank = np.empty(len(segment), dtype=np.int64)
    rank[order] = np.arange(len(segment)) - np.repeat(offsets[:-1], lengths) + 1
    return order, rank


def whole_segments(
    offsets: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The segments that ``rows`` (R,) stand in, and where the rows are once only those are left.

    Returns:
        ``segments`` (K,) int64, rising; ``at`` (R,) int64: row numbers in the segments put end to
        end.

    >>> segments, at = whole_segments(np.array([0, 2, 5, 9]), np.array([7, 1, 6]))
    >>> segments.tolist(), at.tolist()
    ([0, 2], [4, 1, 3])
    """
    owner = np.searchsorted(offsets, rows, side="right") - 1
    segments, position = np.unique(owner, return_inverse=True)
    lengths = offsets[segments + 1] - offsets[segments]
    starts = np.cumsum(lengths) - lengths
    return segments.astype(np.int64), starts[position] + rows - offsets[owner]


@dataclass(frozen=True, slots=True)
class Ragged:
    """``Q`` lists of integers.

    Attributes:
        offsets: (Q+1,) int64, from 0, never falling: list ``q`` is
            ``values[offsets[q]:offsets[q+1]]``.
        values: (N,) int32.
    """

    offsets: npt.NDArray[np.int64]
    values: npt.NDArray[np.int32]

    @classmethod
    def of(cls, lists: Iterable[Iterable[int]]) -> Ragged:
        """From Python lists.

        >>> Ragged.of([[3, 1], []]).offsets.tolist()
        [0, 2, 2]
        """
        rows = [np.asarray(list(row), dtype=np.int32) for row in lists]
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return cls(offsets, np.concatenate(rows) if rows else np.empty(0, np.int32))

    @classmethod
    def empty(cls, n: int) -> Ragged:
        """``n`` empty lists."""
        return cls(np.zeros(n + 1, np.int64), np.empty(0, np.int32))

    @staticmethod
    def concatenate(parts: Sequence[Ragged]) -> Ragged:
        """The lists of several batches, in their order."""
        lengths = np.concatenate([np.empty(0, np.int64), *(p.lengths for p in parts)])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        values = np.concatenate([np.empty(0, np.int32), *(p.values for p in parts)])
        return Ragged(offsets, values.astype(np.int32, copy=False))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, q: int) -> npt.NDArray[np.int32]:
        return self.values[self.offsets[q] : self.offsets[q + 1]]

    def __iter__(self) -> Iterator[npt.NDArray[np.int32]]:
        return (self[q] for q in range(len(self)))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(Q,) int64."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """(N,) int64: the list that each value stands in."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    def take(self, which: IntArray) -> Ragged:
        """The lists ``which`` (K,), in that order; a list may be taken twice."""
        which = np.asarray(which, dtype=np.int64)
        lengths = self.lengths[which]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Ragged(offsets, self.values[spans(self.offsets[which], lengths)])
