"""What accuracy does not see: coverage, novelty, diversity, popularity, inequality of exposure.

All take ``top`` (Q, K) int32: each query's recommended item_index, the best first, padded with -1,
and look at its first ``k`` columns. Popularity always comes from the training events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from fusion.errors import DataError, explain

__all__ = [
    "average_popularity",
    "category_matrix",
    "coverage",
    "exposure_gini",
    "intra_list_diversity",
    "novelty",
    "popularity_share",
]

Top = npt.NDArray[np.int32]
Values = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
_BATCH = 256  # queries whose (k, k) similarities are held at once


def coverage(top: Top, n_items: int, k: int) -> float:
    """Catalogue coverage@k: share of the ``n_items`` items that anybody is recommended, 0..1.

    >>> coverage(np.array([[0, 1], [0, 2]]), n_items=6, k=2)
    0.5
    """
    return float(np.count_nonzero(_exposure(top, n_items, k)) / n_items)


def exposure_gini(top: Top, n_items: int, k: int) -> float:
    """Gini coefficient of how often each item of the catalogue is recommended, 0 = evenly.

    ``G = sum_i (2 i - n - 1) x_i / (n sum x)`` over the exposures x in rising order, i from 1. One
    item shown to all gives ``(n - 1) / n``. NaN if nothing is recommended.

    >>> exposure_gini(np.array([[0, 1], [2, 3]]), n_items=4, k=2)
    0.0
    """
    shown = np.sort(_exposure(top, n_items, k))
    total = shown.sum()
    if total == 0:
        return float("nan")
    return float((2 * np.arange(1, n_items + 1) - n_items - 1) @ shown / (n_items * total))


def novelty(top: Top, popularity: Counts, n_users: int, k: int) -> Values:
    """(Q,) float64: mean self-information of a list's items in bits, higher is less known.

    ``log2((U + 1) / (c_i + 1))`` for an item that ``c_i`` of ``U`` users met: Zhou et al. (2010),
    "Solving the apparent diversity-accuracy dilemma of recommender systems", with one added above
    and below so that an item nobody met has a value. NaN for an empty list.

    Args:
        top: (Q, K) int32 item_index.
        popularity: (I,) int64, training events of each item.
        n_users: users with training events.
        k: columns of ``top`` to look at.

    >>> novelty(np.array([[0, 1]]), np.array([7, 0]), n_users=7, k=2).tolist()  # (0 + 3) / 2
    [1.5]
    """
    return _mean_over_list(top, np.log2((n_users + 1) / (np.asarray(popularity) + 1)), k)


def average_popularity(top: Top, popularity: Counts, k: int) -> Values:
    """(Q,) float64, ARP: mean number of training events of a list's items; NaN for an empty list.

    Source: Yin et al. (2012), "Challenging the long tail recommendation".

    >>> average_popularity(np.array([[0, 1]]), np.array([9, 1]), k=2).tolist()
    [5.0]
    """
    return _mean_over_list(top, np.asarray(popularity, dtype=np.float64), k)


def popularity_share(top: Top, popularity: Counts, k: int) -> Values:
    """(Q,) float64: ARP over the number of all events, so that data sets of any size compare."""
    total = max(float(np.sum(popularity)), 1.0)
    return _mean_over_list(top, np.asarray(popularity, dtype=np.float64) / total, k)


def intra_list_diversity(
    top: Top,
    features: npt.NDArray[np.floating | np.bool_],
    k: int,
    similarity: Literal["cosine", "jaccard"] = "cosine",
) -> Values:
    """(Q,) float64: 1 - mean similarity over the pairs of a list; NaN below two items.

    Source: Ziegler et al. (2005), "Improving recommendation lists through topic diversification".

    Args:
        top: (Q, K) int32 item_index.
        features: (I, D). For ``cosine``: vectors of any length. For ``jaccard``: membership in
            ``D`` categories (see `category_matrix`). An item without any feature resembles none.
        k: columns of ``top`` to look at.
        similarity: how two items compare.

    >>> intra_list_diversity(np.array([[0, 1]]), np.eye(2), k=2).tolist()
    [1.0]
    """
    if similarity not in ("cosine", "jaccard"):
        raise DataError(explain("diversity", "'cosine' or 'jaccard'", repr(similarity)))
    table = np.asarray(features, dtype=np.float64)
    if similarity == "cosine":
        norm = np.linalg.norm(table, axis=1, keepdims=True)
        table = table / np.where(norm > 0, norm, 1.0)
    else:
        table = (table > 0).astype(np.float64)
    out = np.full(len(top), np.nan)
    for start in range(0, len(top), _BATCH):
        rows = np.asarray(top)[start : start + _BATCH, :k]
        real = rows >= 0
        vectors = table[rows] * real[:, :, None]  # (B, k, D)
        alike = vectors @ vectors.transpose(0, 2, 1)  # (B, k, k)
        if similarity == "jaccard":
            size = vectors.sum(axis=2)
            union = size[:, :, None] + size[:, None, :] - alike
            alike = alike / np.where(union > 0, union, 1.0)
        n = real.sum(axis=1)
        pairs = n * (n - 1)
        total = alike.sum(axis=(1, 2)) - np.trace(alike, axis1=1, axis2=2)
        many = pairs > 0
        out[start : start + _BATCH][many] = 1 - total[many] / pairs[many]
    return out


def category_matrix(categories: Sequence[Sequence[str] | str | None]) -> npt.NDArray[np.bool_]:
    """(I, D) bool from each item's categories (a list of texts, one text, or None).

    >>> category_matrix([["war", "space"], "war", None]).astype(int).tolist()
    [[1, 1], [0, 1], [0, 0]]
    """
    lists = [[own] if isinstance(own, str) else list(own or ()) for own in categories]
    names = {name: at for at, name in enumerate(sorted({name for own in lists for name in own}))}
    out = np.zeros((len(lists), len(names)), dtype=bool)
    for row, own in enumerate(lists):
        out[row, [names[name] for name in own]] = True
    return out


def _exposure(top: Top, n_items: int, k: int) -> Counts:
    shown = np.asarray(top)[:, :k].ravel()
    if n_items < 1 or (shown.size and shown.max() >= n_items):
        raise DataError(
            explain("exposure", f"item_index below {n_items}", str(shown.max(initial=-1)))
        )
    return np.bincount(shown[shown >= 0], minlength=n_items)


def _mean_over_list(top: Top, of_item: Values, k: int) -> Values:
    rows = np.asarray(top)[:, :k]
    real = rows >= 0
    total = np.where(real, of_item[rows], 0.0).sum(axis=1)
    n = real.sum(axis=1)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)
