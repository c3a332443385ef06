"""The nearest items that are not excluded, by way of an index that cannot exclude."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates
from fusion.queries import Queries
from fusion.ragged import segment_rank
from retrievers.dense_store import VectorStore
from retrievers.faiss_index import FaissIndex
from retrievers.linear import WarmItems, batches, top_n

__all__ = ["cosines", "nearest"]

#: asked for beyond what is needed, so that equal scores at the border are settled by item index
_MARGIN = 16


def nearest(
    name: str,
    index: FaissIndex,
    warm: WarmItems,
    queries: Queries,
    users: npt.NDArray[np.float32],
    known: npt.NDArray[np.bool_],
    n: int,
) -> Candidates:
    """Each known query's ``n`` nearest items that are not excluded, with their exact cosines.

    A query is asked for ``n`` items and as many more as it excludes. Queries that exclude a similar
    number are asked together, so that one long history does not widen everybody's search; a search
    wider than the index takes (faiss on a GPU) is done exactly without it.

    Args:
        name: the column's name.
        index: over the items' vectors.
        warm: the items whose vectors these are; an item_index of -1 is no longer there.
        queries: Q of them.
        users: (Q, D) float32, length 1.
        known: (Q,) bool; the others' lists are empty.
        n: the longest list.

    Returns:
        Rows by query, then by item index.
    """
    width = n + queries.excluded.lengths + _MARGIN
    # rounded up to a power of two, so that there are few different widths
    width = np.minimum(2 ** np.ceil(np.log2(width)).astype(np.int64), len(index))
    parts: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    for k in np.unique(width[known]):
        group = np.flatnonzero(known & (width == k))
        searched = k <= index.most
        for rows in batches(len(group), max(int(k) if searched else len(warm), users.shape[1])):
            which = group[rows]
            if searched:
                found = index.search(users[which], int(k))
                row, place = np.nonzero(found >= 0)
                parts.append((which[row], found[row, place]))
            else:
                block = users[which] @ index.store.block(0, len(warm)).T
                block[:, warm.items < 0] = -np.inf
                row, column = top_n(block, int(k))
                parts.append((which[row], column))
    query = np.concatenate([np.empty(0, np.int64), *(part[0] for part in parts)])
    column = np.concatenate([np.empty(0, np.int64), *(part[1] for part in parts)])
    fresh = ~_excluded(queries, warm, query, column)
    return _best(name, warm, index.store, users, query[fresh], column[fresh], n)


def _excluded(
    queries: Queries,
    warm: WarmItems,
    query: npt.NDArray[np.int64],
    column: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """(N,) bool: whether the item of ``column`` may not be returned to ``query``."""
    excluded = warm.columns[queries.excluded.values].astype(np.int64)
    barred = queries.excluded.rows * len(warm) + excluded
    return np.isin(query * len(warm) + column, barred[excluded >= 0])


def _best(
    name: str,
    warm: WarmItems,
    store: VectorStore,
    users: npt.NDArray[np.float32],
    query: npt.NDArray[np.int64],
    column: npt.NDArray[np.int64],
    n: int,
) -> Candidates:
    """The ``n`` highest exact cosines of each query among the pairs (N,) found."""
    items = warm.items[column]
    order = np.lexsort((items, query))
    query, items = query[order], items[order]
    scores = cosines(users, store, query, column[order])
    offsets = np.searchsorted(query, np.arange(len(users) + 1)).astype(np.int64)
    _, rank = segment_rank(offsets, (items, -scores))
    keep = rank <= n
    lengths = np.bincount(query[keep], minlength=len(users))
    return Candidates.single(
        name,
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items[keep],
        scores[keep],
    )


def cosines(
    users: npt.NDArray[np.float32],
    store: VectorStore,
    query: npt.NDArray[np.int64],
    column: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """(N,) float32: inner products of ``users[query]`` and the rows ``column``, pair by pair.

    Each is summed by itself, so that a score never depends on which others are asked for.
    """
    out = np.empty(len(query), np.float32)
    for rows in batches(len(query), users.shape[1]):
        out[rows] = np.einsum("nd,nd->n", users[query[rows]], store.take(column[rows]))
    return out
