"""Logistic regression whose slopes are never negative, for Platt and beta calibration."""

from __future__ import annotations

import numpy as np

from fusion.normalizations.segments import FloatArray

__all__ = ["fit_logistic", "platt_targets", "sigmoid", "standard"]


def sigmoid(values: FloatArray) -> FloatArray:
    """``1 / (1 + exp(-v))`` for any number; NaN stays NaN."""
    with np.errstate(over="ignore"):  # exp of a large number is infinite, and 1 over that 0
        out: FloatArray = 1.0 / (1.0 + np.exp(-values))
    return out


def standard(values: FloatArray) -> tuple[float, float]:
    """Mean and standard deviation of ``values`` (n,); where they are all equal, the latter is 1."""
    mean, sd = float(values.mean()), float(values.std())
    return mean, sd if sd > 0.0 else 1.0


def platt_targets(labels: FloatArray) -> FloatArray:
    """Platt's targets (n,): not 1 and 0 but what their counts can vouch for.

    ``(N+ + 1) / (N+ + 2)`` for the ``N+`` targets and ``1 / (N- + 2)`` for the ``N-`` others: the
    rates after one more row of each kind (Laplace), so that scores that separate the two perfectly
    do not make an infinite slope. Source: Platt, "Probabilistic Outputs for Support Vector Machines
    and Comparisons to Regularized Likelihood Methods", Advances in Large Margin Classifiers, 1999,
    section 2.2.
    """
    positive = float(labels.sum())
    high = (positive + 1.0) / (positive + 2.0)
    low = 1.0 / (len(labels) - positive + 2.0)
    return np.where(labels > 0, high, low)


def fit_logistic(features: FloatArray, targets: FloatArray) -> list[float]:
    """Slopes of ``features`` (F, n), each 0 or more, and last the intercept.

    They minimise the cross-entropy of ``sigmoid(slopes @ features + intercept)`` against
    ``targets`` (n,) in [0, 1], a convex problem; it is solved by L-BFGS-B, whose bounds hold the
    slopes at 0 where the data would have them negative.
    """
    from scipy.optimize import minimize

    n = features.shape[1]

    def loss(point: FloatArray) -> tuple[float, FloatArray]:
        score = point[:-1] @ features + point[-1]
        softplus = np.logaddexp(0.0, score)
        wrong = np.exp(score - softplus) - targets
        gradient = np.append(features @ wrong, wrong.sum()) / n
        return float(np.mean(softplus - targets * score)), gradient

    share = float(targets.mean())
    start = np.append(np.zeros(len(features)), np.log(share / (1.0 - share)))
    bounds = [(0.0, None)] * len(features) + [(None, None)]
    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 500},
    )
    return [float(value) for value in found.x]
