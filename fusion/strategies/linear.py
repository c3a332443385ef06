"""A linear ranking model: conditional logit over each query's candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fusion.normalizations.segments import FloatArray, reduce

__all__ = ["Linear"]


@dataclass(frozen=True)
class Linear:
    """``score = coefficients @ (features - mean)``.

    Attributes:
        coefficients: (F,) float64, of the features as they are.
        mean: (F,) float64, of the features over the teaching rows: what a contribution is
            measured from.
    """

    coefficients: FloatArray
    mean: FloatArray

    @classmethod
    def fit(
        cls,
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

        Source: McFadden, "Conditional logit analysis of qualitative choice behavior", 1974.

        Args:
            features: (N, F), no NaN.
            labels: (N,) 1 for the one target of each query.
            offsets: (Q+1,); no query is empty.
            directions: (F,) see `fusion.strategies.features.Layout`.
            reg: above 0; as many pseudo-observations hold each coefficient at 0.
        """
        from scipy.optimize import minimize

        mean = features.mean(axis=0, dtype=np.float64)
        scale = features.std(axis=0, dtype=np.float64)
        constant = scale <= 1e-6 * np.abs(mean)  # it says nothing
        scale = np.where(constant, np.inf, scale)
        x = (features - mean) / scale
        lengths = np.diff(offsets)
        chosen = x[labels > 0].sum(axis=0)

        def loss(w: FloatArray) -> tuple[float, FloatArray]:
            score = x @ w
            top = np.repeat(reduce(np.maximum.reduceat, score, offsets), lengths)
            mass = np.exp(score - top)
            share = mass / np.repeat(reduce(np.add.reduceat, mass, offsets), lengths)
            log_share = np.log(np.maximum(share[labels > 0], 1e-300)).sum()
            return float(reg / 2 * w @ w - log_share), reg * w - chosen + share @ x

        bounds = [(0.0, None) if way > 0 else (None, None) for way in directions]
        found = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds)
        return cls(found.x / scale, mean)

    def contributions(self, features: npt.NDArray[np.float32]) -> FloatArray:
        """(N, F) float64: what each feature gives; a row sums to its score."""
        return (features - self.mean) * self.coefficients
