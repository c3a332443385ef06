"""How sure a difference is: cluster bootstrap intervals, randomisation p-values, Holm's correction.

The unit of chance is the user, not the query: the queries of one user are alike, so whole users are
drawn (a cluster bootstrap). The interval and the p-value come from two procedures, each the usual
one for its purpose, so on the edge of 5 % they may disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fusion.errors import DataError, explain

__all__ = ["Estimate", "holm", "mean_interval", "paired_difference"]

Values = npt.NDArray[np.float64]
RESAMPLES = 2_000  # Efron and Tibshirani (1993), section 14.3: 2,000 for a BCa interval
PERMUTATIONS = 9_999  # smallest p: 1 / 10,000
_CELLS = 4_000_000  # resamples x clusters held at once


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        mean: mean over queries.
        low: lower limit of the ``level`` interval; NaN with fewer than two clusters.
        high: upper limit.
        p: two-sided p-value of "the mean is zero"; NaN where none was asked for.
        level: coverage the interval aims at, 0..1.
        queries: number of values.
        clusters: number of users they come from.
    """

    mean: float
    low: float
    high: float
    p: float
    level: float
    queries: int
    clusters: int


def mean_interval(
    values: Values,
    users: npt.NDArray[np.integer],
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    rng: int | np.random.Generator = 0,
) -> Estimate:
    """The mean of ``values`` (Q,) with a BCa bootstrap interval over the clusters ``users`` (Q,).

    BCa (bias-corrected and accelerated): Efron (1987), "Better bootstrap confidence intervals".
    The statistic is (sum of values) / (number of values) of the drawn users, so a user with many
    queries weighs more, as in the mean itself. With all users alike the interval is a point.

    Raises:
        DataError: no values, NaN among them, other lengths, or a level outside 0..1.
    """
    sums, sizes = _by_cluster(values, users, level)
    low, high = _bca(sums, sizes, level, resamples, np.random.default_rng(rng))
    mean = float(sums.sum() / sizes.sum())
    return Estimate(mean, low, high, float("nan"), level, len(values), len(sums))


