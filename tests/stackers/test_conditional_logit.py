from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from fusion.stackers.conditional_logit import choice_shares, conditional_logit
from fusion.stackers.linear_model import Linear


def pairs(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries of two candidates; the chosen one is the first in even rows of its query."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2 * n, 3)).astype(np.float32)
    worth = features @ np.array([1.0, -0.5, 0.0]) + rng.gumbel(size=2 * n)
    labels = (worth.reshape(n, 2) == worth.reshape(n, 2).max(axis=1, keepdims=True)).ravel()
    return features, labels.astype(np.float32), np.arange(n + 1) * 2


def test_with_two_candidates_it_is_logistic_regression_of_the_difference() -> None:
    features, labels, offsets = pairs()
    reg = 3.0
    found = conditional_logit(features, labels, offsets, (0, 0, 0), reg)
    scale = features.std(axis=0, dtype=np.float64)
    x = features.astype(np.float64) / scale
    first = np.where(labels[::2, None] > 0, x[::2] - x[1::2], x[1::2] - x[::2])

    def logistic(w: np.ndarray) -> float:
        return float(np.log1p(np.exp(-first @ w)).sum() + reg / 2 * w @ w)

    peer = minimize(logistic, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-7})
    np.testing.assert_allclose(found.coefficients * scale, peer.x, atol=1e-3)


def test_a_direction_is_a_bound() -> None:
    features, labels, offsets = pairs()
    found = conditional_logit(features, labels, offsets, (1, 1, 0), 1.0)
    assert found.coefficients[0] > 0
    assert found.coefficients[1] == 0  # it would be negative


def test_a_constant_feature_says_nothing() -> None:
    features, labels, offsets = pairs()
    features[:, 2] = 7
    found = conditional_logit(features, labels, offsets, (0, 0, 0), 1.0)
    assert found.coefficients[2] == 0
    assert np.isfinite(found.coefficients).all()


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e30])
def test_the_scale_of_a_feature_does_not_matter(size: float) -> None:
    features, labels, offsets = pairs()
    plain = conditional_logit(features, labels, offsets, (0, 0, 0), 1.0).contributions(features)
    scaled = (features * np.float32(size)).astype(np.float32)
    found = conditional_logit(scaled, labels, offsets, (0, 0, 0), 1.0).contributions(scaled)
    np.testing.assert_allclose(found, plain, atol=1e-4)


def test_contributions() -> None:
    model = Linear(np.array([2.0, -1.0]), np.array([1.0, 3.0]))
    given = model.contributions(np.array([[1, 5], [4, 3]], np.float32))
    np.testing.assert_array_equal(given, [[0, -2], [2 * (4 - 1), 0]])


def test_scores_are_contributions_and_baseline() -> None:
    model = Linear(np.array([2.0, -1.0]), np.array([1.0, 3.0]), baseline=10.0)
    scores = model.scores(np.array([[1, 5], [4, 3]], np.float32))
    np.testing.assert_array_equal(scores, [0 - 2 + 10, 6 + 0 + 10])


def test_choice_shares_are_a_softmax_in_each_query() -> None:
    shares = choice_shares(np.log([1.0, 3.0, 5.0]) + 1000, np.array([0, 2, 3]))
    np.testing.assert_allclose(shares, [1 / 4, 3 / 4, 1])
