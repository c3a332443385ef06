"""One number a query, applied to every row of the query."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.normalizations.segments import FloatArray

__all__ = ["rowwise"]


def rowwise(
    operation: np.ufunc,
    column: npt.NDArray[np.floating[Any]],
    numbers: FloatArray,
    offsets: npt.NDArray[np.int64],
    out: FloatArray,
) -> None:
    """``out[row] = operation(column[row], numbers[query of the row])``.

    Queries of one length are the rows of a matrix, and NumPy repeats the number itself; writing it
    out row by row (``np.repeat``) takes longer than the arithmetic. The results are the same.

    Args:
        operation: of two arguments: ``np.subtract``, ``np.divide``...
        column: (N,), one run of memory.
        numbers: (Q,) float64.
        offsets: (Q+1,) int64.
        out: (N,) float64, one run of memory; may be ``column``.
    """
    lengths = np.diff(offsets)
    if len(lengths) and lengths[0] > 0 and (lengths == lengths[0]).all():
        shape = (len(lengths), int(lengths[0]))
        operation(column.reshape(shape), numbers[:, None], out=out.reshape(shape))
    else:
        operation(column, np.repeat(numbers, lengths), out=out)
