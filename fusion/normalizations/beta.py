"""Beta calibration: a logistic curve that may bend differently at its two ends."""

from __future__ import annotations

import numpy as np

from fusion.normalizations.calibrated import Calibrated, Curve
from fusion.normalizations.logistic_fit import fit_logistic, platt_targets, sigmoid, standard
from fusion.normalizations.segments import FloatArray

__all__ = ["Beta"]


class Beta(Calibrated):
    """``1 / (1 + exp(-(a log u - b log(1 - u) + c)))`` with ``a, b >= 0``, learnt for each model.

    ``u`` in (0, 1) is the logistic function of the score, less its mean, in units of its standard
    deviation (both from the window). Where ``a = b`` this is `Platt`, since ``log u - log(1 - u)``
    is that score again; with its third parameter the curve may rise slowly among low scores and
    fast among high ones, which is what rare targets ask for. ``a`` shapes the low scores and ``b``
    the high ones. No score reaches 0 or 1, so no logarithm is infinite. Where the data would have a
    slope negative, it is 0: the curve never falls. Targets are smoothed as in `Platt`, which the
    paper does not do; else scores that separate right from wrong perfectly have no best curve.

    Source: Kull, Silva Filho and Flach, "Beta Calibration: a Well-founded and Easily Implemented
    Improvement on Logistic Calibration for Binary Classifiers", AISTATS 2017, section 4.

    Example, in YAML::

        fusion:
          mode: parallel
          method: {name: comb_sum, normalization: beta}
    """

    def curve(self, values: FloatArray, labels: FloatArray) -> Curve:
        """``a``, ``b`` and ``c``, and the ``mean`` and ``sd`` that make ``u`` of a score."""
        mean, sd = standard(values)
        a, b, c = fit_logistic(_features((values - mean) / sd), platt_targets(labels))
        return {"a": [a], "b": [b], "c": [c], "mean": [mean], "sd": [sd]}

    def probability(self, values: FloatArray, curve: Curve) -> FloatArray:
        """(N,) float64 in [0, 1]."""
        a, b, c, mean, sd = (curve[key][0] for key in ("a", "b", "c", "mean", "sd"))
        low, high = _features((values - mean) / sd)
        return sigmoid(a * low + b * high + c)


def _features(values: FloatArray) -> FloatArray:
    """(2, n): ``log u`` and ``-log(1 - u)`` of ``u = sigmoid(values)``; both rise with it."""
    rest = np.log1p(np.exp(-np.abs(values)))
    return np.stack([np.minimum(values, 0.0) - rest, np.maximum(values, 0.0) + rest])
