"""Pools inside pools: how one fusion sees another one as a model, and how it sees fewer candidates.

A fusion inside another is a column like any model's: its fused scores, NaN (``FILTERED``) for the
candidates that it dropped. Where it learns, the fusion around it must not learn from scores that
saw the labels; `CrossFitted` then answers for each user with a copy that was fitted on others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates, Missing, Scores
from fusion.errors import DataError, explain
from fusion.protocols import (
    FitContext,
    Fused,
    Labelled,
    Pool,
    Provenance,
    Strategy,
    Windows,
)
from fusion.queries import Queries

__all__ = [
    "FOLDS",
    "CrossFitted",
    "NestedPool",
    "Within",
    "copy_of",
    "float32_in_order",
    "folds_of",
    "fuse_by",
    "nested_windows",
    "rows_in",
    "within_windows",
]

FOLDS = 5
_WIDTH = np.int64(2) ** 32
_LARGEST = 1e38  # leaves room below for more different numbers than there are candidates


@dataclass(frozen=True)
class Within:
    """A pool of fewer candidates: some rows of another one.

    Attributes:
        pool: the whole.
        rows: those of its candidates that are left; the columns in it are known already, and no
            model is asked for them again.
    """

    pool: Pool
    rows: Candidates

    @property
    def queries(self) -> Queries:
        """The batch."""
        return self.pool.queries

    @property
    def models(self) -> tuple[str, ...]:
        """The whole pool's."""
        return self.pool.models

    @property
    def popularity(self) -> npt.NDArray[np.float64]:
        """The whole pool's."""
        return self.pool.popularity

    def candidates(self) -> Candidates:
        """The rows that are left, with the scores that the retrievers' lists came with."""
        return self._left

    @cached_property
    def _left(self) -> Candidates:
        union = self.pool.candidates()
        at = rows_in(union, self.rows)
        return replace(
            union,
            offsets=self.rows.offsets,
            items=self.rows.items,
            scores=union.scores[at],
            why=union.why[at],
        )

    def complete(self, candidates: Candidates, models: Sequence[str]) -> Candidates:
        """``candidates`` (of those left) with exactly the columns ``models``."""
        known = tuple(model for model in models if model in self.rows.models)
        found = self.pool.complete(candidates, tuple(m for m in models if m not in known))
        if known:
            at = rows_in(self.rows, candidates)
            for model in known:
                column = self.rows.models.index(model)
                scores = Scores(self.rows.scores[at, column], self.rows.why[at, column])
                found = found.with_scores(model, scores)
        return found.only(models)

    def take(self, queries: npt.NDArray[np.integer]) -> Within:
        """The queries ``queries`` (K,) only."""
        return Within(self.pool.take(queries), self.rows.take(queries))


@dataclass(frozen=True)
class CrossFitted:
    """Copies of a strategy that learns, each fitted on the windows without one fold of users.

    Attributes:
        copies: one a fold.
    """

    copies: tuple[Strategy, ...]

    @classmethod
    def of(cls, strategy: Strategy, windows: Windows, context: FitContext) -> CrossFitted:
        """Fit `FOLDS` copies of ``strategy``.

        Raises:
            DataError: all events are of one fold's users.
        """
        copies = []
        for fold in range(FOLDS):
            own = copy_of(strategy)
            rest = [w.take(np.flatnonzero(folds_of(w.pool.queries) != fold)) for w in windows]
            rest = [window for window in rest if len(window.targets)]
            if not rest:
                raise DataError(
                    explain(
                        f"fusion {strategy.name}",
                        "events of several users to learn from, as another fusion learns on top",
                        "those of a few",
                        "hold back more events, or let only one of the two learn",
                    )
                )
            own.fit(rest, context)
            copies.append(own)
        return cls(tuple(copies))


Voter = Strategy | CrossFitted


@dataclass(frozen=True)
class NestedPool:
    """A pool that knows some fusions as models too.

    Attributes:
        pool: the one around which this one is laid.
        children: name -> the fusion, or its cross-fitted copies.
        visible: the names that the fusion on top sees.
    """

    pool: Pool
    children: Mapping[str, Voter]
    visible: tuple[str, ...]
    _memo: dict[str, tuple[Candidates, Scores]] = field(default_factory=dict, repr=False)

    @property
    def queries(self) -> Queries:
        """The batch."""
        return self.pool.queries

    @property
    def models(self) -> tuple[str, ...]:
        """What may be asked for: fusions first, then models."""
        return self.visible

    @property
    def popularity(self) -> npt.NDArray[np.float64]:
        """The pool's."""
        return self.pool.popularity

    def candidates(self) -> Candidates:
        """The pool's."""
        return self.pool.candidates()

    def complete(self, candidates: Candidates, models: Sequence[str]) -> Candidates:
        """``candidates`` with exactly the columns ``models``; a fusion's is its fused score."""
        found = self.pool.complete(candidates, tuple(m for m in models if m not in self.children))
        for name in models:
            if name in self.children:
                found = found.with_scores(name, self._column(name, candidates))
        return found.only(models)

    def _column(self, name: str, candidates: Candidates) -> Scores:
        known = self._memo.get(name)
        if known is None or known[0] is not candidates:
            bare = Candidates.bare(candidates.offsets, candidates.items)
            known = (candidates, _column(self.children[name], self.pool, bare))
            self._memo[name] = known
        return known[1]

    def take(self, queries: npt.NDArray[np.integer]) -> NestedPool:
        """The queries ``queries`` (K,) only."""
        return NestedPool(self.pool.take(queries), self.children, self.visible)


