from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from fusion.stackers.logistic import Logistic, logistic_regression


def rows(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 3)).astype(np.float32)
    odds = features @ np.array([1.0, -0.8, 0.0]) - 2
    return features, (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(np.float32)


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("reg", [0.1, 5.0])
def test_without_bounds_it_is_scikit_learns(balanced: bool, reg: float) -> None:
    features, labels = rows()
    found = logistic_regression(features, labels, (0, 0, 0), reg, balanced=balanced)
    mean, scale = features.mean(axis=0, dtype=float), features.std(axis=0, dtype=float)
    peer = LogisticRegression(
        C=1 / reg, class_weight="balanced" if balanced else None, tol=1e-10, max_iter=1000
    ).fit((features - mean) / scale, labels)
    np.testing.assert_allclose(found.coefficients * scale, peer.coef_[0], atol=1e-4)
    np.testing.assert_allclose(found.baseline, peer.intercept_[0], atol=1e-4)
    expected = peer.decision_function((features - mean) / scale)
    np.testing.assert_allclose(found.scores(features), expected, atol=1e-3)


def test_a_direction_is_a_bound() -> None:
    features, labels = rows()
    found = logistic_regression(features, labels, (1, 1, 0), 1.0, balanced=True)
    assert found.coefficients[0] > 0
    assert found.coefficients[1] == 0  # it would be negative


def test_unbalanced_scores_are_log_odds() -> None:
    features, labels = rows(4000)
    found = logistic_regression(features, labels, (0, 0, 0), 1.0, balanced=False)
    share = 1 / (1 + np.exp(-found.scores(features)))
    assert share.mean() == pytest.approx(labels.mean(), abs=1e-3)
    balanced = logistic_regression(features, labels, (0, 0, 0), 1.0, balanced=True)
    assert (1 / (1 + np.exp(-balanced.scores(features)))).mean() > 2 * labels.mean()


def test_one_class_alone_is_finite() -> None:
    features, _ = rows()
    for label in (0, 1):
        labels = np.full(len(features), label, np.float32)
        found = logistic_regression(features, labels, (0, 0, 0), 1.0, balanced=True)
        assert np.isfinite(found.scores(features)).all()


def test_its_settings_are_those_of_the_linear_ones_and_the_balance() -> None:
    assert set(Logistic.Config.model_fields) == {"negatives", "monotone", "reg", "balanced"}
