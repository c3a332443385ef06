"""Intervals that cover, p-values that are uniform under the null, and Holm's correction."""

from __future__ import annotations

import doctest
import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, permutation_test

from fusion.errors import DataError
from fusion.evaluation import significance
from fusion.evaluation.significance import holm, mean_interval, paired_difference


def test_doctests() -> None:
    found = doctest.testmod(significance)
    assert found.attempted == 1
    assert found.failed == 0


def test_interval_covers_at_its_nominal_rate() -> None:
    """300 draws of 80 skewed clusters: the 95 % interval holds the truth in about 95 % of them."""
    rng = np.random.default_rng(1)
    users = np.repeat(np.arange(80), 2)
    covered = 0
    for trial in range(300):
        values = np.repeat(rng.exponential(1.0, 80), 2) + rng.normal(size=160)
        found = mean_interval(values, users, resamples=600, rng=trial)
        covered += found.low <= 1.0 <= found.high
    # binomial(300, .95): 285 with a standard deviation of 3.8; a small sample costs a point or two
    assert 270 <= covered <= 297


def test_p_is_uniform_under_the_null() -> None:
    rng = np.random.default_rng(2)
    users = np.repeat(np.arange(40), 2)
    p = []
    for trial in range(300):
        user = np.repeat(rng.normal(size=40), 2)  # one user's queries go together
        a, b = user + rng.normal(size=80), rng.normal(size=80)
        p.append(paired_difference(a, b, users, resamples=50, permutations=199, rng=trial).p)
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.04)  # three deviations
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=0.09)


def test_clusters_widen_the_interval_and_raise_p() -> None:
    rng = np.random.default_rng(3)
    users = np.repeat(np.arange(60), 5)
    values = np.repeat(rng.normal(0.3, 1.0, 60), 5)  # five equal queries a user
    alone = paired_difference(values, np.zeros(300), np.arange(300))
    together = paired_difference(values, np.zeros(300), users)
    assert together.mean == pytest.approx(alone.mean)
    # a fifth of the independent units: wider by the root of five
    ratio = (together.high - together.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(math.sqrt(5), rel=0.15)
    assert together.p > alone.p
    assert (together.queries, together.clusters, alone.clusters) == (300, 60, 300)


def test_interval_agrees_with_scipy() -> None:
    """One query a user: scipy's own BCa, up to the noise of its draws."""
    rng = np.random.default_rng(4)
    values = rng.exponential(size=150)
    ours = mean_interval(values, np.arange(150), resamples=20_000)
    theirs = bootstrap(
        (values,), np.mean, method="BCa", n_resamples=20_000, rng=np.random.default_rng(5)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.02 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.02 * width)


def test_interval_of_uneven_clusters_agrees_with_scipy() -> None:
    rng = np.random.default_rng(6)
    sizes = rng.integers(1, 9, 60)
    users = np.repeat(np.arange(60), sizes)
    values = rng.normal(size=len(users)) + np.repeat(rng.normal(size=60) * (sizes > 4), sizes)
    sums = np.bincount(users, weights=values)
    theirs = bootstrap(
        (sums, sizes),
        lambda s, n, axis: s.sum(axis=axis) / n.sum(axis=axis),
        paired=True,
        method="BCa",
        n_resamples=20_000,
        rng=np.random.default_rng(7),
    ).confidence_interval
    ours = mean_interval(values, users, resamples=20_000)
    width = theirs.high - theirs.low
    assert ours.mean == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)


