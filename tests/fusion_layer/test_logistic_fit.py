from __future__ import annotations

import numpy as np
import pytest

from fusion.normalizations.logistic_fit import fit_logistic, platt_targets, sigmoid, standard


def test_sigmoid() -> None:
    found = sigmoid(np.array([0, np.log(3), -np.log(3), 1e300, -1e300, np.nan]))
    np.testing.assert_allclose(found, [1 / 2, 3 / 4, 1 / 4, 1, 0, np.nan], rtol=1e-15)


def test_standard() -> None:
    assert standard(np.array([1.0, 3.0])) == (2, 1)
    assert standard(np.array([7.0, 7.0])) == (7, 1)


def test_platt_targets() -> None:
    np.testing.assert_array_equal(
        platt_targets(np.array([0.0, 1, 0, 0])), [1 / 5, 2 / 3, 1 / 5, 1 / 5]
    )


def test_two_points_are_met_exactly() -> None:
    # of those at 0 a quarter, of those at 1 three quarters: log odds -log 3 and log 3
    slope, intercept = fit_logistic(np.array([[0.0, 1.0]]), np.array([1 / 4, 3 / 4]))
    assert slope == pytest.approx(2 * np.log(3), rel=1e-6)
    assert intercept == pytest.approx(-np.log(3), rel=1e-6)


def test_a_slope_is_never_negative() -> None:
    slope, intercept = fit_logistic(np.array([[0.0, 1.0]]), np.array([3 / 4, 1 / 4]))
    assert slope == 0
    assert intercept == pytest.approx(0, abs=1e-6)


def test_against_scikit_learn() -> None:
    """Its targets are 0 and 1 and its slopes free; where those are positive the two agree."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 500))
    y = (rng.random(500) < sigmoid(np.array([1.0, 0.5]) @ x - 2)).astype(np.float64)
    theirs = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(x.T, y)
    *slopes, intercept = fit_logistic(x, y)
    np.testing.assert_allclose(slopes, theirs.coef_[0], rtol=1e-4)
    assert intercept == pytest.approx(theirs.intercept_[0], rel=1e-4)
