"""Fused scores of one query on a scale of their own, so that settings mean the same for any fusion.

Reciprocal ranks, sums of z-scores and trees' margins differ by orders of magnitude. Steps that
weigh a score against something else first put the scores of the pool on one of these scales; both
are blind to a rising linear change of the scores. An inserted item (NaN) counts as the lowest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["min_max", "softmax", "z_score"]

FloatArray = npt.NDArray[np.float64]


def min_max(scores: FloatArray) -> FloatArray:
    """(P,) float64 in 0..1; all 1 where the scores are equal.

    >>> min_max(np.array([3.0, 2.0, 1.0])).tolist()
    [1.0, 0.5, 0.0]
    """
    values = _filled(scores)
    low, span = values.min(initial=np.inf), np.ptp(values) if len(values) else 0.0
    return (values - low) / span if span > 0 else np.ones(len(values))


def z_score(scores: FloatArray) -> FloatArray:
    """(P,) float64 of mean 0 and standard deviation 1 (population); all 0 where equal.

    >>> z_score(np.array([3.0, 1.0])).tolist()
    [1.0, -1.0]
    """
    values = _filled(scores)
    if not len(values) or np.ptp(values) == 0:
        return np.zeros(len(values))
    spread: FloatArray = (values - values.mean()) / values.std()
    return spread


def softmax(values: FloatArray) -> FloatArray:
    """(P,) float64, positive, of sum 1: ``exp(values)`` over its sum.

    >>> softmax(np.log(np.array([1.0, 3.0]))).round(6).tolist()
    [0.25, 0.75]
    """
    weights = np.exp(values - values.max(initial=-np.inf))
    return np.asarray(weights / weights.sum())


def _filled(scores: FloatArray) -> FloatArray:
    known = scores[~np.isnan(scores)]
    return np.where(np.isnan(scores), known.min() if len(known) else 0.0, scores)
