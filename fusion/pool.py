"""`Pool`: the candidates of one batch of queries, scored no more than a strategy asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates, Missing, Scores
from fusion.errors import DataError, ModelError, explain
from fusion.normalizations.segments import ranks
from fusion.progress import track
from fusion.protocols import Model, Ranker, Retriever
from fusion.queries import Queries
from fusion.ragged import segment_rank
from fusion.serving.asking import Asker

__all__ = ["LivePool", "StoredPool", "top_rows"]

#: Cormack, Clarke and Buettcher 2009, section 2
RRF_K = 60.0
WIDTH = np.int64(2) ** 32
#: row numbers of a union, or all of it
Rows = Any


def row_keys(candidates: Candidates) -> npt.NDArray[np.int64]:
    """(N,) int64: a number for each (query, item), rising where items rise inside a query."""
    return candidates.rows * WIDTH + candidates.items


def top_rows(
    candidates: Candidates, scores: npt.NDArray[np.floating], k: int
) -> npt.NDArray[np.bool_]:
    """(N,) bool: the ``k`` best rows of each query by ``scores`` (N,), ties by item index."""
    _, rank = segment_rank(candidates.offsets, (candidates.items, -scores))
    return rank <= k


class LivePool:
    """Asks fitted models on demand and remembers what they said.

    Args:
        queries: the batch.
        models: every model of the engine by name, retrievers first.
        popularity: (I,) float64, see `fusion.protocols.Pool`.
        depth: ask every retriever for at least so many candidates.
        progress: whether to show a bar over batches of queries.
        batch: how many queries a model is asked at once; bounds memory, changes no score.
        asker: what is done when a model fails or is late; by default a failure is an error.
        order: the models in the order in which retrievers are asked; changes no score.

    A model without an answer for the batch, because it failed or is late, has `Missing.TIMED_OUT`
    in its column, and a retriever then brings no candidates.

    Raises:
        ModelError: a model failed and the asker does not skip it, or no retriever is left.
    """

    def __init__(
        self,
        queries: Queries,
        models: Mapping[str, Model],
        popularity: npt.NDArray[np.float64],
        *,
        depth: int = 0,
        progress: bool = False,
        batch: int = 256,
        asker: Asker | None = None,
        order: Sequence[str] = (),
    ) -> None:
        self.queries = queries
        self.popularity = popularity
        self.asker = asker or Asker()
        self._order = tuple(order)
        self._models = models
        self._depth, self._progress, self._batch = depth, progress, batch
        self._memo: dict[str, Scores] = {}
        self._done: dict[str, npt.NDArray[np.bool_]] = {}

    @property
    def models(self) -> tuple[str, ...]:
        """Every model's name, retrievers first."""
        return tuple(self._models)

    @property
    def retrievers(self) -> tuple[str, ...]:
        """The names of those that look at the whole catalogue."""
        return tuple(n for n, m in self._models.items() if isinstance(m, Retriever))

    @property
    def answered(self) -> int:
        """How many scores the models have been asked for so far."""
        return sum(int(done.sum()) for done in self._done.values())

    @cached_property
    def _union(self) -> Candidates:
        names = self.retrievers
        found: dict[str, Candidates | None] = {}
        for name in sorted(names, key=self._order.index) if self._order else names:
            model = self._models[name]
            assert isinstance(model, Retriever)
            n = max(model.config.n, self._depth)
            found[name] = self.asker.retrieve(name, model, self.queries, n, len(self.popularity))
        if all(answer is None for answer in found.values()):
            reasons = "; ".join(f"{n}: {self.asker.runs[n].reason}" for n in names)
            raise ModelError(
                explain("recommend", "at least one retriever that answers", f"none ({reasons})")
            )
        lists = [self._nothing(n) if answer is None else answer for n, answer in found.items()]
        union = Candidates.union(lists).only(names)
        for m, name in enumerate(names):
            if found[name] is None:
                union.why[:, m] = Missing.TIMED_OUT
        return union

    def _nothing(self, name: str) -> Candidates:
        empty = np.empty(0, np.int32)
        offsets = np.zeros(len(self.queries) + 1, np.int64)
        return Candidates.single(name, offsets, empty, empty.astype(np.float32))

    @cached_property
    def _bare(self) -> Candidates:
        return Candidates.bare(self._union.offsets, self._union.items)

    @cached_property
    def _keys(self) -> npt.NDArray[np.int64]:
        return row_keys(self._union)

    @cached_property
    def _first(self) -> npt.NDArray[np.float64]:
        """(N,) float64: the order in which rankers with a limit take the union's rows.

        Reciprocal ranks of the completed retrievers' scores, so that the order does not depend on
        how deep a list was cut.
        """
        place = ranks(self.complete(self._union, self.retrievers)).astype(np.float64)
        first: npt.NDArray[np.float64] = np.nansum(1.0 / (RRF_K + place), axis=1)
        return first

    def candidates(self) -> Candidates:
        """The union of the retrievers' lists, with the scores they came with."""
        return self._union

    def complete(self, candidates: Candidates, models: Sequence[str]) -> Candidates:
        """``candidates`` (rows of the union) with exactly the columns ``models``."""
        whole = candidates is self._union or len(candidates) == len(self._union)
        at: Rows = slice(None) if whole else self._locate(candidates)
        n, longest = len(candidates), int(candidates.lengths.max(initial=0))
        values, why = np.empty((n, len(models)), np.float32), np.empty((n, len(models)), np.uint8)
        for m, name in enumerate(models):
            model = self._models[name]
            top = model.config.top if isinstance(model, Ranker) else longest
            if top < longest:
                asked = top_rows(candidates, self._first[at], top)
                self._ask(name, np.arange(n)[asked] if whole else at[asked])
                memo = self._memo[name]
                values[:, m] = np.where(asked, memo.values[at], np.float32(np.nan))
                why[:, m] = np.where(asked, memo.why[at], np.uint8(Missing.FILTERED))
            else:
                self._ask(name, at)
                memo = self._memo[name]
                values[:, m], why[:, m] = memo.values[at], memo.why[at]
        return Candidates(candidates.offsets, candidates.items, values, tuple(models), why)

    def _locate(self, candidates: Candidates) -> npt.NDArray[np.int64]:
        keys = row_keys(candidates)
        at = np.minimum(np.searchsorted(self._keys, keys), max(len(self._keys) - 1, 0))
        if len(keys) and (len(self._keys) == 0 or (self._keys[at] != keys).any()):
            raise DataError(explain("Pool", "rows of its own union", "other candidates"))
        return at

    def _ask(self, name: str, rows: Rows) -> None:
        """Make sure that model ``name`` has been asked for the union's ``rows``."""
        n = len(self._union)
        if name not in self._memo:
            self._memo[name] = Scores(np.full(n, np.nan, np.float32), np.zeros(n, np.uint8))
            self._done[name] = np.zeros(n, bool)
        memo, done = self._memo[name], self._done[name]
        wanted = np.zeros(n, bool)
        wanted[rows] = True
        wanted &= ~done
        if not wanted.any():
            return
        if len(self.queries) <= self._batch and wanted.all() and self._union.lengths.all():
            scores = self.asker.score(name, self._models[name], self.queries, self._bare)
            if scores is None:
                memo.why[:] = Missing.TIMED_OUT
            else:
                memo.values[:], memo.why[:] = scores.values, scores.why
            done[:] = True
            return
        todo = Candidates.bare(self._union.offsets, self._union.items).where(wanted)
        where = np.flatnonzero(wanted)
        busy = np.flatnonzero(todo.lengths > 0)
        starts = range(0, len(busy), self._batch)
        for start in track(starts, f"score {name}", total=len(starts), show=self._progress):
            part = busy[start : start + self._batch]
            few = todo.take(part)
            scores = self.asker.score(name, self._models[name], self.queries.take(part), few)
            if scores is None:
                memo.why[where[todo.offsets[part[0]] :]] = Missing.TIMED_OUT
                break
            to = where[todo.offsets[part[0]] : todo.offsets[part[-1] + 1]]
            memo.values[to], memo.why[to] = scores.values, scores.why
        done |= wanted

    def take(self, queries: npt.NDArray[np.integer]) -> LivePool:
        """The queries ``queries`` (K,) only; nothing that was said so far is remembered."""
        return LivePool(
            self.queries.take(queries),
            self._models,
            self.popularity,
            depth=self._depth,
            progress=self._progress,
            batch=self._batch,
            asker=self.asker,
            order=self._order,
        )

    def freeze(self) -> StoredPool:
        """Every model's column on the whole union, for later.

        A ranker's column holds its ``top`` rows of the union, and what else it was asked for.
        """
        self.complete(self._union, self.models)
        return self.so_far()

    def so_far(self) -> StoredPool:
        """What every model has said up to now; what none was asked for is `Missing.FILTERED`."""
        out = Candidates.bare(self._union.offsets, self._union.items)
        for name in self.models:
            if name not in self._memo:
                reason = Missing.TIMED_OUT if self.asker.gone(name) else Missing.FILTERED
                out = out.with_scores(name, Scores.missing(len(out), reason))
                continue
            memo, done = self._memo[name], self._done[name]
            values = np.where(done, memo.values, np.float32(np.nan))
            why = np.where(done, memo.why, np.uint8(Missing.FILTERED))
            out = out.with_scores(name, Scores(values, why))
        return StoredPool(self.queries, self._union, out, self.popularity)

    def recall(self, stored: StoredPool) -> None:
        """Remember what the same models said of the same queries in an earlier run.

        Raises:
            DataError: ``stored`` is of other queries or models.
        """
        if stored.models != self.models or len(stored.queries) != len(self.queries):
            raise DataError(
                explain("Pool", f"scores of {self.models}", f"those of {stored.models}")
            )
        self.__dict__["_union"] = stored.union
        for at, name in enumerate(self.models):
            why = stored.completed.why[:, at]
            self._memo[name] = Scores(stored.completed.scores[:, at].copy(), why.copy())
            self._done[name] = why != Missing.FILTERED


