"""Conditional logit: how each query chose its target among its candidates."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fusion.normalizations.segments import FloatArray, reduce
from fusion.stackers.linear_model import Linear, bounds_of, moments

__all__ = ["choice_shares", "conditional_logit"]


def conditional_logit(
    features: npt.NDArray[np.float32],
    labels: npt.NDArray[np.float32],
    offsets: npt.NDArray[np.int64],
    directions: tuple[int, ...],
    reg: float,
) -> Linear:
    """Maximise the likelihood that each query chose its target among its candidates.

    ``sum over queries of log softmax(score)[target]`` less ``reg / 2`` times the squared
    coefficients of the standardised features. It is convex: one optimum, no seed. A feature
    whose direction is 1 has a coefficient of at least 0.

    Source: McFadden, "Conditional logit analysis of qualitative choice behavior", in Zarembka,
    Frontiers in Econometrics, 1974.

    Args:
        features: (N, F), no NaN.
        labels: (N,) above 0 for the one target of each query.
        offsets: (Q+1,); no query is empty.
        directions: (F,) see `fusion.stackers.features.Layout`.
        reg: above 0; as many pseudo-observations hold each coefficient at 0.
    """
    from scipy.optimize import minimize

    mean, scale = moments(features)
    x = (features - mean) / scale
    chosen = x[labels > 0].sum(axis=0)

    def loss(w: FloatArray) -> tuple[float, FloatArray]:
        share = choice_shares(x @ w, offsets)
        log_share = np.log(np.maximum(share[labels > 0], 1e-300)).sum()
        return float(reg / 2 * w @ w - log_share), reg * w - chosen + share @ x

    start = np.zeros(x.shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds_of(directions))
    return Linear(found.x / scale, mean)


def choice_shares(scores: FloatArray, offsets: npt.NDArray[np.int64]) -> FloatArray:
    """(N,) float64: the softmax of ``scores`` (N,) inside each query."""
    lengths = np.diff(offsets)
    top = np.repeat(reduce(np.maximum.reduceat, scores, offsets), lengths)
    mass = np.exp(scores - top)
    share: FloatArray = mass / np.repeat(reduce(np.add.reduceat, mass, offsets), lengths)
    return share
