"""BCa intervals of many means over the same queries, from one set of bootstrap draws.

The same estimate as `fusion.evaluation.significance.mean_interval`, which draws anew for each row:
here all rows share the draws, so a few hundred rows cost one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fusion.errors import DataError, explain

__all__ = ["Interval", "by_user", "intervals"]

Values = npt.NDArray[np.float64]
RESAMPLES = 2_000  # Efron and Tibshirani (1993), section 14.3
_CELLS = 4_000_000  # draws x users held at once


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over queries with its 95 % interval over users; NaN limits below two users."""

    mean: float
    low: float
    high: float


def by_user(
    values: Values, users: npt.NDArray[np.integer]
) -> tuple[Values, npt.NDArray[np.float64]]:
    """(E, C) sums and (C,) numbers of the ``values`` (E, Q) of each user."""
    order = np.argsort(users, kind="stable")
    _, starts, sizes = np.unique(np.asarray(users)[order], return_index=True, return_counts=True)
    return np.add.reduceat(values[:, order], starts, axis=1), sizes.astype(np.float64)


def intervals(
    values: Values,
    users: npt.NDArray[np.integer],
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    rng: int | np.random.Generator = 0,
) -> list[Interval]:
    """The mean of each row of ``values`` (E, Q) with a BCa interval over the clusters ``users``.

    BCa: Efron (1987), "Better bootstrap confidence intervals". Whole users are drawn; the statistic
    is the sum over the number of values of the drawn users.

    Args:
        values: (E, Q) float64, finite; Q of at least 1.
        users: (Q,) integers, the user of each query.
        level: coverage the intervals aim at.
        resamples: bootstrap draws.
        rng: seed or generator.

    Raises:
        DataError: other shapes, no query, or values that are not finite.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or values.shape[1] == 0 or values.shape[1:] != np.shape(users):
        got = f"{values.shape} values and {np.shape(users)} users"
        raise DataError(explain("intervals", "one value and one user a query", got))
    if not np.isfinite(values).all():
        raise DataError(explain("intervals", "finite values", "NaN or infinity among them"))
    sums, sizes = by_user(values, users)  # (E, C), (C,)
    totals, n, clusters = sums.sum(axis=1), sizes.sum(), len(sizes)
    means = totals / n
    if clusters < 2:
        return [Interval(float(mean), float("nan"), float("nan")) for mean in means]
    drawn = _drawn_means(sums, sizes, resamples, np.random.default_rng(rng))  # (B, E)
    left_out = (totals[:, None] - sums) / (n - sizes)  # jackknife over users, (E, C)
    spread = left_out.mean(axis=1, keepdims=True) - left_out
    return [_bca(float(means[e]), drawn[:, e], spread[e], level) for e in range(len(means))]


def _drawn_means(sums: Values, sizes: Values, resamples: int, rng: np.random.Generator) -> Values:
    clusters = len(sizes)
    columns = np.vstack([sums, sizes]).T  # (C, E + 1)
    step = max(1, _CELLS // clusters)
    out = []
    for start in range(0, resamples, step):
        b = min(step, resamples - start)
        chosen = rng.integers(0, clusters, (b, clusters))
        flat = (chosen + np.arange(b)[:, None] * clusters).ravel()
        times = np.bincount(flat, minlength=b * clusters).reshape(b, clusters).astype(np.float64)
        drawn = times @ columns
        out.append(drawn[:, :-1] / drawn[:, -1:])
    return np.concatenate(out)


def _bca(mean: float, drawn: Values, spread: Values, level: float) -> Interval:
    from scipy.special import ndtr, ndtri

    # half of the ties count as below; draws that equal the mean differ from it by rounding
    same = np.isclose(drawn, mean, rtol=0, atol=1e-12)
    below = ((drawn < mean) & ~same).mean() + 0.5 * same.mean()
    scale = float((spread**2).sum() ** 1.5)
    if scale == 0 or below in (0.0, 1.0):
        return Interval(mean, float(drawn.min()), float(drawn.max()))
    acceleration = float((spread**3).sum()) / (6 * scale)
    z0 = ndtri(below)
    z = z0 + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    low, high = np.quantile(drawn, ndtr(z0 + z / (1 - acceleration * z)))
    return Interval(mean, float(low), float(high))
