"""Logistic regression: is this candidate the target, each row on its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.normalizations.segments import FloatArray
from fusion.stackers.base import Teaching
from fusion.stackers.linear_model import Linear, LinearConfig, LinearStacker, bounds_of, moments

__all__ = ["Logistic", "LogisticConfig", "logistic_regression"]


class LogisticConfig(LinearConfig):
    """Settings of `Logistic`."""

    reg: float = Field(1.0, gt=0, description="L2 on the standardised features' coefficients")
    balanced: bool = Field(
        True,
        description="targets and other candidates weigh the same in sum; false: each row weighs 1, "
        "and the score is the log-odds of being the target",
    )


class Logistic(LinearStacker):
    """A weighted sum of z-scores, log ranks and popularity that tells targets from the others.

    Own code, on scipy's L-BFGS-B, since scikit-learn's ``LogisticRegression`` cannot hold
    coefficients at 0 or above; without that bound the two agree (tested).

    Inputs: `fusion.stackers.features.linear_features`; a label above 0 is a target.
    Relations: pointwise where `fusion.stackers.linear.ConditionalLogit` compares inside a query: a
    query of many candidates weighs more here.
    """

    Config = LogisticConfig

    def estimate(
        self,
        features: npt.NDArray[np.float32],
        teaching: Teaching,
        directions: tuple[int, ...],
    ) -> Linear:
        """By L-BFGS-B."""
        return logistic_regression(
            features,
            teaching.targets,
            directions,
            self.config.reg,
            balanced=self.config.balanced,
        )


def logistic_regression(
    features: npt.NDArray[np.float32],
    labels: npt.NDArray[np.float32],
    directions: tuple[int, ...],
    reg: float,
    *,
    balanced: bool,
) -> Linear:
    """Minimise the log-loss plus ``reg / 2`` times the squared coefficients, the intercept free.

    Args:
        features: (N, F), no NaN; standardised inside.
        labels: (N,) above 0 for a target.
        directions: (F,) 1 where the coefficient must not be negative.
        reg: above 0; scikit-learn's ``1 / C``.
        balanced: each row weighs ``N / (2 * rows of its class)``, as scikit-learn's
            ``class_weight="balanced"`` (King and Zeng, "Logistic Regression in Rare Events Data",
            Political Analysis 9(2), 2001, section 4.2, with a prior of one half).
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    mean, scale = moments(features)
    x = (features - mean) / scale
    y = (labels > 0).astype(np.float64)
    weight = np.ones(len(y))
    if balanced:
        share = np.array([1 - y.mean(), y.mean()])
        weight = 0.5 / np.maximum(share, 1 / (2 * len(y)))[y.astype(np.int64)]
    # the loss is divided by the rows, so that the optimiser's tolerance means the same for any N
    n = len(y)

    def loss(w: FloatArray) -> tuple[float, FloatArray]:
        score = x @ w[1:] + w[0]
        wrong = weight * (expit(score) - y)
        losses = weight * (np.logaddexp(0.0, score) - y * score)
        value = losses.sum() + reg / 2 * w[1:] @ w[1:]
        gradient = np.concatenate([[wrong.sum()], wrong @ x + reg * w[1:]])
        return float(value / n), gradient / n

    start = np.zeros(x.shape[1] + 1)
    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(-30.0, 30.0), *bounds_of(directions)],  # finite where one class is empty
        options={"ftol": 1e-12, "gtol": 1e-8, "maxiter": 1_000},
    )
    return Linear(found.x[1:] / scale, mean, float(found.x[0]))
