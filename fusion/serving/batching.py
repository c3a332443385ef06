"""Many users in bounded memory: batches answered side by side, and handed out in their order.

Every model is asked by one thread at a time (`fusion.serving.workers`), so two batches in two
threads meet at the models like cars at a narrow place: while one is in a large model, the next is
being retrieved, prepared or fused. What each batch says does not depend on the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from fusion.errors import DataError, explain
from fusion.recommendation import ModelRun
from fusion.serving.after import depth_of, outcome_of
from fusion.serving.answering import Models, answer
from fusion.serving.requests import user_queries
from fusion.serving.state import State
from fusion.topk import Top
from fusion.work import Work, absorb, counting

__all__ = ["Batch", "Tally", "answered", "in_order", "whom"]

A = TypeVar("A")
B = TypeVar("B")

#: seed of exploration's chance for a batch, as ``numpy.random.default_rng`` takes it
Chance = Callable[[int], Sequence[int]]


@dataclass
class Tally:
    """What happened to some users' lists.

    Attributes:
        failed: model -> ``reason`` (of its first failure) and ``users``, for how many it failed.
        removed: rule of ``after:`` -> how many items it took out.
    """

    failed: dict[str, dict[str, Any]] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)

    def note(self, runs: Mapping[str, ModelRun], users: int) -> None:
        """Keep which models failed ``users`` users."""
        for name, run in runs.items():
            if run.status == "failed":
                self._failed(name, run.reason, users)

    def note_removed(self, removed: Mapping[str, Sequence[Any]]) -> None:
        """Keep how many items each rule took out."""
        for rule, items in removed.items():
            self.removed[rule] = self.removed.get(rule, 0) + len(items)

    def add(self, other: Tally) -> None:
        """Everything that happened to other users, too."""
        for name, seen in other.failed.items():
            self._failed(name, seen["reason"], seen["users"])
        for rule, items in other.removed.items():
            self.removed[rule] = self.removed.get(rule, 0) + items

    def _failed(self, name: str, reason: str, users: int) -> None:
        seen = self.failed.setdefault(name, {"reason": reason, "users": 0})
        seen["users"] += users

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"failed": self.failed, "removed": self.removed}


@dataclass(frozen=True)
class Batch:
    """The lists of some users.

    Attributes:
        users: Q ids, in the order asked for.
        top: their lists.
        tally: what happened on the way.
        work: what was counted in another thread.
    """

    users: Sequence[str]
    top: Top
    tally: Tally
    work: Work


def whom(user_ids: Iterable[str] | None, models: Models, fallback: str | None) -> Iterable[str]:
    """``user_ids``, or every user of the data who can be answered.

    Who has no event (a vocabulary may be larger than a split of its data) is answered by the
    fallback, and left out where there is none.

    Raises:
        DataError: one text instead of many.
    """
    if isinstance(user_ids, str):
        expected = "several user ids, or None for all users"
        raise DataError(explain("recommend_many", expected, repr(user_ids), f"[{user_ids!r}]"))
    if user_ids is not None:
        return user_ids
    ids = models.data.users.ids
    if fallback is not None:
        return ids
    return [ids[u] for u in np.flatnonzero(models.data.histories.lengths)]


def answered(
    models: Models,
    state: State,
    user_ids: Iterable[str],
    k: int,
    *,
    exclude_seen: bool,
    batch: int,
    ahead: int,
    chance: Chance,
) -> Iterator[Batch]:
    """The lists of ``user_ids``, batch by batch, in order.

    Args:
        batch: users that a model is asked for at once.
        ahead: further batches that are worked on meanwhile, each in a thread; 0 = none.
        chance: number of a batch's first user, from 0 -> seed of its exploration; called in order.

    Raises:
        UnknownUserError, DataError, ModelError: as `Engine.recommend`, when the batch's turn comes.
    """
    for name, given, least in (("batch", batch, 1), ("ahead", ahead, 0)):
        if not isinstance(given, int) or isinstance(given, bool) or given < least:
            expected = f"{name} as a whole number of at least {least}"
            raise DataError(explain("recommend_many", expected, repr(given)))

    def work(part: tuple[list[str], Sequence[int]]) -> Batch:
        users, seed = part
        with counting() as counted:
            top, tally = _lists(models, state, users, k, exclude_seen, seed)
        return Batch(users, top, tally, counted)

    def parts() -> Iterator[tuple[list[str], Sequence[int]]]:
        source, first = iter(user_ids), 0
        while users := list(islice(source, batch)):
            yield users, chance(first)
            first += len(users)

    for done in in_order(work, parts(), ahead):
        if ahead:
            absorb(done.work)
        yield done


def in_order(work: Callable[[A], B], items: Iterable[A], ahead: int) -> Iterator[B]:
    """``work(item)`` of each item, in order; meanwhile up to ``ahead`` further ones are worked on.

    No more than ``ahead`` + 1 items are taken from ``items`` before a result is asked for, and
    no more than ``ahead`` + 1 results wait. An error comes when its item's turn comes; what was not
    begun then never is, and what was begun is waited for.
    """
    if ahead == 0:
        yield from map(work, items)
        return
    source = iter(items)
    waiting: deque[Future[B]] = deque()
    threads = ThreadPoolExecutor(ahead + 1, thread_name_prefix="recfusion batch")
    try:
        while True:
            for item in islice(source, ahead + 1 - len(waiting)):
                waiting.append(threads.submit(work, item))
            if not waiting:
                return
            error = waiting[0].exception()  # waits for it
            if error is not None:
                raise error
            first = waiting.popleft()
            for item in islice(source, 1):
                waiting.append(threads.submit(work, item))
            yield first.result()
            del first  # or its result would live on while the next one is waited for
    finally:
        threads.shutdown(wait=True, cancel_futures=True)


def _lists(
    models: Models,
    state: State,
    users: Sequence[str],
    k: int,
    exclude_seen: bool,
    seed: Sequence[int],
) -> tuple[Top, Tally]:
    """The lists of one batch; who has no history is answered by the fallback, apart."""
    queries = user_queries(state.config, models.data, users, exclude_seen)
    known = queries.history.lengths > 0
    groups = [at for at in (np.flatnonzero(known), np.flatnonzero(~known)) if len(at)]
    tops, tally = [], Tally()
    for number, at in enumerate(groups):
        own = queries.take(at)
        given = answer(models, state, own, depth_of(state.after, k))
        rng = np.random.default_rng([*seed, number] if number else seed)
        shown = outcome_of(
            state.after, given.fused, own, models.data.catalog, k, rng, explain=False
        )
        tally.note(given.runs, len(at))
        tally.note_removed(shown.removed)
        tops.append(shown.top)
    return (tops[0] if len(tops) == 1 else Top.interleave(tops, groups)), tally
