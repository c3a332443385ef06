from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fusion_layer.pools import MemoryPool
from tuning_cases import objective_of, window_of

from fusion.protocols import Labelled
from fusion.ragged import Ragged
from fusion.tuning.objective import Objective
from fusion.tuning.searching import Settings
from fusion.tuning.segments import SegmentsConfig
from fusion.tuning.solving import Grouping, nested, solve
from fusion.tuning.space import Point

RNG = np.random.default_rng
GRID = Settings(search="grid", step=0.1)
COORDINATE = Settings(search="coordinate")


def split_window(n: int = 240, seed: int = 0, short: int = 120) -> Labelled:
    """The first ``short`` queries have short histories and `a` is right; the others `b`."""
    window = window_of(n, seed=seed, noise={"a": 0.6, "b": 0.6})
    pool = window.pool
    assert isinstance(pool, MemoryPool)
    rng, late = RNG(seed), np.arange(n) >= short
    rows = late[pool.union.rows]
    noise = rng.normal(size=len(rows)).astype(np.float32) * 60
    pool.union.scores[:, 0] += np.where(rows, noise, 0)
    pool.union.scores[:, 1] += np.where(rows, 0, noise)
    history = Ragged.of([[1] * (9 if one else 2) for one in late])
    h = len(history.values)
    queries = replace(
        pool.queries,
        history=history,
        times=np.zeros(h),
        ratings=np.full(h, np.nan, np.float32),
    )
    return replace(window, pool=replace(pool, queries=queries))


def grouping_of(window: Labelled, **config: float) -> Grouping:
    config = SegmentsConfig(by="history_length", edges=[5], **config)  # type: ignore[arg-type]
    segments = config.bind(None, "test")
    return Grouping(segments, segments.of(window.pool.queries))


def share(point: Point) -> float:
    return point.weights["weights"][0]


# --- segments --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [GRID, COORDINATE])
def test_each_segment_has_its_own_weights(how: Settings) -> None:
    window = split_window()
    objective = objective_of(window)
    grouping = grouping_of(window, prior=0)
    found = solve(objective.whole(), objective.space, how, grouping, RNG(0))
    assert share(found.of(0)) > 0.7 > 0.3 > share(found.of(1))
    assert found.sizes == {0: 120, 1: 120}


def test_they_are_held_to_the_weights_of_all() -> None:
    window = split_window()
    objective = objective_of(window)
    free, held = (
        solve(objective.whole(), objective.space, GRID, grouping_of(window, prior=prior), RNG(0))
        for prior in (0, 360)
    )
    for number in (0, 1):
        expected = (120 * share(free.of(number)) + 360 * share(free.point)) / 480
        assert share(held.of(number)) == pytest.approx(expected)


def test_a_small_segment_has_the_weights_of_all() -> None:
    window = split_window(n=160, short=120)
    objective = objective_of(window)
    grouping = grouping_of(window, prior=0, min_queries=41)
    found = solve(objective.whole(), objective.space, GRID, grouping, RNG(0))
    assert list(found.segments) == [0]
    assert found.of(1) == found.point
    assert found.sizes == {0: 120, 1: 40}


# --- the estimate ----------------------------------------------------------------------------


def test_no_user_is_judged_by_what_he_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    window = window_of(60)
    pool = window.pool
    assert isinstance(pool, MemoryPool)
    queries = replace(pool.queries, users=(np.arange(60) // 3).astype(np.int32))
    objective = objective_of(replace(window, pool=replace(pool, queries=queries)))
    taught: list[set[int]] = []
    import fusion.tuning.solving as module

    original = module.search

    def watched(part, *args):  # type: ignore[no-untyped-def]
        taught.append(set(part.users.tolist()))
        return original(part, *args)

    monkeypatch.setattr(module, "search", watched)
    found = nested(objective.whole(), objective.space, GRID, None, 4, RNG(0))
    assert [len(users) for users in taught] == [15] * 4
    assert all(len(one & other) == 10 for one in taught for other in taught if one is not other)
    np.testing.assert_array_equal(found.queries, np.arange(60))
    np.testing.assert_array_equal(found.start, objective.values(objective.space.start))


def test_it_is_the_folds_by_hand() -> None:
    window = window_of(30)
    objective = objective_of(window)
    from fusion.tuning.objective import folds_of

    found = nested(objective.whole(), objective.space, GRID, None, 3, RNG(5))
    place, expected = objective.space.places[0], np.zeros(30)
    table = {
        share: objective.values(objective.space.start.weigh(place, (share, 1 - share)))
        for share in (i / 10 for i in range(11))
    }
    for past, held in folds_of(objective.users, 3, RNG(5)):
        means = {share: values[past].mean() for share, values in table.items()}
        high = max(means.values())
        equal = [share for share, mean in means.items() if mean > high - 1e-12]
        best = min(equal, key=lambda share: abs(share - 0.5))
        expected[held] = table[best][held]
    np.testing.assert_allclose(found.values, expected)


@pytest.mark.parametrize("how", [GRID, COORDINATE])
def test_on_noise_the_estimate_is_below_the_optimistic_value(how: Settings) -> None:
    noise = dict.fromkeys("abcd", 50.0)
    gaps = []
    for seed in range(5):
        objective = objective_of(window_of(60, seed=seed, noise=noise))
        solution = solve(objective.whole(), objective.space, how, None, RNG(0))
        honest = nested(objective.whole(), objective.space, how, None, 5, RNG(0)).values.mean()
        gaps.append(solution.trials.best.value - honest)
    assert min(gaps) > -0.01
    assert np.mean(gaps) > 0.02


@pytest.mark.parametrize("how", [GRID, COORDINATE])
def test_on_noise_nothing_is_lost_elsewhere(how: Settings) -> None:
    """Whatever is chosen, on other queries it is as good as equal weights, within the noise."""
    noise = dict.fromkeys("abcd", 50.0)
    differences = []
    for seed in range(8):
        objective = objective_of(window_of(60, seed=seed, noise=noise))
        best = solve(objective.whole(), objective.space, how, None, RNG(0)).point
        later = objective_of(window_of(200, seed=100 + seed, noise=noise))
        differences.append(later.values(best) - later.values(later.space.start))
    difference = np.concatenate(differences)
    assert difference.mean() > -3 * difference.std() / np.sqrt(len(difference))


def test_segments_have_part_in_the_estimate() -> None:
    window = split_window()
    objective = objective_of(window)
    with_segments, without = (
        nested(objective.whole(), objective.space, GRID, grouping, 3, RNG(0)).values.mean()
        for grouping in (grouping_of(window, prior=0), None)
    )
    assert with_segments > without + 0.05


def test_one_user_cannot_be_dealt() -> None:
    window = window_of(6)
    pool = window.pool
    assert isinstance(pool, MemoryPool)
    queries = replace(pool.queries, users=np.zeros(6, np.int32))
    objective: Objective = objective_of(replace(window, pool=replace(pool, queries=queries)))
    assert len(nested(objective.whole(), objective.space, GRID, None, 5, RNG(0)).queries) == 0
