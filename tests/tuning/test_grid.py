from __future__ import annotations

from itertools import product

import pytest
from tuning_cases import objective_of, ragged_window, window_of

from fusion.errors import ConfigError
from fusion.tuning.grid import grid
from fusion.tuning.ranges import Range

NORMS = {"method.normalization": ["min_max", "z_score", "rank"]}


def test_the_grid_is_brute_force() -> None:
    objective = objective_of(ragged_window(), space=NORMS)
    found = {t.point.key: t.value for t in grid(objective.whole(), objective.space, 4)}
    expected = {objective.space.start.key: objective.values(objective.space.start).mean()}
    quarters = [i / 4 for i in range(5)]
    place = objective.space.places[0]
    for norm, weights in product(NORMS["method.normalization"], product(quarters, repeat=3)):
        if abs(sum(weights) - 1) < 1e-9:
            point = objective.space.start.value("method.normalization", norm).weigh(place, weights)
            expected[point.key] = objective.values(point).mean()
    assert found == expected
    assert len(found) == 3 * 15 + 1


def test_a_range_has_five_values_on_a_grid() -> None:
    objective = objective_of(
        ragged_window(),
        fusion={"mode": "parallel"},
        space={"method.k": Range(low=0.0, high=100.0)},
        weights=False,
    )
    trials = grid(objective.whole(), objective.space, 4)
    assert [t.point.values["method.k"] for t in trials] == [60, 0, 25, 50, 75, 100]


def test_a_grid_that_would_never_end_is_refused() -> None:
    objective = objective_of(window_of(3, noise=dict.fromkeys("abcdefghi", 1.0)))
    # 108 choose 8
    with pytest.raises(ConfigError, match=r"search: grid: .*20,000 points, got 352,025,629,371; "):
        grid(objective.whole(), objective.space, 100)
