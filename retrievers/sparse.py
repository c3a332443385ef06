"""Square sparse matrices in safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["read_sparse", "sparse_arrays"]


def sparse_arrays(matrix: Any) -> dict[str, npt.NDArray[Any]]:
    """The three arrays of a `scipy.sparse.csr_array`, columns rising in every row."""
    matrix.sort_indices()
    return {
        "data": matrix.data,
        "indices": matrix.indices.astype(np.int32),
        "indptr": matrix.indptr.astype(np.int64),
    }


def read_sparse(arrays: Mapping[str, npt.NDArray[Any]], width: int) -> Any:
    """(width, width) `scipy.sparse.csr_array` from what `sparse_arrays` gave."""
    from scipy.sparse import csr_array

    return csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(width, width))
