"""NDCG of a fusion on events that it has not learnt from.

The out-of-window scores of an engine are what its learned fusions learnt from, so such a fusion is
fitted again without the users it is judged by: cross-fitting, Chernozhukov et al.,
"Double/debiased machine learning", 2018, definition 3.1, with users as the unit, since the queries
of one user are alike. A fusion that learns nothing is judged as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fusion.evaluation.metrics import per_query
from fusion.evaluation.significance import Estimate, mean_interval, paired_difference
from fusion.protocols import FitContext, Labelled, Strategy, Windows
from fusion.ragged import Ragged
from fusion.topk import top_of

__all__ = ["HeldOut", "held_out", "window_ndcg"]

K = 10
FOLDS = 3


@dataclass(frozen=True)
class HeldOut:
    """NDCG@10 of every out-of-window query.

    Attributes:
        values: (Q,) float64, the windows one after the other.
        users: (Q,) int64, the user each query is of; who is nobody of the data counts alone.
    """

    values: npt.NDArray[np.float64]
    users: npt.NDArray[np.int64]

    def mean(self) -> Estimate:
        """The mean with its interval over users."""
        return mean_interval(self.values, self.users)

    def gain_over(self, other: HeldOut) -> Estimate:
        """The mean difference on the same queries, with its paired interval."""
        return paired_difference(self.values, other.values, self.users)


def held_out(
    make: Callable[[], Strategy], windows: Windows, context: FitContext, *, folds: int = FOLDS
) -> HeldOut | None:
    """Judge what ``make`` makes on ``windows``; ``None`` where they hold no query.

    Args:
        make: a new, unfitted strategy each time.
        windows: out-of-window scores, oldest first.
        context: the seed, from which the folds are drawn: two strategies get the same ones.
        folds: groups of users, each judged by a strategy that learnt from the others.
    """
    parts = [_users(window, at) for at, window in enumerate(windows)]
    users = np.concatenate([np.empty(0, np.int64), *parts])
    strategy = make()
    people, person = np.unique(users, return_inverse=True)
    if len(users) == 0 or (strategy.learns and len(people) < 2):
        return None
    if not strategy.learns:
        return HeldOut(np.concatenate([window_ndcg(strategy, w) for w in windows]), users)
    n = min(folds, len(people))
    fold = (context.rng("held-out folds").permutation(len(people)) % n)[person]
    values = np.empty(len(users))
    sizes = np.cumsum([0, *(len(window.targets) for window in windows)])
    for held in range(n):
        strategy = make()
        inside = [fold[a:b] == held for a, b in pairwise(sizes)]
        rest = [w.take(np.flatnonzero(~own)) for w, own in zip(windows, inside, strict=True)]
        strategy.fit([window for window in rest if len(window.targets)], context)
        for window, own, start in zip(windows, inside, sizes[:-1], strict=True):
            which = np.flatnonzero(own)
            if len(which):
                values[start + which] = window_ndcg(strategy, window.take(which))
    return HeldOut(values, users)


def window_ndcg(strategy: Strategy, window: Labelled) -> npt.NDArray[np.float64]:
    """(Q,) float64: NDCG@10 of ``strategy`` on one window, as it is."""
    top = top_of(strategy.fuse(window.pool), K, explain=False).matrix(K)
    targets = Ragged.of(window.targets[:, None])
    return per_query(top, targets, [f"NDCG@{K}"])[f"NDCG@{K}"]


def _users(window: Labelled, at: int) -> npt.NDArray[np.int64]:
    users = window.pool.queries.users.astype(np.int64)
    alone = -1 - np.arange(len(users)) - at * 2**32
    return np.where(users < 0, alone, users)
