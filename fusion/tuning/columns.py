"""Worths computed once: a trial of other weights is one sum of columns, a line of them is exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from fusion.methods.base import CHUNK, WorthMethod
from fusion.normalizations.segments import FloatArray
from fusion.protocols import Labelled, Strategy
from fusion.strategies.merging import columns_of
from fusion.strategies.parallel import Parallel
from fusion.tuning.gains import TargetRows
from fusion.tuning.simplex import rest_of

__all__ = ["Columns", "Line", "columns_for"]


@dataclass(frozen=True)
class Line:
    """The metric along one line of weights: piecewise constant, known everywhere.

    Attributes:
        at: (E,) float64 in (0, 1), where some query's value changes; in no order.
        queries: (E,) int64: whose.
        by: (E,) float64: by how much.
        start: (Q,) float64: each query's value right of 0.
    """

    at: FloatArray
    queries: npt.NDArray[np.int64]
    by: FloatArray
    start: FloatArray

    def pieces(self, counts: npt.NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
        """The mean over the queries ``counts`` (Q,).

        Returns:
            ``edges`` (P + 1,) from 0 to 1, rising, and ``values`` (P,) of the pieces between them.
        """
        mine = counts[self.queries]
        at, change = np.unique(self.at[mine], return_inverse=True)
        steps = np.bincount(change, weights=self.by[mine], minlength=len(at))
        total = self.start[counts].sum() + np.concatenate([[0.0], np.cumsum(steps)])
        return np.concatenate([[0.0], at, [1.0]]), total / max(int(counts.sum()), 1)


class Columns:
    """One window's candidates under one method, before any weight.

    Args:
        method: how worths are merged.
        worth: (M, N) float64, its worths after the rules for missing scores; NaN = says nothing.
        targets: where the targets stand.
    """

    def __init__(self, method: WorthMethod, worth: FloatArray, targets: TargetRows) -> None:
        self._method, self._worth, self._targets = method, worth, targets

    @property
    def is_sum(self) -> bool:
        """Whether the fused score is the sum of ``weight * worth``, so that `line` is there."""
        kind = type(self._method)
        return kind.combine is WorthMethod.combine and kind.merge is WorthMethod.merge

    def ranks(self, weights: Sequence[float]) -> npt.NDArray[np.int64]:
        """(Q,) int64: what `TargetRows.ranks` says of the fused scores, to the last bit."""
        vector = np.array(weights, np.float64)
        scores = np.empty(self._worth.shape[1])
        for start in range(0, len(scores), CHUNK):
            part = self._worth[:, start : start + CHUNK].copy()
            scores[start : start + CHUNK] = self._method.merge(part, vector)
        return self._targets.ranks(scores)

    def line(self, weights: Sequence[float], m: int, gains: FloatArray) -> Line:
        """The metric for every share of model ``m`` from 0 to 1, see `simplex.towards`.

        A row's lead over its target is ``(1 - share) * a + share * b``, linear in the share, so it
        changes sign at ``a / (a - b)`` if ever. Between those places no rank moves.

        Args:
            weights: (M,) convex; those of the others are kept in proportion.
            m: whose share.
            gains: what a target at each rank is worth, see `gains.gains_of`.
        """
        rows, last = self._targets, len(gains) - 1
        a, b = rest_of(weights, m) @ self._leads, self._leads[m]
        first = (a > 0) | ((a == 0) & ((b > 0) | ((b == 0) & rows.before)))
        first &= rows.there
        n, moving = rows.candidates.n_queries, a * b < 0
        rank = rows.found + np.bincount(rows.queries[first], minlength=n)
        # whose target stays behind the cutoff on the whole line has no part in it
        best = rows.found + np.bincount(rows.queries[first & ~moving], minlength=n)
        moves = np.flatnonzero(moving & (best < last)[rows.queries])
        at, queries = a[moves] / (a[moves] - b[moves]), rows.queries[moves]
        up = np.where(a[moves] < 0, 1, -1)  # a row that overtakes the target costs it a rank
        order = np.lexsort((at, queries))
        at, queries, up = at[order], queries[order], up[order]
        passed = np.cumsum(up)
        ends = np.cumsum(np.bincount(queries, minlength=n))
        base = np.concatenate([[0], passed])[np.concatenate([[0], ends[:-1]]).astype(np.int64)]
        after = rank[queries] + passed - base[queries]
        by = gains[np.minimum(after, last)] - gains[np.minimum(after - up, last)]
        matters = by != 0
        return Line(at[matters], queries[matters], by[matters], gains[np.minimum(rank, last)])

    @cached_property
    def _leads(self) -> FloatArray:
        """(M, N) float64: how far each row's worth is above its target's; 0 where there is none."""
        leads = np.nan_to_num(self._worth)
        leads -= leads[:, self._targets.at]
        leads[:, ~self._targets.there] = 0.0
        return leads


def columns_for(strategy: Strategy, window: Labelled) -> Columns | None:
    """The columns of ``window`` under ``strategy``; ``None`` where it is no plain merge.

    It is one if the strategy is `Parallel` over models, and its method learns nothing and merges
    row by row (`fusion.methods.base.WorthMethod`; Condorcet compares rows).
    """
    if type(strategy) is not Parallel or strategy.learns or getattr(strategy.config, "fusions", {}):
        return None
    method = strategy.config.method.build()
    if not isinstance(method, WorthMethod) or type(method).fused is not WorthMethod.fused:
        return None
    models = strategy.uses(window.pool.models)
    candidates = columns_of(window.pool, method.missing, models)
    return Columns(method, method.filled(candidates), TargetRows(candidates, window.targets))
