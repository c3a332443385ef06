"""Item-based nearest neighbours by shrunk cosine, asked with a history that decays with age."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.artifacts import read_arrays, write_arrays
from fusion.data.dataset import Dataset
from fusion.protocols import FitContext, RetrieverConfig
from fusion.queries import Queries
from retrievers.history import history_matrix
from retrievers.linear import BlockRetriever, WarmItems, gram_rows
from retrievers.sparse import read_sparse, sparse_arrays

__all__ = ["ItemKnn", "neighbour_matrix"]


class ItemKnnConfig(RetrieverConfig):
    """Options of `ItemKnn`; the defaults were chosen on validation events."""

    k: int = Field(200, ge=1, description="neighbours kept of each item")
    shrink: float = Field(
        5.0, ge=0, description="added to the cosine's denominator: rare pairs count less"
    )
    half_life: float | None = Field(
        1.0, gt=0, description="events after which an event of the asker counts half; null = never"
    )


class ItemKnn(BlockRetriever):
    """Item-based collaborative filtering (Sarwar et al., WWW 2001) on binary events.

    ``sim(i, j) = users of both / (sqrt(users of i * users of j) + shrink)``; of each item ``i``
    only the ``k`` most similar ``j`` are kept, and
    ``score(j) = sum over the history of 0.5 ** (steps ago / half_life) * sim(h, j)``.
    """

    Config: ClassVar[type[ItemKnnConfig]] = ItemKnnConfig

    _similar: Any  # (W, W) float32 csr_array: from an item of the history to its neighbours

    def fit(self, data: Dataset, context: FitContext) -> None:
        """Find every item's neighbours."""
        data.require_events(self.name)
        self._warm = WarmItems.of(np.flatnonzero(data.popularity).astype(np.int32), data.n_items)
        binary = history_matrix(data.queries(), self._warm.columns, len(self._warm), half_life=None)
        self._similar = neighbour_matrix(binary, self.config.k, self.config.shrink)

    def _block(self, queries: Queries) -> npt.NDArray[np.float32]:
        warm = self._fitted()
        history = history_matrix(queries, warm.columns, len(warm), half_life=self.config.half_life)
        block: npt.NDArray[np.float32] = (history @ self._similar).toarray()
        return block

    def save(self, folder: Path) -> None:
        """One safetensors file."""
        arrays = {"items": self._fitted().items, **sparse_arrays(self._similar)}
        write_arrays(folder / "item_knn.safetensors", arrays)

    def load(self, folder: Path, data: Dataset) -> None:
        """What `save` wrote."""
        arrays = read_arrays(folder / "item_knn.safetensors")
        self._warm = WarmItems.of(arrays["items"], data.n_items)
        self._similar = read_sparse(arrays, len(self._warm))


def neighbour_matrix(binary: Any, k: int, shrink: float) -> Any:
    """(W, W) float32 csr_array: row ``i`` holds the shrunk cosines of its ``k`` nearest neighbours.

    Of equally similar neighbours at the border the one of the lower column stands.

    Args:
        binary: (U, W) float32 `scipy.sparse.csr_array` of 0 and 1.
        k: neighbours kept.
        shrink: added to the cosine's denominator.
    """
    from scipy.sparse import csr_array

    width = binary.shape[1]
    norms = np.sqrt(binary.sum(axis=0)).astype(np.float32)
    sources: list[npt.NDArray[np.int64]] = []
    targets: list[npt.NDArray[np.int32]] = []
    values: list[npt.NDArray[np.float32]] = []
    for first, both in gram_rows(binary):
        both.sort_indices()
        source = first + np.repeat(np.arange(both.shape[0]), np.diff(both.indptr))
        target = both.indices
        cosines = both.data / (norms[source] * norms[target] + np.float32(shrink))
        cosines[source == target] = 0.0  # never its own neighbour
        keep = cosines > 0
        for start, end in pairwise(both.indptr):
            if end - start > k:
                keep[start:end] &= _highest(cosines[start:end], k)
        sources.append(source[keep])
        targets.append(target[keep])
        values.append(cosines[keep])
    where = (np.concatenate(sources), np.concatenate(targets))
    return csr_array((np.concatenate(values), where), shape=(width, width))


def _highest(values: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.bool_]:
    """(n,) bool: the ``k`` highest of ``values`` (n,), n above k; of equal ones the first."""
    lowest = np.partition(values, len(values) - k)[len(values) - k]
    keep: npt.NDArray[np.bool_] = values > lowest
    keep[np.flatnonzero(values == lowest)[: k - int(keep.sum())]] = True
    return keep