@dataclass(frozen=True)
class StoredPool:
    """Columns computed once; needs no model.

    Attributes:
        queries: the batch.
        union: the retrievers' lists, as they came.
        completed: the same rows with every model's column.
        popularity: (I,) float64.
    """

    queries: Queries
    union: Candidates
    completed: Candidates
    popularity: npt.NDArray[np.float64]

    @property
    def models(self) -> tuple[str, ...]:
        """Every model's name, retrievers first."""
        return self.completed.models

    @cached_property
    def _keys(self) -> npt.NDArray[np.int64]:
        return row_keys(self.union)

    def candidates(self) -> Candidates:
        """The union of the retrievers' lists, with the scores they came with."""
        return self.union

    def complete(self, candidates: Candidates, models: Sequence[str]) -> Candidates:
        """``candidates`` (rows of the union) with exactly the columns ``models``."""
        full = self.completed.only(models)
        if len(candidates) == len(self.union):
            return full
        at = np.searchsorted(self._keys, row_keys(candidates))
        return replace(
            full,
            offsets=candidates.offsets,
            items=candidates.items,
            scores=full.scores[at],
            why=full.why[at],
        )

    def take(self, queries: npt.NDArray[np.integer]) -> StoredPool:
        """The queries ``queries`` (K,) only."""
        return StoredPool(
            self.queries.take(queries),
            self.union.take(queries),
            self.completed.take(queries),
            self.popularity,
        )
