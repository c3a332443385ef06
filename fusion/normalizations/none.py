"""No normalisation: the scores as the models gave them."""

from __future__ import annotations

import numpy as np

from fusion.candidates import Candidates
from fusion.normalizations.segments import FloatArray
from fusion.protocols import Normalization

__all__ = ["NoNormalization"]


class NoNormalization(Normalization):
    """``s``, for models that are on one scale already, such as calibrated probabilities.

    Without a common scale the model with the widest spread decides alone.

    Example:
        >>> from fusion.candidates import Candidates
        >>> lists = Candidates.single(
        ...     "a", np.array([0, 2]), np.arange(2, dtype=np.int32), np.float32([3, -4])
        ... )
        >>> NoNormalization().normalize(lists).ravel().tolist()
        [3.0, -4.0]
    """

    def normalize(self, candidates: Candidates) -> FloatArray:
        """(N, M) float64: the scores; NaN stays NaN."""
        return candidates.scores.T.astype(np.float64, order="C").T
