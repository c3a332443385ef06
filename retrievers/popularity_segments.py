"""Popularity within the values of a field of the items, and the values that an asker leans to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.data.dataset import Catalog
from fusion.data.fields import values_of
from fusion.queries import Queries

__all__ = ["Segments"]


@dataclass(frozen=True)
class Segments:
    """Which values each item has, and how the events on each value fall on the items.

    Attributes:
        of_item: (I, V) float32 csr_array; the row of an item with ``n`` values holds ``1 / n`` at
            each of them, that of an item without a value is empty.
        within: (V, W) float32 csr_array; a row holds the share that each warm item has of the
            events on the value, and sums to 1, or to 0 where there are none.
    """

    of_item: Any
    within: Any

    @classmethod
    def of(
        cls,
        catalog: Catalog,
        field: str,
        counts: npt.NDArray[np.float64],
        warm: npt.NDArray[np.int32],
        who: str,
    ) -> Segments:
        """From a field of ``catalog``.

        Args:
            catalog: ``I`` items.
            field: of the items; a value or a list of values each.
            counts: (I,) float64, weighted events of each item.
            warm: (W,) int32 item_index, rising: those with an event.
            who: asks, for messages.

        Raises:
            ConfigError: there is no such field.
            DataError: its values are neither text, numbers nor lists of such.
        """
        from scipy.sparse import csr_array, diags_array

        values = values_of(catalog, field, who)
        own = values.of_item
        part = 1 / np.repeat(own.lengths, own.lengths)
        of_item = csr_array(
            (part, own.values, own.offsets), shape=(len(own), len(values.names))
        )  # (I, V)
        events = (diags_array(counts) @ of_item)[warm].T.tocsr()  # (V, W)
        totals = events.sum(axis=1)
        scale = np.divide(1, totals, out=np.zeros(len(totals)), where=totals > 0)
        within = (diags_array(scale) @ events).tocsr()
        return cls(of_item.astype(np.float32), within.astype(np.float32))

    def shares(self, queries: Queries) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """The popularity of the warm items within the values of each history.

        Args:
            queries: Q of them; every event of a history counts the same.

        Returns:
            (K, W) float32 of the K queries of whose values anything is known, each row summing to
            1; and (Q,) bool, which queries those are.
        """
        from scipy.sparse import csr_array, diags_array

        history = queries.history
        events = csr_array(
            (np.ones(len(history.values), np.float32), history.values, history.offsets),
            shape=(len(queries), self.of_item.shape[0]),
        )
        popular = (self.within.sum(axis=1) > 0).astype(np.float32)
        taste = (events @ self.of_item @ diags_array(popular)).tocsr()  # (Q, V)
        totals = taste.sum(axis=1)
        known = totals > 0
        scaled = diags_array(1 / totals[known]) @ taste[known] @ self.within
        inside: npt.NDArray[np.float32] = scaled.toarray().astype(np.float32)
        return inside, known

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """For a safetensors file."""
        out = {}
        for name, matrix in (("of_item", self.of_item), ("within", self.within)):
            matrix.sort_indices()
            out[f"{name}.data"] = matrix.data
            out[f"{name}.indices"] = matrix.indices.astype(np.int32)
            out[f"{name}.indptr"] = matrix.indptr.astype(np.int64)
        out["values"] = np.array([self.of_item.shape[1]], np.int64)
        return out

    @classmethod
    def read(cls, arrays: Mapping[str, npt.NDArray[Any]], width: int) -> Segments:
        """What `arrays` gave, for ``width`` warm items."""
        from scipy.sparse import csr_array

        values = int(arrays["values"][0])

        def matrix(name: str, rows: int, columns: int) -> Any:
            parts = tuple(arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
            return csr_array(parts, shape=(rows, columns))

        items = len(arrays["of_item.indptr"]) - 1
        return cls(matrix("of_item", items, values), matrix("within", values, width))
