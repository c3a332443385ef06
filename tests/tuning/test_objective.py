from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fusion_layer.pools import MemoryPool
from tuning_cases import CONTEXT, WEIGHTED, objective_of, ragged_window, tiny_window, window_of

from fusion.strategies.parallel import Parallel
from fusion.tuning.gains import TargetRows, gains_of
from fusion.tuning.objective import folds_of
from fusion.tuning.space import Infeasible

PRIOR = {"mode": "parallel", "method": {"name": "weighted_sum", "missing": {"cold": "prior"}}}


def by_lists(windows: Any, config: dict[str, Any], metric: str = "NDCG@10") -> np.ndarray:
    gains, out = gains_of(metric), []
    for window in windows:
        fused = Parallel(config).fuse(window.pool)
        ranks = TargetRows(fused.candidates, window.targets).ranks(fused.scores)
        out.append(gains[np.minimum(ranks, len(gains) - 1)])
    return np.concatenate(out)


def test_all_queries_of_all_windows_count() -> None:
    windows = [ragged_window(0), ragged_window(1, levels=3)]
    objective = objective_of(*windows)
    space = objective.space
    point = space.start.weigh(space.places[0], (0.5, 0.2, 0.3))
    expected = by_lists(
        windows, {"method": WEIGHTED["method"], "weights": {"a": 0.5, "b": 0.2, "c": 0.3}}
    )
    assert objective.n_queries == len(expected) == 80
    np.testing.assert_array_equal(objective.values(point), expected)
    assert objective.whole().mean(point) == expected.mean()
    some = np.array([3, 41, 79])
    np.testing.assert_array_equal(objective.whole().within(some).values(point), expected[some])


@pytest.mark.parametrize("metric", ["NDCG@10", "HR@3"])
def test_the_quick_way_and_the_long_way_agree(metric: str) -> None:
    """A cascade of one stage is a parallel fusion, and has no quick way."""
    windows = [ragged_window(0, levels=4), ragged_window(1)]
    stage = {"models": ["a", "b", "c"], "method": WEIGHTED["method"]}
    quick = objective_of(*windows, metric=metric)
    slow = objective_of(*windows, metric=metric, fusion={"mode": "serial", "stages": [stage]})
    assert slow.line(slow.space.start, slow.space.places[0], 0) is None
    assert quick.line(quick.space.start, quick.space.places[0], 0) is not None
    for weights in np.random.default_rng(0).dirichlet(np.ones(3), 5):
        one, other = (o.space.start.weigh(o.space.places[0], weights) for o in (quick, slow))
        np.testing.assert_array_equal(quick.values(one), slow.values(other))


def test_models_are_asked_once() -> None:
    window = window_of(20)
    assert isinstance(window.pool, MemoryPool)
    objective = objective_of(window, space={"method.k": [1, 60]}, fusion={"mode": "parallel"})
    for k in (1, 60):
        for share in (0.2, 0.4, 0.6):
            point = objective.space.start.value("method.k", k)
            objective.values(point.weigh(objective.space.places[0], (share, 1 - share)))
    assert window.pool.asked == [(("strong", "weak"), 20 * 40)]


def test_values_that_contradict_each_other_are_worth_nothing() -> None:
    stages = [{"models": ["strong"], "keep": 9}, {"models": ["weak"], "keep": 3}]
    fusion = {"mode": "serial", "stages": stages}
    objective = objective_of(
        window_of(5), fusion=fusion, space={"stages.0.keep": [2]}, weights=False
    )
    bad = objective.space.start.value("stages.0.keep", 2)
    assert objective.whole().mean(bad) == float("-inf")
    with pytest.raises(Infeasible):
        objective.values(bad)
    assert np.isfinite(objective.whole().mean(objective.space.start))


def test_unknown_users_are_everybody_on_their_own() -> None:
    window = tiny_window()
    pool = window.pool
    assert isinstance(pool, MemoryPool)
    users = np.array([-1, 4, -1], np.int32)
    window = replace(window, pool=replace(pool, queries=replace(pool.queries, users=users)))
    found = objective_of(window).users
    assert found[1] == 4
    assert len(set(found.tolist())) == 3


# --- fusions that learn by themselves --------------------------------------------------------


def test_what_learns_is_judged_out_of_its_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    window = ragged_window()
    objective = objective_of(window, fusion=PRIOR)
    taught: list[set[int]] = []
    original = Parallel.fit

    def fit(self: Parallel, windows: Any, context: Any) -> None:
        taught.append({int(user) for w in windows for user in w.pool.queries.users})
        original(self, windows, context)

    judged: list[set[int]] = []
    fuse = Parallel.fuse

    def watched(self: Parallel, pool: Any) -> Any:
        judged.append({int(user) for user in pool.queries.users})
        return fuse(self, pool)

    monkeypatch.setattr(Parallel, "fit", fit)
    monkeypatch.setattr(Parallel, "fuse", watched)
    values = objective.whole().values(objective.space.start)
    assert len(taught) == len(judged) == 2
    assert all(not past & now for past, now in zip(taught, judged, strict=True))
    assert set.union(*judged) == set(range(20))
    assert values.sum() > 0

    taught.clear()
    few = objective.whole().within(np.arange(30))
    few.elsewhere(objective.space.start, np.arange(30, 40))
    assert taught == [set(range(15))]


def test_the_values_are_those_of_the_two_halves_by_hand() -> None:
    window = ragged_window(4)
    objective = objective_of(window, fusion=PRIOR)
    found = objective.whole().values(objective.space.start)
    expected = np.zeros(40)
    rng = CONTEXT.rng("fusion t cross-fit")
    for past, held in folds_of(window.pool.queries.users.astype(np.int64), 2, rng):
        third = dict.fromkeys("abc", 1 / 3)
        strategy = Parallel({"method": PRIOR["method"], "weights": third})
        strategy.fit([window.take(past)], CONTEXT)
        part = window.take(held)
        fused = strategy.fuse(part.pool)
        ranks = TargetRows(fused.candidates, part.targets).ranks(fused.scores)
        gains = gains_of("NDCG@10")
        expected[held] = gains[np.minimum(ranks, len(gains) - 1)]
    np.testing.assert_array_equal(found, expected)
