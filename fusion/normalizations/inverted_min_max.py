"""Inverted min-max: for a model whose lowest score is its best, such as a distance."""

from __future__ import annotations

from fusion.candidates import Candidates
from fusion.normalizations.min_max import scale
from fusion.normalizations.rowwise import lists
from fusion.normalizations.segments import FloatArray
from fusion.protocols import Normalization

__all__ = ["InvertedMinMax"]


class InvertedMinMax(Normalization):
    """``(max - s) / (max - min)`` over a model's scores in the query: the order is turned round.

    In this project a higher score is better, and a retriever of distances gives them with a minus.
    This is for columns from elsewhere that hold distances, costs or places as they are. It turns
    round every model of the method that it stands in.

    A list whose scores are all equal (one candidate is the plainest case) gives 1, as in `MinMax`.

    Source: ranx 0.3, ``min_max_norm(invert=True)`` (Bassani and Romelli, "ranx.fuse", CIKM 2022).

    Example:
        >>> import numpy as np
        >>> from fusion.candidates import Candidates
        >>> lists = Candidates.single(
        ...     "a", np.array([0, 3]), np.arange(3, dtype=np.int32), np.float32([2, 3, 4])
        ... )
        >>> InvertedMinMax().normalize(lists).ravel().tolist()
        [1.0, 0.5, 0.0]
    """

    def normalize(self, candidates: Candidates) -> FloatArray:
        """(N, M) float64 in [0, 1], the lowest score of a list 1; NaN stays NaN."""
        scores, offsets = lists(candidates)
        return scale(-scores, offsets).reshape(len(candidates.models), len(candidates)).T
