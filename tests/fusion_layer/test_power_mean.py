from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of
from pydantic import ValidationError

from fusion.candidates import Missing
from fusion.methods.comb_anz import CombANZ
from fusion.methods.power_mean import PowerMean

GONE = Missing.NOT_RETRIEVED
# by rank: a 1/3, 1, 2/3; b 1/2, -, 1
LISTS = candidates_of([{1: (1, 1), 2: (6, GONE), 3: (3, 2)}, {4: (GONE, GONE)}])
RANK = {"normalization": "rank"}


@pytest.mark.parametrize(
    ("p", "first", "third"),
    [
        (1, (1 / 3 + 1 / 2) / 2, (2 / 3 + 1) / 2),
        (0, np.sqrt(1 / 3 * 1 / 2), np.sqrt(2 / 3 * 1)),
        (-1, 2 / (3 + 2), 2 / (3 / 2 + 1)),
        (2, np.sqrt((1 / 9 + 1 / 4) / 2), np.sqrt((4 / 9 + 1) / 2)),
        (-400, 1 / 3 * 2 ** (1 / 400), 2 / 3 * 2 ** (1 / 400)),
        (1e300, 1 / 2, 1),
        (1e-300, np.sqrt(1 / 3 * 1 / 2), np.sqrt(2 / 3 * 1)),
    ],
)
def test_arithmetic(p: float, first: float, third: float) -> None:
    method = PowerMean({"p": p, **RANK})
    expected = [first, 1, third, 0]
    np.testing.assert_allclose(method.fused(LISTS, np.ones(2)), expected, rtol=1e-12)
    given = method.contributions(LISTS, np.ones(2))
    np.testing.assert_allclose(given.sum(axis=1), expected, rtol=1e-12)


def test_contributions_are_shares_of_the_power_sum() -> None:
    square = PowerMean({"p": 2, **RANK}).contributions(LISTS, np.array([1.0, 2.0]))[0]
    sums = 1 * 1 / 9 + 2 * 1 / 4
    mean = np.sqrt(sums / 3)
    np.testing.assert_allclose(square, [1 / 9 / sums * mean, 2 / 4 / sums * mean])
    geometric = PowerMean({"p": 0, **RANK}).contributions(LISTS, np.array([1.0, 2.0]))[0]
    mean = (1 / 3 * 1 / 2 * 1 / 2) ** (1 / 3)
    np.testing.assert_allclose(geometric, [mean / 3, 2 * mean / 3])


def test_p_of_1_is_comb_anz_also_below_0() -> None:
    lists = candidates_of([{1: (1, 4), 2: (6, GONE), 3: (3, 2)}])
    z, weights = {"normalization": "z_score"}, np.array([0.3, 0.7])
    np.testing.assert_allclose(
        PowerMean(z).contributions(lists, weights), CombANZ(z).contributions(lists, weights)
    )


@pytest.mark.parametrize("p", [0, -1, -0.5])
def test_a_0_makes_the_mean_0(p: float) -> None:
    lists = candidates_of([{1: (0, 5), 2: (9, 7), 3: (5, 3)}])  # a 0, 1, 5/9; b 1/2, 1, 0
    method = PowerMean({"p": p})
    assert method.fused(lists, np.ones(2)).tolist() == [0, 1, 0]
    np.testing.assert_array_equal(method.contributions(lists, np.ones(2))[[0, 2]], 0)


@pytest.mark.parametrize("p", [0, -1, 2, 0.5])
def test_a_score_below_0_counts_as_0_and_nothing_is_nan(p: float) -> None:
    method = PowerMean({"p": p, "normalization": "z_score"})
    scores = method.fused(candidates_of([{1: (0, 5), 2: (9, 7), 3: (5, 3)}]), np.ones(2))
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()


def test_the_means_rise_with_p() -> None:
    rng = np.random.default_rng(0)
    worth = rng.uniform(0.01, 1, (4, 100))
    weights = rng.uniform(0.1, 2, 4)
    means = [PowerMean({"p": p}).merge(worth.copy(), weights) for p in (-9, -1, 0, 0.5, 1, 3)]
    assert (np.diff(means, axis=0) >= -1e-15).all()


@pytest.mark.parametrize("p", [float("nan"), float("inf")])
def test_bad_p(p: float) -> None:
    with pytest.raises(ValidationError):
        PowerMean({"p": p})
