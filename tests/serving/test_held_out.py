from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from models_for_tests import CONFIG

from fusion import Dataset, Engine
from fusion.protocols import FitContext, Fused, Pool, Strategy, Windows
from fusion.serving.held_out import held_out


class Memory(Strategy):
    """Learns by heart who met what: perfect on what it has seen, useless on the rest."""

    seen: set[tuple[int, int]]

    @property
    def learns(self) -> bool:
        return True

    def uses(self, models: tuple[str, ...]) -> tuple[str, ...]:
        return models

    def fit(self, windows: Windows, context: FitContext) -> None:
        self.seen = {
            (int(user), int(target))
            for window in windows
            for user, target in zip(window.pool.queries.users, window.targets, strict=True)
        }

    def fuse(self, pool: Pool) -> Fused:
        union = pool.candidates()
        users = pool.queries.users[union.rows]
        scores = np.array(
            [float((int(u), int(i)) in self.seen) for u, i in zip(users, union.items, strict=True)]
        )
        return Fused.of(union, scores, ("memory",), scores[:, None])


@pytest.fixture(scope="module")
def engine(tiny: Dataset) -> Engine:
    stacking = {"events": 2, "windows": 2}
    return Engine.from_config({**CONFIG, "stacking": stacking}).fit(tiny)


def test_learning_by_heart_does_not_pay(engine: Engine) -> None:
    honest = held_out(Memory, engine.windows, FitContext(3))
    assert honest is not None
    strategy = Memory()
    strategy.fit(engine.windows, FitContext(3))
    from fusion.serving.held_out import window_ndcg

    flattered = np.concatenate([window_ndcg(strategy, w) for w in engine.windows])
    assert flattered.mean() > honest.values.mean() + 0.2
    ignorant = held_out(Blank, engine.windows, FitContext(3))
    assert ignorant is not None
    np.testing.assert_array_equal(honest.values, ignorant.values)


class Blank(Memory):
    """Knows nothing."""

    seen: ClassVar[set[tuple[int, int]]] = set()  # type: ignore[misc]

    @property
    def learns(self) -> bool:
        return False


def test_every_query_is_judged_once_and_users_stay_together(engine: Engine) -> None:
    fits: list[set[int]] = []

    class Spy(Memory):
        def fit(self, windows: Windows, context: FitContext) -> None:
            super().fit(windows, context)
            fits.append({user for user, _ in self.seen})

        def fuse(self, pool: Pool) -> Fused:
            assert not fits[-1] & set(pool.queries.users.tolist())
            return super().fuse(pool)

    found = held_out(Spy, engine.windows, FitContext(3), folds=4)
    assert found is not None
    assert len(fits) == 4
    assert len(found.values) == sum(len(window.targets) for window in engine.windows)
    assert found.mean().clusters == len(set(found.users.tolist()))


def test_nothing_to_judge_by_is_none() -> None:
    nothing: Any = held_out(Blank, (), FitContext(0))
    assert nothing is None
