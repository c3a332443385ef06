"""What retrievers share that score every item they know at once, one dense row a query.

A subclass says how a batch of queries becomes a (Q, W) block of scores over its ``W`` warm items;
here stand the rest: which items are warm, the top ``n`` of a block with reproducible ties, the
scores of given candidates, and batches small enough that scratch memory stays bounded.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates, Missing, Scores
from fusion.protocols import Retriever
from fusion.queries import Queries
from fusion.ragged import spans

__all__ = ["BlockRetriever", "WarmItems", "batches", "gram_rows", "retrieve_blocks", "top_n"]

#: bytes of scratch memory that a batch may take; a cell of a block costs about `_CELL` of them
SCRATCH = 128 * 2**20
_CELL = 16


@dataclass(frozen=True, slots=True)
class WarmItems:
    """The items that a model knows, as the columns of its blocks.

    Attributes:
        items: (W,) int32 item_index, rising.
        columns: (I,) int32: the column of each item_index, -1 = cold.
    """

    items: npt.NDArray[np.int32]
    columns: npt.NDArray[np.int32]

    @classmethod
    def of(cls, items: npt.NDArray[np.int32], n_items: int) -> WarmItems:
        """``items`` (W,) int32, rising, out of a catalogue of ``n_items``."""
        columns = np.full(n_items, -1, np.int32)
        columns[items] = np.arange(len(items), dtype=np.int32)
        return cls(items.astype(np.int32, copy=False), columns)

    def __len__(self) -> int:
        return len(self.items)


def batches(n: int, width: int) -> Iterator[npt.NDArray[np.int64]]:
    """Runs of the query numbers 0..n-1 such that a block of ``width`` columns fits `SCRATCH`."""
    size = max(1, SCRATCH // (_CELL * max(width, 1)))
    for start in range(0, n, size):
        yield np.arange(start, min(start + size, n), dtype=np.int64)


def gram_rows(matrix: Any) -> Iterator[tuple[int, Any]]:
    """The rows of ``matrix.T @ matrix``, a few at a time: (first row, (R, W) csr_array).

    Args:
        matrix: (U, W) float32 `scipy.sparse.csr_array`.
    """
    transposed = matrix.T.tocsr()
    width = matrix.shape[1]
    for rows in batches(width, width):
        yield int(rows[0]), (transposed[rows[0] : rows[-1] + 1] @ matrix).tocsr()


def top_n(block: npt.NDArray[np.float32], n: int) -> tuple[npt.NDArray[np.int64], ...]:
    """Row and column numbers of each row's ``n`` highest finite cells, by row, then by column.

    Of equal cells at the border those of the lower columns stand.

    Args:
        block: (Q, W) float32; ``-inf`` = may not be taken, never NaN.
        n: at least 1.

    >>> rows, columns = top_n(np.array([[1, 3, 1, -np.inf], [0, 0, 0, 0]], np.float32), 2)
    >>> rows.tolist(), columns.tolist()
    ([0, 0, 1, 1], [0, 1, 0, 1])
    """
    width = block.shape[1]
    if n >= width:
        rows, columns = np.nonzero(block > -np.inf)
        return rows, columns
    lowest = np.partition(block, width - n, axis=1)[:, width - n, None]  # (Q, 1): the n-th highest
    keep = block > lowest
    room = n - keep.sum(axis=1)
    level = (block == lowest) & (block > -np.inf)
    crowded = level.sum(axis=1) > room
    keep |= level & ~crowded[:, None]
    for row in np.flatnonzero(crowded):
        keep[row, np.flatnonzero(level[row])[: room[row]]] = True
    rows, columns = np.nonzero(keep)
    return rows, columns


def retrieve_blocks(
    name: str,
    warm: WarmItems,
    queries: Queries,
    n: int,
    block_of: Callable[[Queries], npt.NDArray[np.float32]],
    knows: npt.NDArray[np.bool_],
) -> Candidates:
    """Each query's ``n`` best warm items that are not excluded and whose score is not zero.

    Args:
        name: the column's name.
        warm: the columns of the blocks.
        queries: Q of them.
        n: the longest list.
        block_of: queries -> (q, W) float32, a fresh array each time.
        knows: (Q,) bool: whether the model knows anything of the query; if not, its list is empty.

    Returns:
        Rows by query, then by item index.
    """
    lengths = np.zeros(len(queries), np.int64)
    items: list[npt.NDArray[np.int32]] = []
    scores: list[npt.NDArray[np.float32]] = []
    asked = np.flatnonzero(knows)
    for rows in batches(len(asked), len(warm)):
        batch = queries.take(asked[rows])
        block = block_of(batch)
        block[block == 0] = -np.inf
        column = warm.columns[batch.excluded.values]
        there = column >= 0
        block[batch.excluded.rows[there], column[there]] = -np.inf
        found_rows, found = top_n(block, n)
        lengths[asked[rows]] = np.bincount(found_rows, minlength=len(rows))
        items.append(warm.items[found])
        scores.append(block[found_rows, found])
    return Candidates.single(
        name,
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([np.empty(0, np.int32), *items]),
        np.concatenate([np.empty(0, np.float32), *scores]),
    )


class BlockRetriever(Retriever):
    """A retriever whose scores of all warm items are one dense row a query.

    Items without an event in what it was fitted on are cold, and so is a query in whose history
    no item is warm: their scores are NaN with reason ``COLD``. A warm item for which the history
    holds no evidence has score 0 and is not retrieved. Lists are ordered by item index.
    """

    #: set by `fit` and `load`
    _warm: WarmItems | None = None

    @abstractmethod
    def _block(self, queries: Queries) -> npt.NDArray[np.float32]:
        """(Q, W) float32, a fresh array: the score of every warm item."""

    def _knows(self, queries: Queries) -> npt.NDArray[np.bool_]:
        """(Q,) bool: whether the history holds a warm item."""
        warm = self._fitted().columns[queries.history.values] >= 0
        return np.bincount(queries.history.rows[warm], minlength=len(queries)) > 0

    def _fitted(self) -> WarmItems:
        if self._warm is None:
            raise self.not_fitted()
        return self._warm

    def retrieve(self, queries: Queries, n: int) -> Candidates:
        """See `fusion.protocols.Retriever.retrieve`; rows by query, then by item index."""
        warm = self._fitted()
        return retrieve_blocks(self.name, warm, queries, n, self._block, self._knows(queries))

    def score(self, queries: Queries, candidates: Candidates) -> Scores:
        """See `fusion.protocols.Model.score`."""
        warm = self._fitted()
        values = np.full(len(candidates), np.nan, np.float32)
        column = warm.columns[candidates.items]
        offsets, lengths = candidates.offsets, candidates.lengths
        asked = np.flatnonzero(self._knows(queries) & (lengths > 0))
        for batch in batches(len(asked), len(warm)):
            which = asked[batch]
            block = self._block(queries.take(which))
            rows = spans(offsets[which], lengths[which])
            row = np.repeat(np.arange(len(which)), lengths[which])
            there = column[rows] >= 0
            values[rows[there]] = block[row[there], column[rows[there]]]
        return Scores.of(values, Missing.COLD)
