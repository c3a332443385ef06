"""Training data of the BERT ranker: moments of users, what came next, and what did not.

Everything is drawn from the data set that is given to `fit` and from nothing else, the validation
set too: each sampled user's last event *inside the training data*. Early stopping on events outside
it would be a leak, since those train the stacker or are the test (DESIGN.md, "Traps met": scores of
a model stopped early on the stacker's items are too good there).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fusion.data.dataset import Dataset
from rankers.bert_history import Past

__all__ = ["Events", "Examples", "Negatives", "next_items", "next_ratings", "split_events"]

NO_ITEM = -1
_ROUNDS = 20  # redraws of a negative that the user knows, before the place is left empty


@dataclass(frozen=True, slots=True)
class Events:
    """The events whose item has text, in the data set's order, and which of them may be targets.

    Attributes:
        users: (n,) int32 user_index.
        items: (n,) int32 item_index.
        ratings: (n,) float32, NaN where there is none.
        times: (n,) float64 seconds, NaN where unknown.
        origin: (n,) int64: the row of the data set's `Interactions`.
        starts: (n,) int64: the row of the user's first event.
        train: (t,) int64: rows to train on; each has an event before it.
        validation: (v,) int64: rows to validate on; for each the user's last.
        ends: (n,) int64: one past the last row that training may look at, for the user of the row.
    """

    users: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]
    ratings: npt.NDArray[np.float32]
    times: npt.NDArray[np.float64]
    origin: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    def history(self, row: int) -> npt.NDArray[np.int32]:
        """Items of the user before ``row``, the oldest first."""
        return self.items[self.starts[row] : row]

    def past(self, row: int) -> Past:
        """The same with what is known of each event."""
        span = slice(int(self.starts[row]), row)
        return Past(self.items[span], self.ratings[span], self.times[span])


@dataclass(frozen=True, slots=True)
class Examples:
    """``E`` moments with ``C`` candidates each.

    Attributes:
        rows: (E,) int64: the history is what the user of `Events` row ``rows`` met before it.
        items: (E, C) int32 item_index, -1 = no candidate; the places that are filled come first.
        labels: (E, C) float32: 1 met next, 0 sampled; or a rating. NaN = no label.
        ratings: (E, C) float32: of what was met next, for a second task; NaN = none. Or ``None``.
        weights: (E, C) float32: how much each label counts. Or ``None``: all the same.
    """

    rows: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    labels: npt.NDArray[np.float32]
    ratings: npt.NDArray[np.float32] | None = None
    weights: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, which: npt.NDArray[np.int64]) -> Examples:
        """The examples ``which`` (K,), in that order."""
        ratings = None if self.ratings is None else self.ratings[which]
        weights = None if self.weights is None else self.weights[which]
        return Examples(self.rows[which], self.items[which], self.labels[which], ratings, weights)


def split_events(
    data: Dataset,
    known: npt.NDArray[np.bool_],
    *,
    validation_users: int,
    rated: bool,
    rng: np.random.Generator,
) -> Events:
    """The events of ``data`` that can be read, and its inner validation events.

    Args:
        data: all there is to learn from.
        known: (I,) bool: the items with text.
        validation_users: at most so many, and at most half of the users with two events or more.
        rated: whether only events with a rating may be targets.
        rng: draws the users that validate.
    """
    keep = np.flatnonzero(known[data.interactions.items])
    events = data.interactions.take(keep)
    n = len(events)
    firsts = np.searchsorted(events.users, events.users, side="left").astype(np.int64)
    ends = np.searchsorted(events.users, events.users, side="right").astype(np.int64)
    rows = np.arange(n, dtype=np.int64)
    usable = rows > firsts
    if rated:
        usable &= ~np.isnan(events.ratings)
    lasts = rows[usable & (rows == ends - 1)]
    chosen = rng.permutation(lasts)[: min(validation_users, len(lasts) // 2)]
    validation = np.sort(chosen)
    usable[validation] = False
    held = np.isin(events.users, events.users[validation])
    return Events(
        events.users,
        events.items,
        events.ratings,
        events.times,
        keep.astype(np.int64),
        firsts,
        rows[usable],
        validation,
        ends - held,
    )


class Negatives:
    """Draws items that a user never met in the data: uniformly, or by a power of popularity.

    Args:
        data: whose popularity and events count.
        known: (I,) bool: the items that may be drawn.
        popular: share of the draws that follow ``popularity ** power``; the others are uniform.
        power: 0.75 is the exponent of word2vec's negative sampling (Mikolov et al. 2013,
            section 2.2).
    """

    def __init__(
        self, data: Dataset, known: npt.NDArray[np.bool_], *, popular: float, power: float
    ) -> None:
        self._n_items = data.n_items
        self._pairs = np.unique(self._pair(data.interactions.users, data.interactions.items))
        self._items = np.flatnonzero(known).astype(np.int32)
        weight = np.where(data.popularity > 0, np.maximum(data.popularity, 1.0) ** power, 0.0)
        cumulated = np.cumsum(weight[self._items])
        self._cumulated = (
            cumulated / max(float(cumulated[-1]), 1e-300) if len(cumulated) else cumulated
        )
        self._popular = popular if len(cumulated) and cumulated[-1] > 0 else 0.0

    def _pair(
        self, users: npt.NDArray[np.int32], items: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.int64]:
        return users.astype(np.int64) * self._n_items + items

    def draw(
        self, users: npt.NDArray[np.int32], n: int, rng: np.random.Generator
    ) -> npt.NDArray[np.int32]:
        """(U, n) int32 items that ``users`` (U,) never met; -1 where none was found.

        The places that are filled come first. A row may hold an item twice.
        """
        owners = np.repeat(users, n)
        out = np.full(len(owners), NO_ITEM, np.int32)
        missing = np.arange(len(owners))
        for _ in range(_ROUNDS):
            if not len(missing):
                break
            drawn = self._sample(len(missing), rng)
            met = np.isin(self._pair(owners[missing], drawn), self._pairs)
            out[missing[~met]] = drawn[~met]
            missing = missing[met]
        table = out.reshape(len(users), n)
        order = np.argsort(table == NO_ITEM, axis=1, kind="stable")
        return np.take_along_axis(table, order, axis=1)

    def _sample(self, n: int, rng: np.random.Generator) -> npt.NDArray[np.int32]:
        uniform = self._items[rng.integers(0, len(self._items), n)]
        at = np.searchsorted(self._cumulated, rng.random(n), side="right")
        popular = self._items[np.minimum(at, len(self._items) - 1)]
        return np.where(rng.random(n) < self._popular, popular, uniform)


def next_items(
    events: Events, rows: npt.NDArray[np.int64], negatives: npt.NDArray[np.int32]
) -> Examples:
    """The event in each of ``rows`` (E,) against ``negatives`` (E, C - 1): labels 1 and 0."""
    items = np.column_stack([events.items[rows], negatives]).astype(np.int32)
    labels = np.zeros(items.shape, np.float32)
    labels[:, 0] = 1.0
    labels[items == NO_ITEM] = np.nan
    return Examples(rows, items, labels)


def next_ratings(
    events: Events, rows: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], size: int
) -> Examples:
    """The ratings from each of ``rows`` (E,) on, at most ``size``, up to row ``ends`` (E,)."""
    at = rows[:, None] + np.arange(size)  # (E, C)
    inside = at < ends[:, None]
    at = np.where(inside, at, 0)
    return Examples(
        rows,
        np.where(inside, events.items[at], NO_ITEM).astype(np.int32),
        np.where(inside, events.ratings[at], np.nan).astype(np.float32),
    )
