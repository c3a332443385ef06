"""`Pool`: the candidates of one batch of queries, scored no more than a strategy asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates, Missing, Scores
from fusion.errors import DataError, explain
from fusion.normalizations.segments import ranks
from fusion.progress import track
from fusion.protocols import Model, Ranker, Retriever
from fusion.queries import Queries
from fusion.ragged import segment_rank

__all__ = ["LivePool", "StoredPool", "top_rows"]

#: Cormack, Clarke and Buettcher 2009, section 2
RRF_K = 60.0
WIDTH = np.int64(2) ** 32


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
    ) -> None:
        self.queries = queries
        self.popularity = popularity
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

    @cached_property
    def _union(self) -> Candidates:
        lists = []
        for name in self.retrievers:
            model = self._models[name]
            assert isinstance(model, Retriever)
            n = max(model.config.n, self._depth)
            lists.append(model.retrieve(self.queries, n))
        return Candidates.union(lists).checked()

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
        at = np.arange(len(self._union)) if whole else self._locate(candidates)
        out = Candidates.bare(candidates.offsets, candidates.items)
        for name in models:
            model = self._models[name]
            asked = np.ones(len(at), bool)
            if isinstance(model, Ranker):
                asked = top_rows(candidates, self._first[at], model.config.top)
            self._ask(name, at[asked])
            memo = self._memo[name]
            values = np.where(asked, memo.values[at], np.float32(np.nan))
            why = np.where(asked, memo.why[at], np.uint8(Missing.FILTERED))
            out = out.with_scores(name, Scores(values, why))
        return out

    def _locate(self, candidates: Candidates) -> npt.NDArray[np.int64]:
        keys = row_keys(candidates)
        at = np.minimum(np.searchsorted(self._keys, keys), max(len(self._keys) - 1, 0))
        if len(keys) and (len(self._keys) == 0 or (self._keys[at] != keys).any()):
            raise DataError(explain("Pool", "rows of its own union", "other candidates"))
        return at

    def _ask(self, name: str, rows: npt.NDArray[np.int64]) -> None:
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
        todo = Candidates.bare(self._union.offsets, self._union.items).where(wanted)
        where = np.flatnonzero(wanted)
        busy = np.flatnonzero(todo.lengths > 0)
        starts = range(0, len(busy), self._batch)
        for start in track(starts, f"score {name}", total=len(starts), show=self._progress):
            part = busy[start : start + self._batch]
            few = todo.take(part)
            scores = self._models[name].score(self.queries.take(part), few)
            checked = few.with_scores(name, scores).checked()
            to = where[todo.offsets[part[0]] : todo.offsets[part[-1] + 1]]
            memo.values[to], memo.why[to] = checked.scores[:, 0], checked.why[:, 0]
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
        )

    def freeze(self) -> StoredPool:
        """Every model's column on the whole union, for later.

        A ranker's column holds its ``top`` rows of the union, and what else it was asked for.
        """
        self.complete(self._union, self.models)
        out = Candidates.bare(self._union.offsets, self._union.items)
        for name in self.models:
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
