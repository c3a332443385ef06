"""Platt scaling: a logistic curve from a model's score to the probability of being right."""

from __future__ import annotations

from fusion.normalizations.calibrated import Calibrated, Curve
from fusion.normalizations.logistic_fit import fit_logistic, platt_targets, sigmoid, standard
from fusion.normalizations.segments import FloatArray

__all__ = ["Platt"]


class Platt(Calibrated):
    """``1 / (1 + exp(-(a s + b)))`` with ``a >= 0`` and ``b`` learnt for each model.

    Two numbers a model: it learns from few queries and cannot bend. Strictly rising where the model
    tells right from wrong at all, so the order inside a list is kept. Where higher scores were more
    often wrong, ``a`` is 0 and the model says the same of everything. Targets are smoothed as by
    Platt (see `fusion.normalizations.logistic_fit.platt_targets`).

    Source: Platt, "Probabilistic Outputs for Support Vector Machines and Comparisons to Regularized
    Likelihood Methods", Advances in Large Margin Classifiers, 1999, section 2.

    Example, in YAML::

        fusion:
          mode: parallel
          method: {name: weighted_sum, normalization: {name: platt, scale: z_score}}
    """

    def curve(self, values: FloatArray, labels: FloatArray) -> Curve:
        """``slope`` and ``intercept`` over the scores less their ``mean``, in units of ``sd``."""
        mean, sd = standard(values)
        slope, intercept = fit_logistic(((values - mean) / sd)[None], platt_targets(labels))
        return {"slope": [slope], "intercept": [intercept], "mean": [mean], "sd": [sd]}

    def probability(self, values: FloatArray, curve: Curve) -> FloatArray:
        """(N,) float64 in (0, 1)."""
        (slope,), (intercept,) = curve["slope"], curve["intercept"]
        (mean,), (sd,) = curve["mean"], curve["sd"]
        return sigmoid(slope * ((values - mean) / sd) + intercept)
