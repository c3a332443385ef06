from __future__ import annotations

import numpy as np
import pytest
from tuning_cases import MIN_MAX, objective_of, ragged_window, tiny_window, window_of

from fusion.tuning.coordinate import best_share, coordinate_ascent
from fusion.tuning.objective import Objective
from fusion.tuning.ranges import Range
from fusion.tuning.trials import Trials


def climb(objective: Objective, limit: int = 200, restarts: int = 0, seed: int = 0) -> Trials:
    rng = np.random.default_rng(seed)
    return coordinate_ascent(objective.whole(), objective.space, limit, 10, restarts, rng)


def test_the_optimum_of_the_tiny_case() -> None:
    """Both queries are right for shares of a between 1/2 and 2/3; the middle is taken."""
    objective = objective_of(tiny_window(), fusion=MIN_MAX, metric="HR@1")
    best = climb(objective).best
    # at the start, 1/2, query 0 is a tie that item 1 wins: already as good as it gets
    assert best.point == objective.space.start
    assert best.value == 2 / 3
    objective = objective_of(
        tiny_window(), fusion={**MIN_MAX, "weights": {"a": 1, "b": 3}}, metric="HR@1"
    )
    best = climb(objective).best
    assert best.value == 2 / 3
    assert best.point.weights["weights"] == pytest.approx((7 / 12, 5 / 12))


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_it_tries_no_more_than_it_may(limit: int) -> None:
    objective = objective_of(window_of(30), space={"method.normalization": ["min_max", "z_score"]})
    trials = climb(objective, limit, restarts=9)
    assert len(trials) == limit
    assert next(iter(trials)).point == objective.space.start


def test_it_is_as_good_as_the_lattice_where_there_is_one_line() -> None:
    objective = objective_of(window_of(60))
    best = climb(objective).best
    shares = np.linspace(0, 1, 101)
    place = objective.space.places[0]
    every = [
        objective.values(objective.space.start.weigh(place, (s, 1 - s))).mean() for s in shares
    ]
    assert best.value >= max(every) - 0.02  # smoothed: a narrow peak is passed over
    assert best.value > objective.whole().mean(objective.space.start)


def test_methods_without_lines_are_searched_on_a_lattice() -> None:
    fusion = {"mode": "parallel", "method": "comb_max"}
    objective = objective_of(window_of(40), fusion=fusion)
    trials = climb(objective)
    tenths = [trial.point.weights["weights"][0] * 10 for trial in trials]
    np.testing.assert_allclose(tenths, np.round(tenths), atol=1e-9)
    # the other model's line is the same one
    assert trials.best.value == max(trial.value for trial in trials)
    assert len({round(tenth) for tenth in tenths}) == 11


def test_choices_and_ranges_are_lines_too() -> None:
    objective = objective_of(
        ragged_window(n=60),
        fusion={"mode": "parallel", "method": "rrf"},
        space={"method.k": Range(low=1, high=100, log=True)},
        weights=False,
    )
    trials = climb(objective)
    tried = {trial.point.values["method.k"] for trial in trials}
    assert {1, 2, 5, 10, 22, 46, 100} <= tried  # 100 ** (i / 6)
    assert 60.0 in tried
    assert len(tried) > 8  # again, around the best
    assert all(1 <= k <= 100 for k in tried)


def test_restarts_are_drawn_from_the_generator() -> None:
    objective = objective_of(ragged_window())
    one, same, other = (
        [t.point.key for t in climb(objective, restarts=2, seed=s)] for s in (0, 0, 1)
    )
    assert one == same != other


# --- where on a line -------------------------------------------------------------------------

EDGES = np.array([0, 0.2, 0.21, 0.5, 0.9, 1.0])


def test_the_middle_of_the_best_piece() -> None:
    values = np.array([1, 2, 1, 4, 3.0])
    assert best_share(EDGES, values, 0.1, 1.0, smooth=0) == pytest.approx(0.7)


def test_nothing_better_is_nowhere() -> None:
    assert best_share(EDGES, np.array([1, 1, 1, 1, 1.0]), 0.1, 1.0) is None


def test_of_equal_pieces_the_nearest() -> None:
    values = np.array([4, 1, 1, 1, 4.0])
    assert best_share(EDGES, values, 0.3, 1.0) == pytest.approx(0.1)
    assert best_share(EDGES, values, 0.8, 1.0) == pytest.approx(0.95)


def test_a_narrow_peak_is_judged_by_its_neighbours() -> None:
    values = np.array([0, 5, 0, 4, 0.0])  # 0.2 to 0.21 is 5: over 0.02 its mean is 2.5
    assert best_share(EDGES, values, 0.1, 0.0, smooth=0) == pytest.approx(0.205)
    assert best_share(EDGES, values, 0.1, 0.0, smooth=0.02) == pytest.approx(0.7)
