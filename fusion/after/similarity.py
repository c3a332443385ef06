"""How alike items are: by the values of a field, or by vectors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.after.reordering import PoolConfig
from fusion.after.step import StepContext
from fusion.data.dataset import Catalog
from fusion.data.fields import FieldValues, values_of
from fusion.errors import ConfigError, explain

__all__ = ["SimilarityConfig", "bind_similarity", "cosine", "similarity"]

FloatArray = npt.NDArray[np.float64]


class SimilarityConfig(PoolConfig):
    """What steps have that compare items."""

    field: str | None = Field(
        "categories",
        description="items are alike as far as they share values of this field; null = by the "
        "item vectors that the caller gives",
    )


def cosine(features: npt.NDArray[np.floating | np.bool_]) -> FloatArray:
    """(P, P) float64: cosine similarity of the rows of ``features`` (P, D); 1 with itself.

    A row of zeros resembles no other one. Over sets (rows of truth values) it is
    ``|a & b| / sqrt(|a| |b|)``, computed from whole numbers, so the same in every batch.

    >>> cosine(np.array([[1, 1], [1, 0], [0, 0]], bool)).round(3).tolist()
    [[1.0, 0.707, 0.0], [0.707, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    rows = features.astype(np.float64)
    alike = rows @ rows.T
    norm = np.diag(alike).copy()
    norm[norm == 0] = 1.0
    alike /= np.sqrt(np.outer(norm, norm))
    np.fill_diagonal(alike, 1.0)
    return np.asarray(alike)


def bind_similarity(field: str | None, catalog: Catalog, who: str) -> FieldValues | None:
    """What `similarity` needs of the catalogue.

    Raises:
        ConfigError: there is no such field.
        DataError: its values are not categories.
    """
    return None if field is None else values_of(catalog, field, who)


def similarity(items: npt.NDArray[np.int32], context: StepContext) -> FloatArray:
    """(P, P) float64 among ``items`` (P,), by the bound field or else by vectors; 1 with itself.

    Raises:
        ConfigError: neither a field nor vectors.
    """
    if context.bound is not None:
        return cosine(context.bound.members(items))
    if context.item_vectors is None:
        raise ConfigError(
            explain(
                context.label,
                "item vectors, since its field is null",
                "none",
                "name a field, or pass item_vectors",
            )
        )
    return cosine(np.asarray(context.item_vectors(items)))
