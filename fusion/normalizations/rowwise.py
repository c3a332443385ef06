"""Every list at once: what a query and a model share, applied to each of their rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates
from fusion.normalizations.segments import FloatArray, columns

__all__ = ["lists", "rowwise"]


def lists(candidates: Candidates) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Every model's scores, one after the other, each with the queries' offsets.

    A list is what one model says of one query. To whoever works list by list it does not matter
    whose they are, and one long run of them costs fewer calls than a run for each model.

    Returns:
        ``scores`` (M * N,) float32; ``offsets`` (M * Q + 1,) int64: list ``m * Q + q`` owns the
        rows ``offsets[m * Q + q]:offsets[m * Q + q + 1]``. ``reshape(M, N)`` brings models back.
    """
    table = columns(candidates)
    first = np.arange(len(table))[:, None] * len(candidates)
    starts = (first + candidates.offsets[:-1]).ravel()
    return table.ravel(), np.append(starts, table.size)


def rowwise(
    operation: np.ufunc,
    column: npt.NDArray[np.floating[Any]],
    numbers: FloatArray,
    offsets: npt.NDArray[np.int64],
    out: FloatArray,
) -> None:
    """``out[row] = operation(column[row], numbers[list of the row])``.

    Lists of one length are the rows of a matrix, where NumPy repeats the number itself. The
    results are the same. ``column`` is brought to float64 before, not inside the operation: there
    NumPy would do it in small pieces, which takes longer.

    Args:
        operation: of two arguments: ``np.subtract``, ``np.divide``...
        column: (N,), one run of memory.
        numbers: (L,) float64.
        offsets: (L+1,) int64.
        out: (N,) float64, one run of memory; may be ``column``.
    """
    if column is not out:
        np.copyto(out, column)
    lengths = np.diff(offsets)
    if len(lengths) and lengths[0] > 0 and (lengths == lengths[0]).all():
        table = out.reshape(len(lengths), int(lengths[0]))
        operation(table, numbers[:, None], out=table)
    else:
        operation(out, np.repeat(numbers, lengths), out=out)
