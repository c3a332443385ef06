"""`Dataset`: who met which item, when, and what is known of the items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.data.vocabulary import Vocabulary
from fusion.errors import DataError, explain
from fusion.queries import Queries
from fusion.ragged import IntArray, Ragged, spans

__all__ = ["Catalog", "Dataset", "Interactions"]


@dataclass(frozen=True, slots=True)
class Interactions:
    """Events in the project's order: by user, then time, then hash (see `fusion.data.order`).

    Attributes:
        users: (n,) int32 user_index.
        items: (n,) int32 item_index; a (user, item) pair stands once.
        times: (n,) float64 seconds since the epoch; all NaN where the data has no time.
        ratings: (n,) float32; all NaN where the data has no ratings.
    """

    users: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]
    times: npt.NDArray[np.float64]
    ratings: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: npt.NDArray[Any]) -> Interactions:
        """The events ``rows`` (indices or a mask); the order must stay rising."""
        return Interactions(
            self.users[rows], self.items[rows], self.times[rows], self.ratings[rows]
        )


@dataclass(frozen=True, slots=True)
class Catalog:
    """The items, by index.

    Attributes:
        vocabulary: item ids.
        texts: what an encoder or a ranker reads of each item; "" where nothing is known.
        titles: a short name; the item's id where there is no title.
        fields: other columns by name, one value an item (str, list of str, number or None).
    """

    vocabulary: Vocabulary
    texts: tuple[str, ...]
    titles: tuple[str, ...]
    fields: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.vocabulary)

    @property
    def ids(self) -> tuple[str, ...]:
        """Item ids by index."""
        return self.vocabulary.ids


@dataclass(frozen=True)
class Dataset:
    """Interactions, users and catalogue, with stable indices.

    A subset (`where`) keeps the vocabularies, so indices mean the same in every split.

    Attributes:
        users: user ids.
        catalog: items.
        interactions: events in the project's order.
        report: what the loaders changed or left out, by name (``"duplicates"``, ``"bad_rows"``...),
            so that nothing is dropped in silence.
    """

    users: Vocabulary
    catalog: Catalog
    interactions: Interactions
    report: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def from_frames(interactions: Any, items: Any = None, **options: Any) -> Dataset:
        """From pandas, polars or pyarrow tables; see `fusion.data.frames.dataset_from_frames`."""
        from fusion.data.frames import dataset_from_frames

        return dataset_from_frames(interactions, items, **options)

    def __len__(self) -> int:
        return len(self.interactions)

    def __repr__(self) -> str:
        return (
            f"Dataset({len(self.users):,} users, {len(self.catalog):,} items, "
            f"{len(self):,} interactions, {self.fingerprint[:12]})"
        )

    @property
    def n_users(self) -> int:
        """Users in the vocabulary, with or without events here."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Items in the catalogue, with or without events here."""
        return len(self.catalog)

    @cached_property
    def has_time(self) -> bool:
        """Whether events carry timestamps."""
        return len(self) > 0 and not bool(np.isnan(self.interactions.times).any())

    @cached_property
    def has_ratings(self) -> bool:
        """Whether events carry ratings."""
        return len(self) > 0 and not bool(np.isnan(self.interactions.ratings).all())

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """(U+1,) int64: the events of user ``u`` are the rows ``offsets[u]:offsets[u+1]``."""
        return np.searchsorted(self.interactions.users, np.arange(self.n_users + 1)).astype(
            np.int64
        )

    @cached_property
    def histories(self) -> Ragged:
        """Each user's item indices, oldest first."""
        return Ragged(self.offsets, self.interactions.items)

    @cached_property
    def popularity(self) -> npt.NDArray[np.int64]:
        """(I,) int64: events of each item."""
        return np.bincount(self.interactions.items, minlength=self.n_items).astype(np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ids, texts and events: the same data from whatever kind of file or frame.

        The other fields of the items are not in it: they come in the caller's own types.
        Lengths are hashed too, so that no two lists of texts run together into one.
        """
        digest = sha256()
        for texts in (self.users.ids, self.catalog.ids, self.catalog.texts):
            encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
            digest.update(np.array([len(encoded), *map(len, encoded)], dtype="<i8").tobytes())
            digest.update(b"".join(encoded))
        events = self.interactions
        for column in (events.users, events.items, events.times, events.ratings):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    def where(self, keep: npt.NDArray[np.bool_]) -> Dataset:
        """The events where ``keep`` (n,) is true, same users and items."""
        return Dataset(self.users, self.catalog, self.interactions.take(keep), self.report)

    def require_events(self, who: str) -> None:
        """Raise `DataError` in the name of ``who`` if there is not one event."""
        if len(self) == 0:
            raise DataError(explain(who, "at least one interaction", "none", "check the filters"))

    def queries(self, users: IntArray | None = None, *, exclude_seen: bool = True) -> Queries:
        """What is known of ``users`` (Q,) user_index (default: all): their whole history.

        ``now`` is each user's newest time; a user without events has an empty history.
        """
        which = np.arange(self.n_users) if users is None else np.asarray(users, dtype=np.int64)
        return self.queries_before(which, self.offsets[which + 1], exclude_seen=exclude_seen)

    def queries_before(
        self, users: IntArray, ends: npt.NDArray[np.int64], *, exclude_seen: bool = True
    ) -> Queries:
        """``users`` (Q,) as they were just before the event in row ``ends`` (Q,) of `interactions`.

        The history of query ``q`` is the rows ``offsets[users[q]]:ends[q]``; ``now`` is the time of
        row ``ends[q]`` where that row is the user's, else of the newest event known.
        """
        users = np.asarray(users, dtype=np.int64)
        starts, lengths = self.offsets[users], np.asarray(ends, np.int64) - self.offsets[users]
        rows = spans(starts, lengths)
        events = self.interactions
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        history = Ragged(offsets, events.items[rows])
        now = np.full(len(users), np.nan)
        inside = ends < self.offsets[users + 1]
        known = inside | (lengths > 0)
        now[known] = events.times[np.where(inside, ends, ends - 1)[known]]
        return Queries(
            history,
            events.times[rows],
            events.ratings[rows],
            users.astype(np.int32),
            now,
            history if exclude_seen else Ragged.empty(len(users)),
        )
