"""Power means of the scores: arithmetic, geometric, harmonic and all between."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from fusion.methods.addition import added
from fusion.methods.base import ScoreConfig, ScoreMethod
from fusion.methods.voices import muted, present_weight
from fusion.normalizations.segments import FloatArray

__all__ = ["PowerMean", "PowerMeanConfig"]

#: below this size an exponent is taken for 0: the root of so small a power is all rounding error
TINY = 1e-6


class PowerMeanConfig(ScoreConfig):
    """Settings of `PowerMean`."""

    p: float = Field(
        1.0,
        allow_inf_nan=False,
        description="the exponent: 1 arithmetic, 0 geometric, -1 harmonic mean; the lower it is, "
        "the more the worst score counts",
    )


class PowerMean(ScoreMethod):
    """``(sum of weight * s ** p / sum of weight) ** (1 / p)`` over the models giving a score ``s``.

    For ``p = 0`` the limit, ``exp(sum of weight * log s / sum of weight)``. Between CombMIN
    (``p`` far below 0) and CombMAX (far above): how much one bad word can spoil. A missing
    score is left out of the mean; a row without any score gets 0.

    With ``p`` other than 1 the scores must not be negative: one that is (`ZScore`) counts as 0.
    With ``p`` of 0 or less one score of 0 makes the mean 0, as is its limit; under `Rank`, whose
    lowest is above 0, the worst word spoils less.

    Contributions: the score is divided as the powers are, ``weight * s ** p`` each; for ``p = 0``
    as the weights are.

    Source: Hardy, Littlewood and Polya, "Inequalities", 1934, chapter II (the means and their
    order).

    Example:
        >>> import numpy as np
        >>> for p in (1, 0, -1):
        ...     PowerMean({"p": p}).merge(np.array([[1.0], [4.0]]), np.ones(2)).round(9).item()
        2.5
        2.0
        1.6
    """

    Config = PowerMeanConfig
    monotone = True

    def merge(self, worth: FloatArray, weights: FloatArray) -> FloatArray:
        """(N,) float64: the mean of each row."""
        return self._mean(worth, weights)[0]

    def combine(self, worth: FloatArray, weights: FloatArray) -> FloatArray:
        """(M, N) float64: each model's share of the powers, times the mean."""
        mean, powers, whole = self._mean(worth, weights)
        if self.config.p == 1.0:
            return powers / whole  # the terms themselves, which may be negative
        return powers * (mean / whole)

    def _mean(
        self, worth: FloatArray, weights: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The means (N,), the terms (M, N) that they are made of, the divisors of those (N,)."""
        p = float(self.config.p)
        worth = muted(worth, weights)
        gone = np.isnan(worth)
        whole = present_weight(worth, weights)
        whole[whole == 0.0] = 1.0
        share = np.where(gone, 0.0, weights[:, None])
        if p == 1.0:
            terms = np.where(gone, 0.0, worth) * weights[:, None]
            return added(terms.copy()) / whole, terms, whole
        values = np.maximum(worth, 0.0, out=worth)
        nobody = gone.all(axis=0)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            if abs(p) < TINY:
                logs = np.where(gone, 0.0, np.log(values) * weights[:, None])
                return np.where(nobody, 0.0, np.exp(added(logs) / whole)), share, whole
            # relative to the row's own largest or smallest, no power can overflow
            extreme = np.fmax if p > 0 else np.fmin
            scale = extreme.reduce(values, axis=0, initial=np.nan)
            powers = np.where(gone, 0.0, share * (values / scale) ** p)
            sums = added(powers.copy())
            mean = scale * (sums / whole) ** (1.0 / p)
        nothing = nobody | (scale == 0.0)
        powers[:, nothing], sums[nothing], mean[nothing] = 0.0, 1.0, 0.0
        return mean, powers, sums
