"""Past and future of a data set: what models may be fitted on, and what they are asked.

`leave_last_out` is comparable with papers, but a model may have seen other users' later events.
`temporal` cuts the whole data at one moment, so that no model sees the future of anybody. Both
serve twice: for the test, and, on the train part of that, for the window in which a stacker learns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from fusion.data.dataset import Dataset
from fusion.errors import DataError, LeakageError, explain
from fusion.queries import Queries
from fusion.ragged import IntArray, Ragged

__all__ = ["Split", "leave_last_out", "temporal"]


@dataclass(frozen=True)
class Split:
    """A data set in two: a past to learn from and questions about what came after.

    Attributes:
        train: everything that models may be fitted on (training and validation), with the
            vocabularies of the whole, so that indices mean the same on both sides.
        queries: ``Q`` queries, by user, then in the order of events.
        targets: ``Q`` lists of the item_index that each query met next; never empty.
        users: (Q,) int32 user_index: the clusters of the bootstrap, since the queries of one user
            are not independent.
        kind: ``"leave_last_out"`` or ``"temporal"``.
        params: the arguments that made it.
        report: counts. ``events = train_events + queries + `` the ``left_out_*`` entries; the rest
            describes (users too short to ask about, targets that no model can know).

    Raises:
        LeakageError: a (user, target) pair that stands in ``train``.
    """

    train: Dataset
    queries: Queries
    targets: Ragged
    users: npt.NDArray[np.int32]
    kind: str
    params: Mapping[str, float]
    report: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        events = self.train.interactions
        seen = _pair_keys(events.users, events.items)
        asked = _pair_keys(self.users[self.targets.rows], self.targets.values)
        leaked = int(np.isin(asked, seen).sum())
        if leaked:
            raise LeakageError(
                explain(
                    f"split {self.kind!r}",
                    "no target among the training events",
                    f"{leaked} of {len(asked)} targets there",
                    "make each (user, item) pair stand once in the data",
                )
            )

    def __len__(self) -> int:
        return len(self.queries)

    def take(self, which: IntArray) -> Split:
        """The queries ``which`` (K,), each once, in that order; train stays as it is."""
        which = np.asarray(which, dtype=np.int64)
        left_out = self.report.get("left_out_not_taken", 0) + len(self) - len(which)
        report = {**self.report, "queries": len(which), "left_out_not_taken": left_out}
        return replace(
            self,
            queries=self.queries.take(which),
            targets=self.targets.take(which),
            users=self.users[which],
            report=report,
        )

    def __repr__(self) -> str:
        params = ", ".join(f"{name}={value}" for name, value in self.params.items())
        return (
            f"Split({self.kind}({params}), {len(self.train):,} train events, {len(self):,} queries)"
        )


def leave_last_out(data: Dataset, *, events: int = 1, min_history: int = 1) -> Split:
    """The last ``events`` events of each user are the targets, one query each.

    A query knows all of the user's events before its target: with ``events=3`` the query for the
    last event knows the two before it, which no model was fitted on. Train is everything before a
    user's first target. "Last" is by the project's order (`fusion.data.order`).

    Args:
        data: the whole.
        events: targets a user, at least 1.
        min_history: events that must stay before a user's first target, at least 1. Users with
            fewer than ``events + min_history`` events stay wholly in train; the report counts them
            as ``users_too_few_events``.

    Raises:
        DataError: arguments out of range, or no user with so many events.
    """
    who = "leave_last_out"
    if events < 1 or min_history < 1:
        got = f"events={events}, min_history={min_history}"
        raise DataError(explain(who, "events and min_history of at least 1", got))
    data.require_events(who)
    counts = np.diff(data.offsets)
    long_enough = np.flatnonzero(counts >= events + min_history)
    if len(long_enough) == 0:
        raise DataError(
            explain(
                who,
                f"a user with at least {events + min_history} events",
                f"at most {counts.max()} for any of {len(counts)} users",
                "lower events or min_history, or bring more data",
            )
        )
    last = data.offsets[long_enough + 1]
    rows = (last[:, None] + np.arange(-events, 0)[None, :]).ravel()  # (users * events,)
    in_train = np.ones(len(data), dtype=bool)
    in_train[rows] = False
    too_few = int(((counts > 0) & (counts < events + min_history)).sum())
    params = {"events": events, "min_history": min_history}
    return _split(data, in_train, rows, who, params, {"users_too_few_events": too_few})


def temporal(
    data: Dataset, *, fraction: float = 0.2, events_per_user: int = 10, seed: int = 0
) -> Split:
    """One cut in time for all: events before it are train, later ones are possible queries.

    The cut is the time of the event at the ``1 - fraction`` quantile; events at exactly that time
    go to the test side, so the rule depends neither on file order nor on ids. Models stay as they
    were at the cut, while a query knows all of its user's events before the one it asks about, also
    those after the cut: that is what a running system would know.

    Args:
        data: the whole, with timestamps.
        fraction: share of events on the test side, between 0 and 1 (more where times are tied).
        events_per_user: at most so many queries a user, so that a few busy users do not decide;
            chosen by a hash of ids and ``seed``, since "the first ten" would prefer fresh models.
        seed: of that choice.

    Queries without any history are left out and counted (``left_out_no_history``), as are those
    above ``events_per_user`` (``left_out_over_limit``).

    Raises:
        DataError: no timestamps, arguments out of range, nothing before the cut, or no query left.
    """
    who = "temporal"
    data.require_events(who)
    if not data.has_time:
        do = "use leave_last_out, or bring a timestamp column"
        raise DataError(explain(who, "a timestamp on every event", "events without one", do))
    if not 0 < fraction < 1 or events_per_user < 1:
        got = f"fraction={fraction}, events_per_user={events_per_user}"
        raise DataError(explain(who, "0 < fraction < 1 and events_per_user >= 1", got))
    times = data.interactions.times
    cut = np.sort(times)[min(int(np.ceil((1 - fraction) * len(times))), len(times) - 1)]
    in_train = times < cut
    if not in_train.any():
        raise DataError(
            explain(
                who,
                f"events before the cut at {cut:.0f} s",
                f"none: {len(times)} events share too few times",
                "use leave_last_out, or lower fraction",
            )
        )
    later = np.flatnonzero(~in_train)
    known = later > data.offsets[data.interactions.users[later]]
    asked = later[known]
    rows = _limit(data, asked, events_per_user, seed)
    if len(rows) == 0:
        raise DataError(
            explain(
                who,
                "events after the cut by users with a history",
                f"none of {len(later)}",
                "use leave_last_out, or raise fraction",
            )
        )
    report = {
        "left_out_no_history": int((~known).sum()),
        "left_out_over_limit": len(asked) - len(rows),
    }
    params = {"fraction": fraction, "events_per_user": events_per_user, "seed": seed}
    return _split(data, in_train, rows, who, params, report)


def _limit(
    data: Dataset, rows: npt.NDArray[np.int64], most: int, seed: int
) -> npt.NDArray[np.int64]:
    """At most ``most`` of ``rows`` a user, those with the smallest hash, in rising order."""
    users = data.interactions.users[rows]
    crowded = np.bincount(users, minlength=data.n_users)[users] > most
    events, names, items = data.interactions, data.users.ids, data.catalog.ids
    keys = np.zeros(len(rows), dtype=np.uint64)
    for at in np.flatnonzero(crowded):  # hashing is slow; most users are below the limit
        row = rows[at]
        text = f"{seed}\t{names[events.users[row]]}\t{items[events.items[row]]}"
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        keys[at] = int.from_bytes(digest, "big")
    order = np.lexsort((keys, users))
    first = np.searchsorted(users[order], users[order], side="left")
    return np.sort(rows[order[np.arange(len(rows)) - first < most]])


def _split(
    data: Dataset,
    in_train: npt.NDArray[np.bool_],
    rows: npt.NDArray[np.int64],
    kind: str,
    params: Mapping[str, float],
    counts: Mapping[str, int],
) -> Split:
    users, items = data.interactions.users[rows], data.interactions.items[rows]
    train = data.where(in_train)
    report = {
        "events": len(data),
        "train_events": len(train),
        "queries": len(rows),
        **counts,
        "queries_of_users_not_in_train": int((np.diff(train.offsets)[users] == 0).sum()),
        "queries_of_items_not_in_train": int((train.popularity[items] == 0).sum()),
    }
    targets = Ragged(np.arange(len(rows) + 1, dtype=np.int64), items)
    return Split(train, data.queries_before(users, rows), targets, users, kind, params, report)


def _pair_keys(users: npt.NDArray[np.int32], items: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    return users.astype(np.int64) * (np.int64(2) ** 32) + items
