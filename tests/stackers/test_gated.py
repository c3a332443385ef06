from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fusion_layer.pools import window_of
from lessons import learned, lesson_of, ndcg, pool_of_window, stacker_of, view_of, with_union
from scipy.optimize import check_grad

from fusion.protocols import Labelled
from fusion.queries import Queries
from fusion.ragged import Ragged
from fusion.stackers.gated import Gate, Gated, gate_loss


def split_by_history(n: int, seed: int) -> Labelled:
    """Short histories: model a is right, b is noise; long ones: the other way round."""
    window = window_of(n, seed=seed, noise={"a": 0.5, "b": 0.5})
    pool = pool_of_window(window)
    long = np.arange(n) % 2 == 1
    rng = np.random.default_rng(seed)
    scores = pool.union.scores.copy()
    noise = rng.normal(size=len(scores)).astype(np.float32)
    swap = long[pool.union.rows]
    scores[swap, 0], scores[~swap, 1] = noise[swap], noise[~swap]
    queries = Queries.from_history(Ragged.of([[1] * (20 if far else 2) for far in long]))
    union = replace(pool.union, scores=scores)
    return replace(window, pool=replace(pool, queries=queries, union=union))


def test_the_gradient_is_that_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    z, x = rng.normal(size=(20, 3)), rng.normal(size=(20, 3, 2))
    labels = (np.arange(20) % 5 == 2).astype(np.float32)
    offsets = np.arange(5) * 5

    def value(p: np.ndarray) -> float:
        return gate_loss(p, z, x, labels, offsets, 0.7, 0.3)[0]

    def gradient(p: np.ndarray) -> np.ndarray:
        return gate_loss(p, z, x, labels, offsets, 0.7, 0.3)[1]

    for seed in range(3):
        at = np.random.default_rng(seed).normal(size=1 + 3 + 6) * 0.5
        assert check_grad(value, gradient, at) < 1e-4


def test_the_loss_by_hand() -> None:
    """One query, two rows, two models, no feature at work: weights 1/2, factor 1."""
    z = np.array([[2.0, 0.0], [0.0, 0.0]])
    labels, offsets = np.array([1, 0], np.float32), np.array([0, 2])
    value, _ = gate_loss(np.zeros(3 + 2), z, np.zeros((2, 2, 1)), labels, offsets, 1.0, 1.0)
    assert value == pytest.approx(np.log(1 + np.exp(-1)))  # scores 1 and 0


def test_weights_are_a_softmax() -> None:
    gate = Gate(
        0.0, np.log([1.0, 3.0]), np.array([[1.0], [0.0]]), np.zeros((2, 1)), np.ones((2, 1))
    )
    features = np.zeros((2, 2, 1))
    features[1, 0, 0] = np.log(3)
    np.testing.assert_allclose(gate.weights(features), [[1 / 4, 3 / 4], [1 / 2, 1 / 2]])
    features[1, 0, 0] = 1e9  # cut at 3
    np.testing.assert_allclose(gate.weights(features)[1, 0], 1 / (1 + 3 / np.exp(3)))


def test_it_learns_when_to_believe_whom() -> None:
    strategy = learned("gated", split_by_history(200, seed=0), reg=1.0)
    later = split_by_history(300, seed=1)
    assert isinstance(strategy.stacker, Gated)
    weights = strategy.stacker.weights(view_of(later))
    short = np.repeat(np.arange(300) % 2 == 0, 40)
    assert weights[short, 0].mean() > 0.8
    assert weights[~short, 1].mean() > 0.8
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    gated = ndcg(strategy.fuse(later.pool), later.targets)
    plain = ndcg(learned("linear", split_by_history(200, seed=0)).fuse(later.pool), later.targets)
    difference = gated - plain
    assert difference.mean() > 5 * difference.std() / np.sqrt(300)


def test_a_heavy_penalty_leaves_the_ungated_weights() -> None:
    strategy = learned("gated", split_by_history(200, seed=0), reg=1e9)
    assert isinstance(strategy.stacker, Gated)
    weights = strategy.stacker.weights(view_of(split_by_history(20, seed=1)))
    np.testing.assert_allclose(weights, np.broadcast_to(weights[0], weights.shape), atol=1e-4)
    importance = strategy.importance()
    assert max(importance["gate"].values()) < 1e-4
    assert sum(importance["weight"].values()) == pytest.approx(1)


def test_a_constant_feature_says_nothing_later_either() -> None:
    window = window_of(60)  # every query knows its time, and every model scores everything
    stacker = stacker_of("gated", reg=0.1)
    stacker.fit(lesson_of(window), np.random.default_rng(0))
    pool = pool_of_window(window_of(10, seed=1))
    view = view_of(with_union(window_of(10, seed=1), pool.union))
    untimed = replace(view, ages=np.full(10, np.nan))
    assert np.isfinite(stacker.scores(untimed)).all()
    assert isinstance(stacker, Gated)
    known = stacker.gate.deviation[:, 2]
    assert np.isinf(known).all()