def _column(voter: Voter, pool: Pool, candidates: Candidates) -> Scores:
    """What ``voter`` says of ``candidates``, rows of ``pool``."""
    out = Scores.missing(len(candidates), Missing.FILTERED)
    if isinstance(voter, Strategy):
        fused = voter.fuse(Within(pool, candidates))
        at = rows_in(candidates, fused.candidates)
        out.values[at] = float32_in_order(fused.scores, fused.candidates)
        out.why[at] = Missing.PRESENT
        return out
    fold = folds_of(pool.queries)
    for number, strategy in enumerate(voter.copies):
        queries = np.flatnonzero(fold == number)
        part = _column(strategy, pool.take(queries), candidates.take(queries))
        rows = np.flatnonzero(np.isin(candidates.rows, queries))
        out.values[rows], out.why[rows] = part.values, part.why
    return out


def rows_in(whole: Candidates, part: Candidates) -> npt.NDArray[np.int64]:
    """(len(part),) int64: where each row of ``part`` stands in ``whole``.

    Raises:
        DataError: a row is not there.
    """
    if part is whole or (len(part) == len(whole) and np.array_equal(part.items, whole.items)):
        return np.arange(len(whole), dtype=np.int64)
    keys, wanted = whole.rows * _WIDTH + whole.items, part.rows * _WIDTH + part.items
    order = np.argsort(keys, kind="stable")
    at = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), max(len(keys) - 1, 0))]
    if len(wanted) and (len(keys) == 0 or (keys[at] != wanted).any()):
        raise DataError(explain("pool", "rows of its own candidates", "other candidates"))
    return at


def float32_in_order(
    scores: npt.NDArray[np.float64], candidates: Candidates
) -> npt.NDArray[np.float32]:
    """``scores`` (N,) as float32, such that whoever stood above still does in its query.

    Where rounding would make two different scores one, the lower one becomes the next number
    below; equal scores stay equal. A score moves by a few units in the last place at most, and only
    among candidates that close to each other (or beyond 1e38, where float32 ends).
    """
    order = np.lexsort((-scores, candidates.rows))
    ranked, rows = scores[order], candidates.rows[order]
    # + 0.0, since -0.0 and 0.0 are equal and their bits are not
    bits = (
        (np.clip(ranked, -_LARGEST, _LARGEST).astype(np.float32) + np.float32(0.0))
        .view(np.int32)
        .astype(np.int64)
    )
    codes = np.where(bits < 0, np.int64(-(2**31)) - bits, bits)  # rises with the number
    same = np.concatenate([[False], rows[1:] == rows[:-1]])
    falls = np.concatenate([[False], ranked[1:] < ranked[:-1]]) & same
    # the running minimum starts anew where each query stands far below the one before it
    steps = np.cumsum(falls)
    level = codes + steps - rows * np.int64(2**34)
    codes = np.minimum.accumulate(level) - steps + rows * np.int64(2**34)
    bits = np.where(codes < 0, np.int64(-(2**31)) - codes, codes)
    out = np.empty(len(scores), np.float32)
    out[order] = bits.astype(np.int32).view(np.float32)
    return out


def folds_of(queries: Queries) -> npt.NDArray[np.int64]:
    """(Q,) int64 in 0..`FOLDS` - 1: by user, so that nobody stands on both sides.

    It depends on the query alone, so any part of a batch falls as it does in the whole. Whoever is
    no user of the data is known by what is in the history.
    """
    lengths = queries.history.lengths
    sums = np.zeros(len(queries), np.int64)
    np.add.at(sums, queries.history.rows, queries.history.values.astype(np.int64))
    key = np.where(queries.users >= 0, queries.users.astype(np.int64), sums * 1_009 + lengths)
    # the finaliser of MurmurHash3, since neighbours must not share a fold by rule
    mixed = key.astype(np.uint64)
    for shift, factor in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(33)
    return (mixed % np.uint64(FOLDS)).astype(np.int64)


def copy_of(strategy: Strategy) -> Strategy:
    """A new one of the same configuration that has learnt nothing."""
    return type(strategy)(strategy.config, name=strategy.name)


def nested_windows(
    windows: Windows,
    children: Mapping[str, Strategy],
    voters: Mapping[str, Voter],
    visible: Sequence[str],
) -> list[Labelled]:
    """``windows`` as the fusion on top of ``children`` sees them.

    A child's column has seen what its models had seen: the window's past, or, where one of them
    saw something else, that, so that whoever learns from it refuses it.
    """
    out = []
    for window in windows:
        provenance = dict(window.provenance)
        for name, child in children.items():
            seen = [window.provenance.get(m) for m in child.uses(window.pool.models)]
            provenance[name] = _together(seen, window.past)
        pool = NestedPool(window.pool, voters, tuple(visible))
        out.append(replace(window, pool=pool, provenance=provenance))
    return out


def _together(seen: Sequence[Provenance | None], past: Provenance) -> Provenance | None:
    for one in seen:
        if one is None or one.fingerprint != past.fingerprint:
            return one
    return past


def within_windows(windows: Windows, rows: Sequence[Candidates]) -> list[Labelled]:
    """``windows`` with only ``rows`` of each one's candidates left."""
    return [
        replace(window, pool=Within(window.pool, left))
        for window, left in zip(windows, rows, strict=True)
    ]


def fuse_by(voter: Voter, pool: Pool, candidates: Candidates) -> Fused:
    """What ``voter`` says of ``candidates``, rows of ``pool``, as one answer."""
    if isinstance(voter, Strategy):
        return voter.fuse(Within(pool, candidates))
    column = _column(voter, pool, candidates)
    kept = ~np.isnan(column.values)
    scores = column.values[kept].astype(np.float64)
    return Fused.of(candidates.where(kept), scores, ("fused",), scores[:, None])
