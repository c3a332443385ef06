"""What a gate may know of a query, such that no model can talk down its own item through it.

A gate that looks at all scores of a query could answer a higher score of an item with a lower
weight of that model, and so lower the item. Therefore the row that is judged is left out of what
its own weights depend on: agreement and sharpness are those of the *other* candidates of the query
(leave-one-out, from sums, so without a loop). History, age and how many candidates a model scored
do not depend on how high a score is. Correlation and skewness do not change with the scale that
the row's own score gives its column; so, up to rounding, a row's weights ignore its own scores.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fusion.normalizations.segments import FloatArray, sums
from fusion.normalizations.z_score import ZScore
from fusion.stackers.base import View

__all__ = ["GATE_FEATURES", "gate_features"]

GATE_FEATURES = ("history", "age", "age_known", "scored", "agreement", "sharpness")
#: a variance below this, on the scale of z-scores, is rounding
FLAT = 1e-10


def gate_features(view: View) -> FloatArray:
    """(N, M, F) float64, without NaN; F is the length of `GATE_FEATURES`.

    - ``history``: ``log1p`` of the history's length.
    - ``age``: ``log1p`` of the days since the newest event, 0 where unknown; ``age_known``: 1 or 0.
    - ``scored``: share of the query's candidates that the model gave a score.
    - ``agreement``: mean correlation of the model's scores with each other model's, over the other
      candidates that both gave a score; 0 where there is none.
    - ``sharpness``: skewness of the model's scores over the other candidates, by ``arcsinh``: high
      where a few stand out. Unlike their standard deviation it stays when the model is fitted again
      and its scale moves.
    """
    candidates, offsets = view.candidates, view.candidates.offsets
    rows, n_models = candidates.rows, len(candidates.models)
    out = np.zeros((len(candidates), n_models, len(GATE_FEATURES)))
    out[:, :, 0] = np.log1p(view.queries.history.lengths)[rows, None]
    out[:, :, 1] = np.log1p(np.nan_to_num(view.ages, nan=0.0))[rows, None]
    out[:, :, 2] = ~np.isnan(view.ages)[rows, None]
    lengths = np.maximum(candidates.lengths, 1)
    z = ZScore().normalize(candidates)
    there = ~np.isnan(z)
    np.copyto(z, 0.0, where=~there)
    for m in range(n_models):
        out[:, m, 3] = (sums(there[:, m], offsets) / lengths)[rows]
        out[:, m, 5] = np.arcsinh(_skewness(z[:, m], there[:, m], offsets))
        for other in range(m):
            both = there[:, m] & there[:, other]
            alike = _correlation(z[:, m], z[:, other], both, offsets) / (n_models - 1)
            out[:, m, 4] += alike
            out[:, other, 4] += alike
    return out


def _correlation(
    x: FloatArray, y: FloatArray, of: npt.NDArray[np.bool_], offsets: npt.NDArray[np.int64]
) -> FloatArray:
    """(N,) Pearson correlation of ``x`` and ``y`` over the query's other rows in ``of``."""
    n, mx, my, xx, yy, xy = (
        _left_out(np.where(of, part, 0.0), offsets) for part in (1.0, x, y, x * x, y * y, x * y)
    )
    n = np.maximum(n, 1)
    mx, my = mx / n, my / n
    vx, vy = xx / n - mx**2, yy / n - my**2
    flat = (vx < FLAT) | (vy < FLAT)
    found = (xy / n - mx * my) / np.sqrt(np.where(flat, 1.0, vx * vy))
    return np.where(flat, 0.0, np.clip(found, -1.0, 1.0))


def _skewness(
    x: FloatArray, of: npt.NDArray[np.bool_], offsets: npt.NDArray[np.int64]
) -> FloatArray:
    """(N,) third standardised moment of ``x`` over the query's other rows in ``of``."""
    n, first, second, third = (
        _left_out(np.where(of, part, 0.0), offsets) for part in (1.0, x, x * x, x**3)
    )
    n = np.maximum(n, 1)
    first, second, third = first / n, second / n, third / n
    variance = second - first**2
    flat = variance < FLAT
    moment = third - 3 * first * second + 2 * first**3
    return np.where(flat, 0.0, moment / np.where(flat, 1.0, variance) ** 1.5)


def _left_out(x: FloatArray, offsets: npt.NDArray[np.int64]) -> FloatArray:
    """(N,) the sum of ``x`` over the query, less the row's own."""
    return np.repeat(sums(x, offsets), np.diff(offsets)) - x
