"""Two pools over another one: one that remembers, one that is a part of it."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates
from fusion.protocols import Pool
from fusion.queries import Queries

__all__ = ["MemoPool", "PartOfPool"]

_KEPT = 16


class MemoPool:
    """Asks another pool for the same rows and models once.

    Which columns a fusion asks for does not depend on its weights, so all trials but the first find
    theirs here. The last 16 answers are kept.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._memo: OrderedDict[tuple[bytes, tuple[str, ...]], Candidates] = OrderedDict()

    @property
    def queries(self) -> Queries:
        """The batch."""
        return self._pool.queries

    @property
    def models(self) -> tuple[str, ...]:
        """Every model of the engine."""
        return self._pool.models

    @property
    def popularity(self) -> npt.NDArray[np.float64]:
        """(I,) float64, see `fusion.protocols.Pool`."""
        return self._pool.popularity

    @cached_property
    def _union(self) -> Candidates:
        return self._pool.candidates()

    def candidates(self) -> Candidates:
        """The union of the retrievers' lists."""
        return self._union

    def complete(self, candidates: Candidates, models: tuple[str, ...]) -> Candidates:
        """``candidates`` with exactly the columns ``models``."""
        key = (self._rows_key(candidates), tuple(models))
        if key not in self._memo:
            self._memo[key] = self._pool.complete(candidates, tuple(models))
            if len(self._memo) > _KEPT:
                self._memo.popitem(last=False)
        self._memo.move_to_end(key)
        return self._memo[key]

    def _rows_key(self, candidates: Candidates) -> bytes:
        if candidates.items is self._union.items:
            return b""
        digest = blake2b(candidates.offsets.tobytes(), digest_size=16)
        digest.update(candidates.items.tobytes())
        return digest.digest()

    def take(self, queries: npt.NDArray[np.integer]) -> MemoPool:
        """The queries ``queries`` (K,) only."""
        return MemoPool(self._pool.take(queries))


class PartOfPool:
    """Some queries of a pool, for which the whole pool is asked and remembers.

    `fusion.pool.LivePool.take` starts afresh and would ask the retrievers again.

    Args:
        pool: the whole.
        which: (K,) int64, rising.
    """

    def __init__(self, pool: Pool, which: npt.NDArray[np.int64]) -> None:
        self._pool, self._which = pool, which

    @cached_property
    def queries(self) -> Queries:
        """The batch."""
        return self._pool.queries.take(self._which)

    @property
    def models(self) -> tuple[str, ...]:
        """Every model of the engine."""
        return self._pool.models

    @property
    def popularity(self) -> npt.NDArray[np.float64]:
        """(I,) float64, see `fusion.protocols.Pool`."""
        return self._pool.popularity

    @cached_property
    def _union(self) -> Candidates:
        return self._pool.candidates().take(self._which)

    def candidates(self) -> Candidates:
        """The union of the retrievers' lists."""
        return self._union

    def complete(self, candidates: Candidates, models: tuple[str, ...]) -> Candidates:
        """``candidates`` with exactly the columns ``models``."""
        lengths = np.zeros(len(self._pool.queries), np.int64)
        lengths[self._which] = candidates.lengths
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        # the others have no row, so the rows are the same ones in the same order
        asked = self._pool.complete(Candidates.bare(offsets, candidates.items), models)
        return Candidates(
            candidates.offsets, candidates.items, asked.scores, asked.models, asked.why
        )

    def take(self, queries: npt.NDArray[np.integer]) -> Pool:
        """The queries ``queries`` (K,) only."""
        which = self._which[queries]
        if (np.diff(which) > 0).all():
            return PartOfPool(self._pool, which)
        return self._pool.take(which)
