"""What a point is worth: the mean of a metric over the windows' queries."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np
import numpy.typing as npt

from fusion.config_components import make
from fusion.errors import ConfigError
from fusion.normalizations.segments import FloatArray, sums
from fusion.protocols import FitContext, Labelled, Strategy, Windows
from fusion.stackers.folds import user_folds
from fusion.tuning.columns import Columns, Line, columns_for
from fusion.tuning.gains import TargetRows, gains_of
from fusion.tuning.pools import MemoPool
from fusion.tuning.space import Infeasible, Place, Point, Space

__all__ = ["Objective", "Part", "folds_of"]

_STRUCTURES = 3  # sets of worths kept, each (M, N) float64
_VALUES = 64 * 2**20  # bytes of values kept


class Objective:
    """Values of points over all queries of several windows, computed once a point.

    A query whose target is not among its candidates counts, with 0. Columns are computed once; so
    are worths, where only the weights change (`fusion.tuning.columns`).

    Args:
        who: names the fusion in messages.
        windows: out-of-window scores, the oldest first.
        space: builds the fusion of a point.
        metric: such as ``"NDCG@10"``.
        context: of the fit; what learns inside the fusion draws from it.
        folds: a fusion that learns is judged on so many folds of users, learnt on the others.
    """

    def __init__(
        self,
        who: str,
        windows: Windows,
        space: Space,
        metric: str,
        context: FitContext,
        folds: int = 2,
    ) -> None:
        self.who, self.space, self.gains = who, space, gains_of(metric)
        self._context, self._folds = replace(context, progress=False), max(folds, 2)
        self._windows = [replace(window, pool=MemoPool(window.pool)) for window in windows]
        sizes = [len(window.targets) for window in windows]
        #: (W + 1,): the queries of window ``w`` have the numbers ``starts[w]:starts[w + 1]``
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._columns: OrderedDict[str, list[Columns] | None] = OrderedDict()
        self._values: OrderedDict[str, FloatArray] = OrderedDict()
        self._learns: dict[str, bool] = {}

    @property
    def n_queries(self) -> int:
        """Q, of all windows together."""
        return int(self.starts[-1])

    @cached_property
    def users(self) -> npt.NDArray[np.int64]:
        """(Q,) int64: whose query it is; each who is unknown is somebody else, below 0."""
        users = np.concatenate([w.pool.queries.users for w in self._windows]).astype(np.int64)
        return np.where(users >= 0, users, -1 - np.arange(len(users)))

    @cached_property
    def _able(self) -> list[tuple[npt.NDArray[np.int64], Labelled]]:
        """Of each window the queries with their target among the candidates: all others get 0."""
        out = []
        for window in self._windows:
            union = window.pool.candidates()
            which = np.flatnonzero(sums(window.labels(union), union.offsets) > 0)
            few = window.take(which) if len(which) < len(window.targets) else window
            out.append((which, few))
        return out

    def whole(self) -> Part:
        """All queries."""
        return Part(self, np.arange(self.n_queries))

    def build(self, point: Point) -> Strategy:
        """A new strategy.

        Raises:
            Infeasible: the values of ``point`` contradict each other.
        """
        params = self.space.fusion(point)
        try:
            strategy = cast(Strategy, make("fusion", self.who, params))
            strategy.uses(self._windows[-1].pool.models)
        except ConfigError as error:
            raise Infeasible(str(error)) from error
        return strategy

    def learns(self, point: Point) -> bool:
        """Whether the fusion of ``point`` is fitted before it is used."""
        if point.structure not in self._learns:
            self._learns[point.structure] = self.build(point).learns
        return self._learns[point.structure]

    def values(self, point: Point) -> FloatArray:
        """(Q,) float64: the value of each query, by a fusion that learns nothing."""
        if point.key not in self._values:
            out = np.zeros(self.n_queries)
            columns = self._columns_of(point)
            strategy = None if columns is not None else self.build(point)
            for w, (which, window) in enumerate(self._able):
                if columns is not None:
                    weights = point.weights[self.space.places[0].key]
                    ranks = columns[w].ranks(weights)
                elif strategy is not None and len(which):
                    ranks = _ranks(strategy, window)
                else:
                    continue
                out[self.starts[w] + which] = self.worth(ranks)
            self._keep(point, out)
        return self._values[point.key]

    def _keep(self, point: Point, values: FloatArray) -> None:
        self._values[point.key] = values
        if len(self._values) > max(_VALUES // (8 * max(self.n_queries, 1)), 64):
            self._values.popitem(last=False)

    def worth(self, ranks: npt.NDArray[np.int64]) -> FloatArray:
        """The value of each rank; 0 = the target is not listed."""
        return np.asarray(self.gains[np.minimum(ranks, len(self.gains) - 1)])

    def _columns_of(self, point: Point) -> list[Columns] | None:
        if [place.path for place in self.space.places] != [""]:
            return None
        if point.structure not in self._columns:
            strategy = self.build(point)
            found = [columns_for(strategy, window) for _, window in self._able]
            plain = [one for one in found if one is not None]
            self._columns[point.structure] = plain if len(plain) == len(found) else None
            if len(self._columns) > _STRUCTURES:
                self._columns.popitem(last=False)
        self._columns.move_to_end(point.structure)
        return self._columns[point.structure]

    def line(self, point: Point, place: Place, m: int) -> Line | None:
        """The metric for every share of model ``m``; ``None`` where it is not known exactly."""
        columns = None if self.learns(point) else self._columns_of(point)
        if columns is None or not all(one.is_sum for one in columns):
            return None
        lines = [one.line(point.weights[place.key], m, self.gains) for one in columns]
        start = np.zeros(self.n_queries)
        queries = []
        for w, (line, (which, _)) in enumerate(zip(lines, self._able, strict=True)):
            start[self.starts[w] + which] = line.start
            queries.append(self.starts[w] + which[line.queries])
        return Line(
            np.concatenate([line.at for line in lines]),
            np.concatenate(queries),
            np.concatenate([line.by for line in lines]),
            start,
        )

    def taught(self, point: Point, queries: npt.NDArray[np.int64]) -> Strategy:
        """The fusion of ``point``, fitted on ``queries`` only if it learns."""
        strategy = self.build(point)
        if strategy.learns:
            strategy.fit([window for _, window in self._split(queries)], self._context)
        return strategy

    def judged(self, strategy: Strategy, queries: npt.NDArray[np.int64]) -> FloatArray:
        """(K,) float64: the values of ``queries`` (rising) by ``strategy``."""
        out = np.zeros(self.n_queries)
        for w, window in self._split(queries):
            which = queries[(queries >= self.starts[w]) & (queries < self.starts[w + 1])]
            out[which] = self.worth(_ranks(strategy, window))
        return out[queries]

    def _split(self, queries: npt.NDArray[np.int64]) -> list[tuple[int, Labelled]]:
        """The parts of the windows that hold ``queries``; windows without any are left out."""
        out = []
        for w, window in enumerate(self._windows):
            inside = (queries >= self.starts[w]) & (queries < self.starts[w + 1])
            own = queries[inside] - self.starts[w]
            if len(own):
                out.append((w, window if len(own) == len(window.targets) else window.take(own)))
        return out


@dataclass(frozen=True)
class Part:
    """Some of an objective's queries: what a search may look at.

    Attributes:
        objective: of all queries.
        queries: (K,) int64, rising.
    """

    objective: Objective
    queries: npt.NDArray[np.int64]

    @property
    def users(self) -> npt.NDArray[np.int64]:
        """(K,) int64: whose query it is."""
        return self.objective.users[self.queries]

    def within(self, which: npt.NDArray[np.int64]) -> Part:
        """The queries at the places ``which`` of this part."""
        return Part(self.objective, self.queries[np.sort(which)])

    def values(self, point: Point) -> FloatArray:
        """(K,) float64: the value of each query; where the fusion learns, out of its fold.

        Raises:
            Infeasible: the values of ``point`` contradict each other.
        """
        if not self.objective.learns(point):
            return self.objective.values(point)[self.queries]
        out = np.zeros(len(self.queries))
        rng = self.objective._context.rng(f"fusion {self.objective.who} cross-fit")
        for past, held in folds_of(self.users, self.objective._folds, rng):
            strategy = self.objective.taught(point, self.queries[past])
            out[held] = self.objective.judged(strategy, self.queries[held])
        return out

    def mean(self, point: Point) -> float:
        """The mean of `values`; minus infinity where the point is infeasible."""
        try:
            values = self.values(point)
        except Infeasible:
            return float("-inf")
        return float(values.mean()) if len(values) else 0.0

    def mask(self) -> npt.NDArray[np.bool_]:
        """(Q,) bool: which queries these are."""
        mask = np.zeros(self.objective.n_queries, bool)
        mask[self.queries] = True
        return mask

    def elsewhere(self, point: Point, queries: npt.NDArray[np.int64]) -> FloatArray:
        """(H,) float64: the values of other ``queries``, whatever learns fitted on these."""
        if not self.objective.learns(point):
            return self.objective.values(point)[queries]
        return self.objective.judged(self.objective.taught(point, self.queries), queries)


def folds_of(
    users: npt.NDArray[np.int64], n: int, rng: np.random.Generator
) -> Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Places of queries to learn from and to judge by; no user stands on both sides."""
    offsets = np.arange(len(users) + 1, dtype=np.int64)
    return list(user_folds(users.astype(np.int32), offsets, n, rng))


def _ranks(strategy: Strategy, window: Labelled) -> npt.NDArray[np.int64]:
    fused = strategy.fuse(window.pool)
    return TargetRows(fused.candidates, window.targets).ranks(fused.scores)
