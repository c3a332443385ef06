"""Histories as batches of windows, another order of ties and another mix in each epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fusion.queries import Queries
from fusion.ragged import spans
from retrievers.sequential_model import GAP_BUCKETS

__all__ = ["Batch", "Windows", "gap_buckets", "padded", "recent"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences of one step, padded on the right.

    Attributes:
        items: (B, T) int64 columns; 0 in padding.
        gaps: (B, T) int64 buckets.
        lengths: (B,) int64.
    """

    items: npt.NDArray[np.int64]
    gaps: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """(B, T): what is no padding."""
        inside: npt.NDArray[np.bool_] = np.arange(self.items.shape[1]) < self.lengths[:, None]
        return inside


def gap_buckets(
    times: npt.NDArray[np.float64], offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """(n,) int64 below `GAP_BUCKETS`: how long after the event before, in powers of two.

    0 = unknown: the first event of a sequence, or one without a time; 1 = no time at all;
    ``2 + floor(log2(seconds))`` otherwise, from one second up.

    Args:
        times: (n,) seconds, NaN = unknown.
        offsets: (S+1,) where the sequences begin.

    >>> gap_buckets(np.array([5.0, 5.0, 6.0, 10.0, np.nan]), np.array([0, 5])).tolist()
    [0, 1, 2, 4, 0]
    """
    gaps = np.diff(times, prepend=np.nan)
    gaps[offsets[:-1][offsets[:-1] < len(gaps)]] = np.nan
    out = np.zeros(len(times), np.int64)
    known = ~np.isnan(gaps)
    steps = gaps[known]
    some = steps >= 1
    found = np.ones(len(steps), np.int64)
    found[some] = 2 + np.floor(np.log2(steps[some])).astype(np.int64)
    out[known] = np.minimum(found, GAP_BUCKETS - 1)
    return out


def padded(
    values: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """(B, T) int64: the runs ``starts[b] : starts[b] + lengths[b]`` of ``values``, 0 after them."""
    out = np.zeros((len(starts), int(lengths.max(initial=0))), np.int64)
    inside = np.arange(out.shape[1]) < lengths[:, None]
    out[inside] = values[spans(starts, lengths)]
    return out


@dataclass(frozen=True, slots=True)
class Windows:
    """Everybody's events, cut into windows of at most ``length + 1`` events.

    The newest window of a history ends with its newest event; each older one ends with the first
    event of the one after it, so that every event but a user's first is foretold exactly once.

    Attributes:
        columns: (n,) int64 item_index, everybody's events together, in order.
        times: (n,) seconds, NaN = unknown.
        offsets: (U+1,) the users' events.
        length: how many events may be known.
        batch_events: how many events, with padding, a batch may hold; at least one window is in it.
        shuffle_ties: see `SequentialTraining.shuffle_ties`.
        seed: of every draw.
    """

    columns: npt.NDArray[np.int64]
    times: npt.NDArray[np.float64]
    offsets: npt.NDArray[np.int64]
    length: int
    batch_events: int
    shuffle_ties: bool
    seed: int

    def bounds(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(N,) starts and (N,) ends of all windows, each of at least two events."""
        starts, ends = [], []
        for first, last in zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True):
            for end in range(last, first + 1, -self.length):
                starts.append(max(first, end - self.length - 1))
                ends.append(end)
        return np.array(starts, np.int64), np.array(ends, np.int64)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of epoch ``number``: the same whenever it is asked for.

        A window of ``k + 1`` events counts ``k``: the last is only foretold.
        """
        rng = np.random.default_rng([self.seed, number])
        order = self._order(rng)
        columns, gaps = self.columns[order], gap_buckets(self.times[order], self.offsets)
        starts, ends = self.bounds()
        for rows in self._plan(ends - starts - 1, rng):
            lengths = ends[rows] - starts[rows]
            yield Batch(
                padded(columns, starts[rows], lengths), padded(gaps, starts[rows], lengths), lengths
            )

    def batches(self) -> int:
        """How many batches an epoch has: it does not depend on the epoch."""
        starts, ends = self.bounds()
        return len(self._plan(ends - starts - 1, np.random.default_rng(0)))

    def _order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        if not self.shuffle_ties or np.isnan(self.times).any():
            return np.arange(len(self.columns))
        users = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        return np.lexsort((rng.random(len(self.columns)), self.times, users))

    def _plan(
        self, lengths: npt.NDArray[np.int64], rng: np.random.Generator
    ) -> list[npt.NDArray[np.int64]]:
        """Rows of like length together, cut where a batch is full, the batches in random order."""
        drawn = rng.permutation(len(lengths))
        # the longest of a batch is its last: sorted by length, shuffled within a length
        rows = drawn[np.argsort(lengths[drawn], kind="stable")]
        cuts, first = [0], 0
        for at, longest in enumerate(lengths[rows].tolist()):
            if at > first and longest * (at - first + 1) > self.batch_events:
                cuts.append(at)
                first = at
        parts = [rows[a:b] for a, b in zip(cuts, [*cuts[1:], len(rows)], strict=True) if b > a]
        return [parts[i] for i in rng.permutation(len(parts))]


def recent(queries: Queries, known: npt.NDArray[np.bool_], length: int) -> Batch:
    """Each query's ``length`` newest events of known items; a gap is that between two of them.

    Args:
        queries: Q of them, each with such an event.
        known: (I,) bool.
        length: at least 1.
    """
    history = queries.history
    keep = known[history.values]
    kept = np.bincount(history.rows[keep], minlength=len(queries))
    offsets = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    lengths = np.minimum(kept, length).astype(np.int64)
    starts = offsets[1:] - lengths
    gaps = gap_buckets(queries.times[keep], offsets)
    items = history.values[keep].astype(np.int64)
    return Batch(padded(items, starts, lengths), padded(gaps, starts, lengths), lengths)
