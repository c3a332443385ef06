from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tuning_cases import objective_of, ragged_window, window_of

from fusion.tuning.objective import Objective
from fusion.tuning.searching import SEARCHES, Settings, search
from fusion.tuning.trials import Trials

EACH = pytest.mark.parametrize("name", sorted(SEARCHES))
NORMS = {"method.normalization": ["min_max", "z_score", "rank"]}


def run(name: Any, objective: Objective, seed: int = 0, **settings: Any) -> Trials:
    how = Settings(search=name, **{"trials": 25, "step": 0.25, **settings})
    return search(objective.whole(), objective.space, how, np.random.default_rng(seed))


# --- every search ----------------------------------------------------------------------------


@EACH
def test_the_same_seed_tries_the_same(name: str) -> None:
    one, same = (
        [(t.point.key, t.value) for t in run(name, objective_of(ragged_window(), space=NORMS))]
        for _ in range(2)
    )
    assert one == same


@EACH
def test_values_are_the_objectives(name: str) -> None:
    objective = objective_of(ragged_window(), space=NORMS)
    trials = list(run(name, objective))
    assert trials[0].point == objective.space.start
    for trial in trials:
        assert trial.value == objective.values(trial.point).mean()
        assert sum(trial.point.weights["weights"]) == pytest.approx(1)
        assert min(trial.point.weights["weights"]) >= 0


@EACH
def test_the_strong_model_gets_the_weight(name: str) -> None:
    noise = {"noise": 40.0, "strong": 0.5, "more_noise": 40.0}
    objective = objective_of(window_of(120, noise=noise))
    best = run(name, objective, step=0.1, trials=80).best
    given = dict(zip(objective.space.places[0].names, best.point.weights["weights"], strict=True))
    assert given["strong"] > 0.7
    assert best.value > objective.whole().mean(objective.space.start) + 0.2


@EACH
def test_nothing_better_means_the_start(name: str) -> None:
    """Two models that say the same: whatever their weights, the order is one."""
    window = window_of(30)
    window.pool.union.scores[:, 1] = window.pool.union.scores[:, 0]  # type: ignore[attr-defined]
    objective = objective_of(window, space=NORMS)
    assert run(name, objective).best.point.weights == objective.space.start.weights


@EACH
def test_weights_alone_may_be_searched_from_another_point(name: str) -> None:
    objective = objective_of(ragged_window(), space=NORMS)
    begin = objective.space.start.value("method.normalization", "rank")
    inner = objective.space.weights_from(begin)
    how = Settings(search=name, trials=10, step=0.5)  # type: ignore[arg-type]
    trials = search(objective.whole(), inner, how, np.random.default_rng(0))
    assert {trial.point.values["method.normalization"] for trial in trials} == {"rank"}
