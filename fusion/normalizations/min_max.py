"""Min-max normalisation: each model's best of a query becomes 1, its worst 0."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates
from fusion.normalizations.rowwise import lists, rowwise
from fusion.normalizations.segments import FloatArray, extremes
from fusion.protocols import Normalization

__all__ = ["MinMax", "scale"]


class MinMax(Normalization):
    """``(s - min) / (max - min)`` over a model's scores in the query.

    A list whose scores are all equal (one candidate is the plainest case) has no spread to divide
    by. Each of its items is the model's best, so each gets 1, as the best of any other list does;
    dividing by a tiny number instead, as some libraries do, turns them all into 0 and the model's
    word into nothing. ``docs/decisions/0005-fusion-parity.md`` compares.

    Source: Lee, "Analyses of Multiple Evidence Combination", SIGIR 1997, section 3.

    Example:
        >>> import numpy as np
        >>> from fusion.candidates import Candidates
        >>> lists = Candidates.single(
        ...     "a", np.array([0, 3]), np.arange(3, dtype=np.int32), np.float32([2, 3, 4])
        ... )
        >>> MinMax().normalize(lists).ravel().tolist()
        [0.0, 0.5, 1.0]
    """

    def normalize(self, candidates: Candidates) -> FloatArray:
        """(N, M) float64 in [0, 1]; NaN stays NaN."""
        scores, offsets = lists(candidates)
        return scale(scores, offsets).reshape(len(candidates.models), len(candidates)).T


def scale(scores: npt.NDArray[np.float32], offsets: npt.NDArray[np.int64]) -> FloatArray:
    """(N,) float64: the min-max scores of lists, list by list; NaN stays NaN.

    Args:
        scores: (N,) float32.
        offsets: (L+1,) int64, list ``l`` owns the rows ``offsets[l]:offsets[l + 1]``.
    """
    low, high = extremes(scores, offsets)
    # float64: the difference of two float32 overflows near the largest ones
    spread = high - low
    constant = spread == 0.0
    out = np.empty(len(scores))
    rowwise(np.subtract, scores, low, offsets, out)
    rowwise(np.divide, out, np.where(constant, 1.0, spread), offsets, out)
    if constant.any():
        rowwise(np.add, out, constant.astype(np.float64), offsets, out)  # 0 becomes 1
    return out