@pytest.mark.parametrize("n", [9, 40])
def test_p_agrees_with_scipy(n) -> None:
    """Enumerated (2^9 patterns) it is equal, drawn (2^40) it is equal up to the draws' noise."""
    rng = np.random.default_rng(n)
    difference = rng.normal(0.3, 1.0, n)
    theirs = permutation_test(
        (difference,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=9_999,
        rng=np.random.default_rng(0),
    ).pvalue
    ours = paired_difference(difference, np.zeros(n), np.arange(n)).p
    assert 0.001 < theirs < 0.9
    # two draws of 10,000, each with a deviation of sqrt(p (1 - p) / 10,000)
    noise = 4 * math.sqrt(2 * theirs * (1 - theirs) / 10_000)
    assert ours == pytest.approx(theirs, abs=1e-12 if n == 9 else noise)


def test_small_samples_are_enumerated() -> None:
    """Four users, all better by 1: of 2^4 = 16 sign patterns 2 are as extreme, p = 2/16."""
    found = paired_difference(np.ones(4), np.zeros(4), np.arange(4))
    assert found.p == pytest.approx(2 / 16)
    assert (found.mean, found.low, found.high) == (1.0, 1.0, 1.0)


def test_edges() -> None:
    same = paired_difference(np.ones(5), np.ones(5), np.arange(5))
    assert (same.mean, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    lonely = paired_difference(np.ones(5), np.zeros(5), np.zeros(5, int))
    assert lonely.p == 1.0  # both signs of one user are equally extreme
    assert math.isnan(lonely.low)
    assert math.isnan(lonely.high)
    assert lonely.clusters == 1
    one_changed = paired_difference(np.eye(5)[0], np.zeros(5), np.arange(5))
    assert (one_changed.mean, one_changed.p) == (0.2, 1.0)
    assert one_changed.low == 0.0 < one_changed.high


def test_deterministic_from_the_seed() -> None:
    rng = np.random.default_rng(8)
    a, b, users = rng.random(200), rng.random(200), rng.integers(0, 50, 200)
    one = paired_difference(a, b, users, rng=1)
    assert one == paired_difference(a, b, users, rng=1)
    assert one != paired_difference(a, b, users, rng=2)


def test_order_of_the_queries_does_not_matter() -> None:
    rng = np.random.default_rng(9)
    a, b, users = (
        rng.integers(0, 2, 90) * 1.0,
        rng.integers(0, 2, 90) * 1.0,
        rng.integers(0, 30, 90),
    )
    shuffled = rng.permutation(90)
    one = paired_difference(a, b, users)
    other = paired_difference(a[shuffled], b[shuffled], users[shuffled])
    assert (one.mean, one.low, one.high) == pytest.approx((other.mean, other.low, other.high))


@pytest.mark.parametrize(
    ("values", "users", "level", "message"),
    [
        ([], [], 0.95, "at least one"),
        ([1.0, 2.0], [0], 0.95, "one value and one user a query"),
        ([1.0, np.nan], [0, 1], 0.95, "finite values"),
        ([1.0, 2.0], [0, 1], 95, "a level between 0 and 1"),
    ],
)
def test_bad_input(values, users, level, message) -> None:
    with pytest.raises(DataError, match=message):
        mean_interval(np.array(values), np.array(users, int), level=level)


def test_unpaired_values_are_refused() -> None:
    with pytest.raises(DataError, match="the same queries"):
        paired_difference(np.ones(3), np.ones(4), np.arange(3))


def test_holm_by_hand() -> None:
    # sorted .01 .02 .04 .6 times 4 3 2 1 = .04 .06 .08 .6
    assert holm([0.04, 0.01, 0.6, 0.02]) == pytest.approx([0.08, 0.04, 0.6, 0.06])
    # a later product that falls below an earlier one is lifted to it; nothing exceeds 1
    assert holm([0.02, 0.021]) == pytest.approx([0.04, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(DataError, match=r"p-values in 0\.\.1"):
        holm([0.1, float("nan")])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closure_of_bonferroni(p) -> None:
    """Its defining property: reject one where Bonferroni rejects every family that holds it."""
    families = [s for n in range(1, len(p) + 1) for s in combinations(range(len(p)), n)]
    bonferroni = {s: min(1.0, len(s) * min(p[i] for i in s)) for s in families}
    expected = [max(value for s, value in bonferroni.items() if i in s) for i in range(len(p))]
    assert holm(p) == pytest.approx(expected)


def test_holm_agrees_with_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels missing")
    rng = np.random.default_rng(10)
    for size in (1, 2, 5, 20):
        p = rng.random(size) ** 3
        assert holm(list(p)) == pytest.approx(list(multitest.multipletests(p, method="holm")[1]))