def paired_difference(
    values: Values,
    baseline: Values,
    users: npt.NDArray[np.integer],
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
    rng: int | np.random.Generator = 0,
) -> Estimate:
    """Mean of ``values - baseline`` on the same queries, with interval and p-value.

    The interval is `mean_interval` of the differences. The p-value is that of the paired
    randomisation test: under "no difference" the two systems' values of a user may be exchanged,
    that is, the sign of a user's summed difference flipped (Smucker, Allan and Carterette (2007),
    "A comparison of statistical significance tests for information retrieval evaluation"); exact
    where all flips can be enumerated. Nothing differs anywhere: p = 1.

    Args:
        values: (Q,) float64.
        baseline: (Q,) float64 of the same queries.
        users: (Q,) integers, the cluster of each query.
        level: coverage the interval aims at.
        resamples: draws of the bootstrap.
        permutations: draws of the test.
        rng: seed or generator.
    """
    if np.shape(values) != np.shape(baseline):
        got = f"{np.shape(values)} and {np.shape(baseline)}"
        raise DataError(explain("paired_difference", "values of the same queries", got))
    difference = np.asarray(values, np.float64) - np.asarray(baseline, np.float64)
    generator = np.random.default_rng(rng)
    sums, sizes = _by_cluster(difference, users, level)
    low, high = _bca(sums, sizes, level, resamples, generator)
    p = _sign_flip_p(sums, permutations, generator)
    mean = float(sums.sum() / sizes.sum())
    return Estimate(mean, low, high, p, level, len(difference), len(sums))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p-values under which 5 % holds for the whole family.

    ``p'_(i) = max over j <= i of min(1, (m - j + 1) p_(j))``: Holm (1979), "A simple sequentially
    rejective multiple test procedure".

    >>> [round(p, 4) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if np.isnan(p).any() or (p < 0).any() or (p > 1).any():
        raise DataError(explain("holm", "p-values in 0..1", str(list(p_values))))
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    out = np.empty_like(p)
    out[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in out]


def _by_cluster(
    values: Values, users: npt.NDArray[np.integer], level: float
) -> tuple[Values, Values]:
    """(C,) sum and (C,) number of the values of each user."""
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or len(column) == 0 or column.shape != np.shape(users):
        got = f"{column.shape} values and {np.shape(users)} users"
        raise DataError(explain("bootstrap", "one value and one user a query, at least one", got))
    if not np.isfinite(column).all():
        raise DataError(explain("bootstrap", "finite values", "NaN or infinity among them"))
    if not 0 < level < 1:
        raise DataError(explain("bootstrap", "a level between 0 and 1", str(level)))
    _, cluster = np.unique(users, return_inverse=True)
    sums: Values = np.bincount(cluster, weights=column).astype(np.float64)
    return sums, np.bincount(cluster).astype(np.float64)


def _sign_flip_p(sums: Values, permutations: int, rng: np.random.Generator) -> float:
    """Share of sign patterns whose sum is at least as far from zero as the one observed.

    What `scipy.stats.permutation_test` does with one sample, some twenty times faster: the signs
    are random bits and the sums one matrix product.
    """
    changed = sums[sums != 0]  # the sign of a zero cannot matter
    n, total = len(changed), changed.sum()
    far = abs(total) - 1e-9 * np.abs(changed).sum()  # equal sums differ by rounding
    exact = n < 63 and 2**n <= permutations + 1
    count, draws = 0, 2**n if exact else permutations
    step = max(1, _CELLS // max(n, 1))
    for start in range(0, draws, step):
        b = min(step, draws - start)
        if exact:
            pattern = np.arange(start, start + b)[:, None]
            signs = (pattern >> np.arange(n) & 1).astype(np.float64)  # (b, n) of 0 and 1
        else:
            noise = np.frombuffer(rng.bytes(b * ((n + 7) // 8)), np.uint8).reshape(b, -1)
            signs = np.unpackbits(noise, axis=1, count=n).astype(np.float64)
        flipped = 2 * (signs @ changed) - total  # (b,)
        count += int((np.abs(flipped) >= far).sum())
    # a random draw of patterns counts the observed one too, so that p is never 0
    return count / draws if exact else (count + 1) / (draws + 1)


def _bca(
    sums: Values, sizes: Values, level: float, resamples: int, rng: np.random.Generator
) -> tuple[float, float]:
    from scipy.special import ndtr, ndtri

    total, n, clusters = sums.sum(), sizes.sum(), len(sums)
    if clusters < 2:
        return float("nan"), float("nan")
    mean = total / n
    drawn = _resampled_means(sums, sizes, resamples, rng)
    # half of the ties count as below: on a coarse statistic strict "<" would bias z0 downwards
    below = ((drawn < mean).sum() + 0.5 * (drawn == mean).sum()) / len(drawn)
    left_out = (total - sums) / (n - sizes)  # jackknife over clusters, (C,)
    spread = left_out.mean() - left_out
    scale = (spread**2).sum() ** 1.5
    if scale == 0 or below in (0.0, 1.0):
        return float(drawn.min()), float(drawn.max())
    acceleration = (spread**3).sum() / (6 * scale)
    z0 = ndtri(below)
    z = z0 + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    low, high = np.quantile(drawn, ndtr(z0 + z / (1 - acceleration * z)))
    return float(low), float(high)


def _resampled_means(
    sums: Values, sizes: Values, resamples: int, rng: np.random.Generator
) -> Values:
    """(B,) means of ``C`` users drawn with replacement.

    Users with the same sum and size are one kind, and how often each kind is drawn is multinomial:
    the same distribution as drawing users one by one, at a fraction of the cost, since most users
    of a hit rate are of a handful of kinds.
    """
    kinds, counts = np.unique(np.column_stack([sums, sizes]), axis=0, return_counts=True)
    share = counts / counts.sum()
    step = max(1, _CELLS // len(kinds))
    out = []
    for start in range(0, resamples, step):
        times = rng.multinomial(len(sums), share, size=min(step, resamples - start))  # (b, kinds)
        drawn = times @ kinds  # (b, 2)
        out.append(drawn[:, 0] / drawn[:, 1])
    return np.concatenate(out)
