"""L2 normalisation: each model's scores of a query as a vector of length 1."""

from __future__ import annotations

import numpy as np

from fusion.candidates import Candidates
from fusion.normalizations.rowwise import lists, rowwise
from fusion.normalizations.segments import FloatArray, sums
from fusion.protocols import Normalization

__all__ = ["L2"]


class L2(Normalization):
    """``s / sqrt(sum of s ** 2)`` over a model's scores in the query.

    Zero stays zero and signs stay. Under it the sum of two models' scores is largest where their
    score vectors point the same way. A list of zeros stays zeros; one other score alone gives 1 or
    -1; ``n`` equal scores give ``1 / sqrt(n)`` each, with their sign.

    Source: the unit vectors of the vector space model; Salton, Wong and Yang, "A Vector Space Model
    for Automatic Indexing", Communications of the ACM 18(11), 1975.

    Example:
        >>> from fusion.candidates import Candidates
        >>> lists = Candidates.single(
        ...     "a", np.array([0, 2]), np.arange(2, dtype=np.int32), np.float32([3, -4])
        ... )
        >>> L2().normalize(lists).ravel().tolist()
        [0.6, -0.8]
    """

    def normalize(self, candidates: Candidates) -> FloatArray:
        """(N, M) float64 in [-1, 1]; NaN stays NaN."""
        scores, offsets = lists(candidates)
        # float64: the square of no float32 overflows or vanishes in it
        length = np.sqrt(sums(np.square(scores, dtype=np.float64), offsets))
        out = np.empty(len(scores))
        rowwise(np.divide, scores, np.where(length == 0.0, 1.0, length), offsets, out)
        return out.reshape(len(candidates.models), len(candidates)).T
