"""What was asked: a request, the queries it stands for, and the last ones in memory."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from fusion.config import EngineConfig
from fusion.data.dataset import Dataset
from fusion.errors import DataError, UnknownUserError, explain
from fusion.queries import Queries
from fusion.ragged import Ragged

__all__ = ["Recent", "Request", "checked_deadline", "checked_k", "history_queries", "user_queries"]


@dataclass(frozen=True, slots=True)
class Request:
    """One call of `Engine.recommend`.

    Attributes:
        user_id: of the data, or ``None``.
        history: item ids, oldest first, or ``None``; one of the two is given.
        k: how many items.
        exclude_seen: as it was decided for this request.
    """

    user_id: str | None
    history: tuple[str, ...] | None
    k: int
    exclude_seen: bool

    @classmethod
    def of(
        cls, user_id: str | None, history: Sequence[str] | None, k: int, exclude_seen: bool
    ) -> Request:
        """A checked one.

        Raises:
            DataError: neither or both of user and history, or ``k`` below 1.
        """
        if (user_id is None) == (history is None):
            raise DataError(explain("recommend", "a user_id or a history", "neither or both"))
        if isinstance(history, str):
            raise DataError(explain("recommend", "history as a list of item ids", repr(history)))
        items = None if history is None else tuple(history)
        return cls(user_id, items, checked_k(k), exclude_seen)

    def queries(self, config: EngineConfig, data: Dataset) -> Queries:
        """The one query it stands for.

        Raises:
            UnknownUserError: nobody of that name, and the config names no fallback.
            UnknownItemError: an item of the history that the catalogue does not hold.
        """
        if self.history is not None:
            return history_queries(config, data, self.history, self.exclude_seen)
        return user_queries(config, data, [self.user_id], self.exclude_seen)

    def digest(self, seed: int) -> str:
        """16 hexadecimal digits that tell requests apart and do not tell who asked."""
        what = [seed, self.user_id, self.history, self.k, self.exclude_seen]
        text = json.dumps(what, default=str).encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=8).hexdigest()


class Recent:
    """The last requests, the oldest first; safe to share between threads.

    Args:
        size: how many; 0 = none.
    """

    def __init__(self, size: int) -> None:
        self._lock = threading.Lock()
        self._requests: deque[Request] = deque(maxlen=size)

    def add(self, request: Request) -> None:
        """Remember one, forget the oldest."""
        with self._lock:
            self._requests.append(request)

    def last(self, n: int | None = None) -> list[Request]:
        """The newest ``n`` (``None`` = all)."""
        with self._lock:
            requests = list(self._requests)
        return requests if n is None else requests[len(requests) - min(n, len(requests)) :]


def user_queries(
    config: EngineConfig, data: Dataset, user_ids: Sequence[str | None], exclude_seen: bool
) -> Queries:
    """One query a user: the whole history; who is unknown has none, where there is a fallback.

    Raises:
        UnknownUserError: nobody of that name, and no fallback.
    """
    found = np.empty(len(user_ids), np.int64)
    for q, name in enumerate(user_ids):
        if config.fallback is not None and isinstance(name, str):
            found[q] = data.users.get(name)
        else:
            found[q] = data.users.index(name)  # type: ignore[arg-type]
    if (found >= 0).all():
        return data.queries(found, exclude_seen=exclude_seen)
    nobody = Queries.from_history(Ragged.empty(1))
    return Queries.concatenate(
        [
            nobody if user < 0 else data.queries(np.array([user]), exclude_seen=exclude_seen)
            for user in found
        ]
    )


def history_queries(
    config: EngineConfig, data: Dataset, history: Sequence[str], exclude_seen: bool
) -> Queries:
    """The one query of a raw history.

    Raises:
        UnknownItemError: an item that the catalogue does not hold.
        UnknownUserError: no item at all, and no fallback.
    """
    items = data.catalog.vocabulary.indices(list(history))
    if len(items) == 0 and config.fallback is None:
        raise UnknownUserError(
            explain(
                "recommend",
                "a history of at least one item",
                "an empty one",
                "name a `fallback:` in the config to answer anyway",
            )
        )
    return Queries.from_history(Ragged.of([items]), exclude_seen=exclude_seen)


def checked_k(k: int) -> int:
    """``k``, if it is a whole number of at least 1.

    Raises:
        DataError: it is not.
    """
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
        raise DataError(explain("recommend", "k as a whole number of at least 1", repr(k)))
    return int(k)


def checked_deadline(deadline_ms: float | None) -> float | None:
    """``deadline_ms``, if it is a number of milliseconds that an answer may take, or ``None``.

    Raises:
        DataError: it is not.
    """
    if deadline_ms is not None and not 0 < deadline_ms < float("inf"):
        expected = "deadline_ms as a positive number of milliseconds"
        raise DataError(explain("recommend", expected, repr(deadline_ms)))
    return deadline_ms
