"""Accuracy of ranked lists, one value a query: HR, Recall, Precision, NDCG, MRR, MAP.

`per_query` is the door: recommended lists and targets in, values by name out. Each metric is one
function of ``hit`` (Q, K) bool, which places of each list hold a target, ``relevant`` (Q,) int64,
how many targets each query has, and the cutoff ``k``. All give (Q,) float64 in 0..1, higher is
better, never NaN. Relevance is binary. The definitions are those of trec_eval, with which the tests
compare through ir_measures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from fusion.errors import DataError, explain
from fusion.ragged import Ragged

__all__ = [
    "METRICS",
    "average_precision",
    "hit_rate",
    "hits",
    "ndcg",
    "per_query",
    "precision",
    "recall",
    "reciprocal_rank",
]

Top = npt.NDArray[np.int32]
Hits = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


def hit_rate(hit: Hits, relevant: Counts, k: int) -> Values:
    """HR@k: 1 if any target is among the first ``k``, else 0 (trec_eval: success).

    >>> hit_rate(np.array([[False, True], [False, False]]), np.array([1, 1]), 2).tolist()
    [1.0, 0.0]
    """
    return np.asarray(hit[:, :k].any(axis=1), dtype=np.float64)


def recall(hit: Hits, relevant: Counts, k: int) -> Values:
    """Recall@k: (targets among the first ``k``) / (targets).

    >>> recall(np.array([[False, True, False]]), np.array([2]), 3).tolist()
    [0.5]
    """
    return np.asarray(hit[:, :k].sum(axis=1) / relevant)


def precision(hit: Hits, relevant: Counts, k: int) -> Values:
    """Precision@k: (targets among the first ``k``) / ``k``, also where the list is shorter than k.

    >>> precision(np.array([[False, True, False, False]]), np.array([1]), 4).tolist()
    [0.25]
    """
    return np.asarray(hit[:, :k].sum(axis=1) / k)


def ndcg(hit: Hits, relevant: Counts, k: int) -> Values:
    """NDCG@k: DCG / IDCG with DCG = sum over hits at rank r <= k of 1 / log2(1 + r).

    IDCG is the DCG of min(k, targets) hits at the top. Source: Järvelin and Kekäläinen (2002),
    "Cumulated gain-based evaluation of IR techniques", with the log2(1 + r) discount of trec_eval.

    >>> ndcg(np.array([[False, True, False]]), np.array([1]), 3).round(6).tolist()  # 1 / log2(3)
    [0.63093]
    """
    discount = 1 / np.log2(np.arange(2, k + 2))  # (k,)
    ideal = np.cumsum(discount)[np.minimum(relevant, k) - 1]
    return np.asarray((hit[:, :k] * discount[: hit.shape[1]]).sum(axis=1) / ideal)


def reciprocal_rank(hit: Hits, relevant: Counts, k: int) -> Values:
    """MRR@k before the mean: 1 / (rank of the first target), 0 if none is among the first ``k``.

    >>> reciprocal_rank(np.array([[False, True, True]]), np.array([2]), 3).tolist()
    [0.5]
    """
    return np.asarray((hit[:, :k] / np.arange(1, k + 1)).max(axis=1))


def average_precision(hit: Hits, relevant: Counts, k: int) -> Values:
    """MAP@k before the mean: sum over hits at rank r <= k of Precision@r, over all targets.

    The denominator is the number of targets, as in trec_eval (``map_cut``), not min(k, targets).

    >>> average_precision(np.array([[True, False, True]]), np.array([2]), 3).round(6).tolist()
    [0.833333]
    """  # (1/1 + 2/3) / 2
    cut = hit[:, :k]
    at_rank = cut.cumsum(axis=1) / np.arange(1, k + 1)  # Precision@r
    return np.asarray((at_rank * cut).sum(axis=1) / relevant)


METRICS: Mapping[str, Callable[[Hits, Counts, int], Values]] = MappingProxyType(
    {
        "HR": hit_rate,
        "Recall": recall,
        "Precision": precision,
        "NDCG": ndcg,
        "MRR": reciprocal_rank,
        "MAP": average_precision,
    }
)
_NAME = re.compile(r"(?P<metric>[A-Za-z]+)(?:@(?P<k>[1-9][0-9]*))?")


def per_query(top: Top, targets: Ragged, metrics: Iterable[str]) -> dict[str, Values]:
    """Metrics by name: ``"NDCG@10"``, or ``"MRR"`` over the whole list.

    >>> per_query(np.array([[7, 3, -1]], np.int32), Ragged.of([[3]]), ["HR@2", "MRR"])
    {'HR@2': array([1.]), 'MRR': array([0.5])}

    Args:
        top: (Q, K) int32: each query's recommended item_index, the best first, padded with -1
            where a list is short.
        targets: each query's relevant items, at least one.
        metrics: names before the "@" as in `METRICS`.

    Raises:
        DataError: an unknown name, a cutoff beyond the width of ``top`` (pad it with -1 where the
            catalogue is smaller: a list that was cut too early would only look worse), or what
            `hits` refuses.
    """
    hit, relevant = hits(top, targets), targets.lengths
    out = {}
    for name in metrics:
        parsed = _NAME.fullmatch(name)
        if parsed is None or parsed["metric"] not in METRICS:
            expected = f"a metric like NDCG@10 out of {', '.join(METRICS)}"
            raise DataError(explain("metrics", expected, repr(name)))
        width = hit.shape[1]
        k = int(parsed["k"] or width)
        if not 1 <= k <= width:
            got, do = f"lists of {width}", "ask for more items, or pad with -1"
            raise DataError(explain(name, f"lists of {max(k, 1)} or more", got, do))
        out[name] = METRICS[parsed["metric"]](hit, relevant, k)
    return out


def hits(top: Top, targets: Ragged) -> Hits:
    """(Q, K) bool: whether the recommended item is one of its query's targets.

    Raises:
        DataError: shapes that do not match, an item twice in a list, a query without a target, a
            target twice or negative: each would change a metric without a sign.
    """
    top = np.asarray(top)
    if top.ndim != 2 or len(top) != len(targets):
        raise DataError(explain("metrics", f"top of shape ({len(targets)}, K)", str(top.shape)))
    if (targets.lengths == 0).any() or (targets.values < 0).any():
        empty = int((targets.lengths == 0).sum())
        got = f"{empty} queries without a target" if empty else "a negative item_index"
        raise DataError(
            explain("metrics", "a target for every query", got, "leave such queries out")
        )
    base = np.int64(2) ** 32
    wanted = np.sort(targets.rows * base + targets.values)
    listed = np.arange(len(top), dtype=np.int64)[:, None] * base + top  # (Q, K)
    in_row = np.sort(top, axis=1)
    _refuse(wanted[1:] == wanted[:-1], "targets")
    _refuse((in_row[:, 1:] == in_row[:, :-1]) & (in_row[:, 1:] >= 0), "recommended items")
    # a padding's key is 2**32 - 1 of the query before, which is nobody's int32 item_index
    return np.isin(listed, wanted)


def _refuse(repeated: npt.NDArray[np.bool_], what: str) -> None:
    if repeated.any():
        got = f"{int(repeated.sum())} repeated"
        raise DataError(explain("metrics", f"{what} unique in a query", got))
