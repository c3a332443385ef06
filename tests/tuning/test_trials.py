from __future__ import annotations

import numpy as np
from tuning_cases import objective_of, ragged_window

from fusion.tuning.trials import Trials


def test_of_equal_trials_the_nearest_to_the_start() -> None:
    objective = objective_of(ragged_window(), space={"method.normalization": ["min_max"]})
    trials, space = Trials(objective.whole(), objective.space), objective.space
    place = space.places[0]
    objective.values = lambda point: np.full(  # type: ignore[method-assign]
        objective.n_queries, 0.9 if point.weights["weights"][0] > 0.3 + 1e-9 else 0.1
    )
    trials = Trials(objective.whole(), space)
    third = 1 / 3
    for weights in ((0.8, 0.1, 0.1), (0.4, 0.3, 0.3), (0.5, 0.25, 0.25), (0.2, 0.4, 0.4)):
        trials.value(space.start.weigh(place, weights))
        trials.value(space.start.value("method.normalization", "min_max").weigh(place, weights))
    assert trials.best.point == space.start  # 1/3 is above
    assert space.start.weights["weights"][0] == third
    objective.values = lambda point: np.full(  # type: ignore[method-assign]
        objective.n_queries, 0.9 if point.weights["weights"][0] > 0.35 else 0.1
    )
    trials = Trials(objective.whole(), space)
    for weights in ((0.8, 0.1, 0.1), (0.4, 0.3, 0.3), (0.5, 0.25, 0.25)):
        trials.value(space.start.value("method.normalization", "min_max").weigh(place, weights))
        trials.value(space.start.weigh(place, weights))
    assert trials.best.point == space.start.weigh(place, (0.4, 0.3, 0.3))  # one dimension fewer
