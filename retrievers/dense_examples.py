"""What the encoder learns from: who was known by which items, and what they met next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fusion.data.dataset import Dataset
from fusion.ragged import Ragged, spans

__all__ = ["Examples", "draw_examples"]


@dataclass(frozen=True, slots=True)
class Examples:
    """Events to foresee, in the order in which they are trained on.

    Attributes:
        rows: (E,) int64: the event's row in the data set.
        users: (E,) int32 user_index.
        targets: (E,) int32 item_index of what was met.
        histories: ``E`` lists of item_index: the newest readable items met before, the oldest
            first, never empty.
    """

    rows: npt.NDArray[np.int64]
    users: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    histories: Ragged

    def __len__(self) -> int:
        return len(self.users)

    def take(self, which: npt.NDArray[np.int64]) -> Examples:
        """The examples ``which`` (K,), in that order."""
        return Examples(
            self.rows[which],
            self.users[which],
            self.targets[which],
            self.histories.take(which),
        )


def draw_examples(
    data: Dataset,
    readable: npt.NDArray[np.bool_],
    *,
    count: int,
    epochs: int,
    reads: int,
    together: int,
    rng: np.random.Generator,
) -> Examples:
    """Up to ``count`` examples in random order; no event is drawn more than ``epochs`` times.

    An event qualifies if its item and an item that the user met before have text. Events of one
    time stamp come in another order each epoch: the data says nothing of their order.

    Args:
        data: the events; histories are of them alone.
        readable: (I,) bool: items that have text.
        reads: how many of the newest items of a history are kept.
        together: so many events of one user that follow each other stay side by side. Their
            histories are mostly the same items, so that a batch of them holds few texts.
        rng: draws the order.
    """
    parts: list[Examples] = []
    drawn = 0
    for _ in range(epochs):
        if drawn >= count:
            break
        part = _epoch(data, readable, count - drawn, reads, together, rng)
        drawn += len(part)
        parts.append(part)
    empty = np.empty(0, np.int32)
    return Examples(
        np.concatenate([empty, *(part.rows for part in parts)]).astype(np.int64),
        np.concatenate([empty, *(part.users for part in parts)]),
        np.concatenate([empty, *(part.targets for part in parts)]),
        Ragged.concatenate([part.histories for part in parts]),
    )


def _epoch(
    data: Dataset,
    readable: npt.NDArray[np.bool_],
    count: int,
    reads: int,
    together: int,
    rng: np.random.Generator,
) -> Examples:
    rows = np.flatnonzero(readable[data.interactions.items])
    users, times = data.interactions.users[rows], data.interactions.times[rows]
    if data.has_time:
        rows = rows[np.lexsort((rng.random(len(rows)), times, users))]
    items = data.interactions.items[rows]
    starts = np.searchsorted(users, users)  # (n,) the user's first row
    position = np.arange(len(rows)) - starts
    runs = list(_runs(users[position > 0], together, rng))
    order = [runs[i] for i in rng.permutation(len(runs))]
    able = np.flatnonzero(position > 0)
    chosen = able[np.concatenate([np.empty(0, np.int64), *order])[:count]]
    lengths = np.minimum(position[chosen], reads)
    histories = Ragged(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items[spans(chosen - lengths, lengths)],
    )
    return Examples(rows[chosen], users[chosen], items[chosen], histories)


def _runs(
    users: npt.NDArray[np.int32], together: int, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """``arange(len(users))`` cut where the user changes and every ``together``, from a random on.

    Args:
        users: (n,) rising.
    """
    edges = np.flatnonzero(np.diff(users)) + 1
    for span in np.split(np.arange(len(users)), edges):
        if len(span) == 0:
            continue
        first = int(rng.integers(1, together + 1))
        yield span[:first]
        for start in range(first, len(span), together):
            yield span[start : start + together]
