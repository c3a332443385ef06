from __future__ import annotations

import numpy as np
import optuna
import pytest
from tuning_cases import objective_of, ragged_window, window_of

from fusion.tuning.ranges import Range
from fusion.tuning.tpe import tpe

NORMS = {"method.normalization": ["min_max", "z_score", "rank"]}


def test_optuna_is_silent_and_left_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    tpe(
        objective_of(ragged_window()).whole(),
        objective_of(ragged_window()).space,
        5,
        None,
        np.random.default_rng(0),
    )
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")


def test_optuna_starts_at_the_start_and_loses_patience() -> None:
    objective = objective_of(ragged_window(), space={**NORMS, "method.missing.cold": ["lowest"]})
    objective.values = lambda point: np.full(objective.n_queries, 0.5)  # type: ignore[method-assign]
    trials = tpe(objective.whole(), objective.space, 100, 7, np.random.default_rng(0))
    assert len(trials) == 1 + 7  # the start is no choice of the space, so it is not asked again
    objective = objective_of(ragged_window(), space=NORMS)
    objective.values = lambda point: np.full(objective.n_queries, 0.5)  # type: ignore[method-assign]
    trials = tpe(objective.whole(), objective.space, 100, 7, np.random.default_rng(0))
    assert len(trials) == 7


def test_optuna_goes_on_after_what_cannot_be() -> None:
    stages = [
        {"models": ["strong", "weak"], "keep": 20},
        {"models": ["strong"], "keep": 10},
    ]
    objective = objective_of(
        window_of(20),
        fusion={"mode": "serial", "stages": stages},
        space={"stages.0.keep": Range(low=2, high=30), "stages.1.keep": [5, 10]},
        weights=False,
    )
    trials = tpe(objective.whole(), objective.space, 20, None, np.random.default_rng(0))
    values = [trial.value for trial in trials]
    assert float("-inf") in values
    assert np.isfinite(trials.best.value)
