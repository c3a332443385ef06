"""Accuracy from the rank of the one target of each query, without building a list.

Where every query has one target, HR, NDCG and MRR are functions of the target's rank, and the rank
is one more than the number of rows ahead of it. So no query is sorted and no list is cut. The
values equal those of `fusion.evaluation.metrics` on the lists.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates
from fusion.errors import DataError, explain

__all__ = ["hit", "ndcg", "reciprocal_rank", "target_ranks"]

Ranks = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


def target_ranks(
    candidates: Candidates, scores: npt.NDArray[np.floating], targets: npt.NDArray[np.integer]
) -> Ranks:
    """(Q,) int64: the rank of each query's target, from 1; 0 = not among its candidates.

    Equal scores are ordered by item index, as everywhere.

    Args:
        candidates: Q queries, N rows; the columns are not looked at.
        scores: (N,), higher is better; infinities are scores like others.
        targets: (Q,) item_index.

    Raises:
        DataError: other lengths, or NaN among the scores.
    """
    rows = candidates.rows
    if np.shape(scores) != rows.shape or np.shape(targets) != (candidates.n_queries,):
        expected = f"{len(rows)} scores and {candidates.n_queries} targets"
        got = f"{np.shape(scores)} and {np.shape(targets)}"
        raise DataError(explain("target_ranks", expected, got))
    if np.isnan(scores).any():
        got = f"NaN in {int(np.isnan(scores).sum())} of {len(rows)} rows"
        raise DataError(explain("target_ranks", "a fused score of every row", got))
    wanted = np.asarray(targets)[rows]  # (N,)
    at = np.flatnonzero(candidates.items == wanted)
    found = rows[at]
    own = np.full(candidates.n_queries, np.nan)
    own[found] = scores[at]
    theirs = own[rows]  # NaN where the target is not there: nothing is ahead of it
    ahead = (scores > theirs) | ((scores == theirs) & (candidates.items < wanted))
    ranks = np.zeros(candidates.n_queries, np.int64)
    ranks[found] = 1 + np.bincount(rows[ahead], minlength=candidates.n_queries)[found]
    return ranks


def hit(ranks: Ranks, k: int) -> Values:
    """HR@k of each query: 1 where the target is among the first ``k``.

    >>> hit(np.array([1, 11, 0]), 10).tolist()
    [1.0, 0.0, 0.0]
    """
    return ((ranks > 0) & (ranks <= k)).astype(np.float64)


def ndcg(ranks: Ranks, k: int) -> Values:
    """NDCG@k of each query: ``1 / log2(1 + rank)`` among the first ``k``, else 0.

    With one target the ideal gain is 1. Jarvelin and Kekalainen (2002), "Cumulated gain-based
    evaluation of IR techniques", with trec_eval's discount.

    >>> ndcg(np.array([1, 3, 0]), 10).tolist()
    [1.0, 0.5, 0.0]
    """
    return np.asarray(hit(ranks, k) / np.log2(1 + np.maximum(ranks, 1)))


def reciprocal_rank(ranks: Ranks, k: int) -> Values:
    """MRR@k of each query: ``1 / rank`` among the first ``k``, else 0.

    >>> reciprocal_rank(np.array([1, 4, 0]), 10).tolist()
    [1.0, 0.25, 0.0]
    """
    return np.asarray(hit(ranks, k) / np.maximum(ranks, 1))
