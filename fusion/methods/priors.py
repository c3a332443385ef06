"""The calibrated prior of a missing score: the worth that is as often right."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fusion.normalizations.segments import FloatArray

__all__ = ["priors_of"]


def priors_of(
    worth: FloatArray, gone: npt.NDArray[np.bool_], labels: npt.NDArray[np.float32]
) -> FloatArray:
    """(M,) the worth at which a model's scores are as often right as its missing ones.

    The share of targets among the rows with a score, as a function of the worth, is made monotone
    (isotonic regression); the prior is the lowest worth at which it reaches the share of targets
    among the rows ``gone``, both shares with one pseudo-count of the model's overall share. A model
    without any score gets NaN (it says nothing); where no row is gone, the lowest worth.

    Args:
        worth: (M, N), NaN where there is no score.
        gone: (N, M) bool, the rows whose score is missing for the reason in question.
        labels: (N,) 1 for a query's target, else 0.
    """
    from scipy.optimize import isotonic_regression

    out = np.full(len(worth), np.nan)
    for m, column in enumerate(worth):
        present = ~np.isnan(column)
        if not present.any():
            continue
        overall = float(labels.mean())
        missing = gone[:, m]
        share = (float(labels[missing].sum()) + overall) / (int(missing.sum()) + 1)
        order = np.argsort(column[present], kind="stable")
        values, hits = column[present][order], labels[present][order].astype(np.float64)
        # equal worths are one point: their order must not matter
        distinct, first = np.unique(values, return_index=True)
        counts = np.diff(np.append(first, len(values))).astype(np.float64)
        rates = (np.add.reduceat(hits, first) + overall) / (counts + 1)
        curve = isotonic_regression(rates, weights=counts).x
        reached = np.flatnonzero(curve >= share)
        if not missing.any():
            out[m] = distinct[0]
        else:
            out[m] = distinct[reached[0]] if len(reached) else distinct[-1]
    return out
