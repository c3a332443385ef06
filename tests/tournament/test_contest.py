from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from fusion_layer.pools import EVERYTHING, MemoryPool
from synthetic import engine_config, window

from fusion.errors import DataError, LeakageError
from fusion.protocols import FitContext, Fused, Labelled, Pool, Strategy, Windows
from fusion.tournament.contest import Contest
from fusion.tournament.entrants import Entrant
from fusion.tournament.judging import target_ranks

LEARNED = {
    "mode": "parallel",
    "method": {"name": "weighted_sum", "missing": {"not_retrieved": "prior"}},
}


class Spy(Strategy):
    """Learns nothing useful, and notes what it saw."""

    lessons: ClassVar[list[tuple[list[int], float]]] = []
    judged: ClassVar[list[float]] = []

    @property
    def learns(self) -> bool:
        return True

    def uses(self, models: tuple[str, ...]) -> tuple[str, ...]:
        return models[:2]

    def fit(self, windows: Windows, context: FitContext) -> None:
        newest = max(float(window.pool.queries.now.max()) for window in windows)
        self.lessons.append(([len(window.targets) for window in windows], newest))

    def fuse(self, pool: Pool) -> Fused:
        if len(pool.queries) > 1:
            self.judged.append(float(pool.queries.now.min()))
        columns = pool.complete(pool.candidates(), self.uses(pool.models))
        scores = columns.scores.astype(np.float64)
        return Fused.of(columns, scores.sum(axis=1), columns.models, scores)


def build(fusion: Mapping[str, Any]) -> Strategy:
    if fusion["mode"] == "spy":
        return Spy()
    return engine_config().build_strategy(fusion)


def in_time(one: Labelled, start: float = 0.0) -> Labelled:
    """The queries asked one after the other, in an order of their own."""
    assert isinstance(one.pool, MemoryPool)
    rng = np.random.default_rng(1)
    now = start + rng.permutation(len(one.targets)).astype(np.float64)
    pool = replace(one.pool, queries=replace(one.pool.queries, now=now))
    return replace(one, pool=pool)


def test_what_learns_sees_the_past_and_is_judged_on_what_comes_next() -> None:
    Spy.lessons.clear()
    Spy.judged.clear()
    old, new = in_time(window(30, seed=3)), in_time(window(80), start=1000)
    contest = Contest([old, new], build, folds=3)
    played = contest.play(Entrant("spy", "fusion", {"mode": "spy"}))
    assert played.error == ""
    assert played.learns
    assert played.asks == ("strong", "other")
    # older windows whole, then 20, 40, 60 of the newest one's 80 queries
    assert [sizes for sizes, _ in Spy.lessons] == [[30, 20], [30, 40], [30, 60]]
    assert [newest for _, newest in Spy.lessons] == [1019, 1039, 1059]
    assert Spy.judged == [1020, 1040, 1060]
    assert len(played.ranks) == len(contest.users) == 60


def test_what_does_not_learn_is_judged_on_the_same_queries() -> None:
    one = in_time(window(80))
    contest = Contest([one], build, folds=3, timed=3)
    played = contest.play(Entrant("strong", "model", {"mode": "single", "model": "strong"}))
    order = np.argsort(one.pool.queries.now)[20:]
    union = one.pool.candidates()
    expected = target_ranks(union, union.scores[:, 0], one.targets)[order]
    np.testing.assert_array_equal(played.ranks, expected)
    np.testing.assert_array_equal(contest.users, one.pool.queries.users[order])
    assert played.fusing_ms is not None
    assert not played.learns


def test_a_learned_fusion_is_that_of_each_fold() -> None:
    contest = Contest([in_time(window(80))], build, folds=3)
    played = contest.play(Entrant("prior", "fusion", LEARNED))
    assert (played.error, played.learns, played.fusing_ms) == ("", True, None)
    assert (played.ranks > 0).all()


def test_a_stacker_that_fell_back_is_told() -> None:
    contest = Contest([in_time(window(60))], build, folds=2)
    # 20 queries are too few in the first fold, 40 are enough in the second
    few = {"mode": "learned", "stacker": "linear", "min_queries": 30}
    played = contest.play(Entrant("few", "fusion", few))
    assert (played.error, played.fell_back) == ("", 1)


@pytest.mark.parametrize(
    ("fusion", "said"),
    [
        ({"mode": "nobody"}, "ConfigError"),
        ({"mode": "single", "model": "gone"}, "ConfigError"),
        ({"mode": "learned", "min_queries": 10_000, "too_few": "error"}, "DataError"),
    ],
)
def test_an_entrant_that_fails_is_told(
    fusion: dict[str, Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    contest = Contest([in_time(window(40))], build, folds=3)
    played = contest.play(Entrant("bad", "fusion", fusion))
    assert played.error.startswith(said)
    assert len(played.ranks) == 0
    assert "bad failed" in caplog.text


def test_nan_scores_are_an_error_of_the_entrant() -> None:
    class Blind(Spy):
        @property
        def learns(self) -> bool:
            return False

        def fuse(self, pool: Pool) -> Fused:
            union = pool.candidates()
            nothing = np.full(len(union), np.nan)
            return Fused.of(union, nothing, ("a",), nothing[:, None])

    contest = Contest([in_time(window(40))], lambda _: Blind(), folds=3)
    assert "NaN" in contest.play(Entrant("blind", "fusion", {})).error


def test_leaks_end_the_whole_tournament() -> None:
    one = window(40)
    leaky = replace(one, provenance={**one.provenance, "weak": EVERYTHING})
    with pytest.raises(LeakageError, match="weak"):
        Contest([leaky], build, folds=3)


def test_no_window() -> None:
    with pytest.raises(DataError, match="stacking window, got none"):
        Contest([], build, folds=3)


def test_the_fingerprint_is_of_all_that_matters() -> None:
    one = window(40)
    base = Contest([one], build, folds=3).fingerprint
    assert Contest([window(40)], build, folds=3).fingerprint == base
    changed = one.targets.copy()
    changed[0] += 1
    for other in (
        Contest([one], build, folds=4),
        Contest([one], build, folds=3, seed=1),
        Contest([window(40, seed=1)], build, folds=3),
        Contest([replace(one, targets=changed)], build, folds=3),
        Contest([window(30, seed=2), one], build, folds=3),
    ):
        assert other.fingerprint != base
