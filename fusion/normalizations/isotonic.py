"""Isotonic calibration: the best curve that never falls, whatever its shape."""

from __future__ import annotations

import numpy as np

from fusion.normalizations.calibrated import Calibrated, Curve
from fusion.normalizations.segments import FloatArray

__all__ = ["Isotonic"]


class Isotonic(Calibrated):
    """The least-squares fit of the labels among all curves that never fall as the score rises.

    Pooling adjacent violators makes blocks of scores, each with the share of targets among its own.
    Between the centres of neighbouring blocks (the mean of their scores) the curve is straight, so
    that scores inside one block differ too; beyond the first and the last centre it is level. One
    more row with the model's overall share of targets stands at its lowest and one at its highest
    score, so that the single best score of the window does not promise certainty.

    It takes any shape, and needs more queries than `Platt` and `Beta` do. Beyond the end blocks
    scores tie; a method that must order them there should be given one of those.

    Source: Zadrozny and Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability
    Estimates", KDD 2002, section 3; the lines between centres as in Oron and Flournoy, "Centered
    Isotonic Regression: Point and Interval Estimation for Dose-Response Studies", Statistics in
    Biopharmaceutical Research 9(3), 2017.

    Example, in YAML::

        fusion:
          mode: parallel
          method: {name: weighted_sum, normalization: {name: isotonic, scale: quantile}}
    """

    def curve(self, values: FloatArray, labels: FloatArray) -> Curve:
        """The ``score`` at each block's centre and its ``rate`` of targets, both rising."""
        from scipy.optimize import isotonic_regression

        overall = float(labels.mean())
        values = np.concatenate([[values.min()], values, [values.max()]])
        labels = np.concatenate([[overall], labels, [overall]])
        order = np.argsort(values, kind="stable")
        # equal scores are one point: their order must not matter
        points, first = np.unique(values[order], return_index=True)
        rows = np.diff(np.append(first, len(values))).astype(np.float64)
        shares = np.add.reduceat(labels[order], first) / rows
        fitted = isotonic_regression(shares, weights=rows)
        starts = fitted.blocks[:-1]
        weight = np.add.reduceat(rows, starts)
        centres = np.add.reduceat(points * rows, starts) / weight
        return {"score": centres.tolist(), "rate": np.clip(fitted.x[starts], 0.0, 1.0).tolist()}

    def probability(self, values: FloatArray, curve: Curve) -> FloatArray:
        """(N,) float64 in [0, 1]."""
        out: FloatArray = np.interp(values, curve["score"], curve["rate"])
        return out
