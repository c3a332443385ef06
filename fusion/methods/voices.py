"""Who has a word on a row, and how many votes a model's weight is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fusion.normalizations.segments import FloatArray

__all__ = ["emphasised", "heard", "muted", "present_weight", "shared", "units"]

#: votes of all models together, where that is exact: they fit one byte
SMALL = 128


def heard(worth: FloatArray, weights: FloatArray) -> FloatArray:
    """(N,) float64: how many models of a weight above 0 say a number of each row."""
    out = np.zeros(worth.shape[1])
    for column in worth[weights > 0] if (weights == 0).any() else worth:
        out += ~np.isnan(column)
    return out


def present_weight(worth: FloatArray, weights: FloatArray) -> FloatArray:
    """(N,) float64: the weights of the models that say a number of each row, added up.

    From the lightest to the heaviest, so that the order of the models does not enter.
    """
    out = np.zeros(worth.shape[1])
    for m in np.argsort(weights, kind="stable"):
        out += np.where(np.isnan(worth[m]), 0.0, weights[m])
    return out


def muted(worth: FloatArray, weights: FloatArray) -> FloatArray:
    """``worth`` (M, N) itself, in which the models of weight 0 now say nothing (NaN)."""
    worth[weights == 0] = np.nan
    return worth


def shared(score: FloatArray, deciders: npt.NDArray[np.bool_]) -> FloatArray:
    """(M, N) float64: ``score`` (N,) in equal parts to the ``deciders`` (M, N) of each row.

    A row without any gets zeros.
    """
    part = score / np.maximum(deciders.sum(axis=0), 1)
    return np.where(deciders, part, 0.0)


def units(weights: FloatArray, heaviest: int = 2**20) -> tuple[npt.NDArray[np.int64], int]:
    """Weights as whole votes, so that counting them is exact in any order.

    Args:
        heaviest: votes of the heaviest model where weights have to be rounded.

    Returns:
        ``votes`` (M,) int64, 0 where the weight is 0, all 1 where the others are equal; and the
        largest difference of two sides that is still a tie. That is 0 where the weights are in
        proportion to small whole numbers, and else what rounding them may make.
    """
    present = weights > 0
    if not present.any():
        return np.zeros(len(weights), np.int64), 0
    smallest = weights[present].min()
    for times in range(1, SMALL):
        exact = weights * (times / smallest)
        if exact.sum() >= SMALL:
            break
        if np.abs(exact - np.rint(exact)).max() < 1e-9:
            return np.rint(exact).astype(np.int64), 0
    votes = np.maximum(np.rint(weights / weights.max() * heaviest), 1) * present
    return votes.astype(np.int64), len(weights)


def emphasised(worth: FloatArray, weights: FloatArray, factor: FloatArray) -> FloatArray:
    """(M, N) float64: ``weight * worth`` times each row's ``factor`` (N,), 0 for NaN; in place."""
    worth *= weights[:, None]
    worth *= factor
    np.copyto(worth, 0.0, where=np.isnan(worth))
    return worth
