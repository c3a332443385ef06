"""CombMED: the median of the scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fusion.methods.base import ScoreMethod
from fusion.methods.voices import muted, shared, units
from fusion.normalizations.segments import FloatArray

__all__ = ["CombMED"]


class CombMED(ScoreMethod):
    """The weighted median of the normalised scores that there are.

    Half of the weight stands at or below it, half at or above; where the weight falls into two
    exact halves, it is the mean of the two scores in the middle. A missing score does not take
    part; a row without any score gets 0.

    Contributions: the score belongs to the model in the middle, in equal parts if several gave that
    score; of two scores in the middle, half of each.

    Source: Fox and Shaw, "Combination of Multiple Searches", TREC-2 1994. The weights are ours; all
    1 gives the paper's.
    """

    monotone = True

    def merge(self, worth: FloatArray, weights: FloatArray) -> FloatArray:
        """(N,) float64: the median of each row."""
        low, high = _middle(muted(worth, weights), weights)
        return _zero((low + high) / 2)

    def combine(self, worth: FloatArray, weights: FloatArray) -> FloatArray:
        """(M, N) float64: half of each score in the middle, where it came from."""
        low, high = _middle(muted(worth, weights), weights)
        below, above = worth == low, worth == high
        return shared(_zero(low) / 2, below) + shared(_zero(high) / 2, above)


def _zero(values: FloatArray) -> FloatArray:
    return np.nan_to_num(values, copy=False, nan=0.0)


def _middle(worth: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The lower and the upper score in the middle of each row, (N,); NaN without any score."""
    votes, slack = units(weights, 2**40)
    ordered = np.where(np.isnan(worth), np.inf, worth)
    if votes.max(initial=0) <= 1:
        _sort(ordered)
        last = np.isfinite(ordered).sum(axis=0) - 1
        low, high = _pick(ordered, last // 2), _pick(ordered, (last + 1) // 2)
    else:
        order = np.argsort(ordered, axis=0, kind="stable")
        ordered = np.take_along_axis(ordered, order, axis=0)
        count = np.cumsum(np.where(np.isfinite(ordered), votes[order], 0), axis=0)
        lead = 2 * count - count[-1]  # votes up to here less those after
        # the first with which half of the votes are reached, and the first that goes beyond
        low = _pick(ordered, np.argmax(lead >= -slack, axis=0))
        high = _pick(ordered, np.argmax(lead > slack, axis=0))
    nobody = ~np.isfinite(low)
    low[nobody] = high[nobody] = np.nan
    return low, high


def _sort(columns: FloatArray) -> None:
    """Sort every row of (M, N), in place, by exchanging neighbours: whole columns a step."""
    for last in range(len(columns) - 1, 0, -1):
        for left in range(last):
            low = np.minimum(columns[left], columns[left + 1])
            np.maximum(columns[left], columns[left + 1], out=columns[left + 1])
            columns[left] = low


def _pick(ordered: FloatArray, place: npt.NDArray[np.intp]) -> FloatArray:
    """(N,): each row's score at its ``place`` (N,)."""
    at = np.maximum(place, 0)
    if len(at) and (at == at[0]).all():
        return np.array(ordered[at[0]])
    return np.array(np.take_along_axis(ordered, at[None, :], axis=0)[0])
