"""The steps after fusion, as the engine calls them: on every list, the fallback's too."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from models_for_tests import engine_of, ids

from fusion import Dataset, Engine
from fusion.after.pipeline import After
from fusion.after.step import Phase, Ranking, Step, StepContext
from fusion.serving.after import build_after


class DropBest(Step):
    """Takes the best item of every query out, and notes it at the one that follows."""

    phase = Phase.FILTER

    def depth(self, k: int) -> int:
        return k + 1

    def apply(self, ranking: Ranking, context: StepContext) -> Ranking:
        gone = ranking.places == 1
        reasons = np.full(len(ranking), "too good", object)
        left = ranking.without(gone, context.k, context.label, reasons)
        firsts = np.flatnonzero(left.places == 1)
        return left.noted(
            zip(left.queries[firsts].tolist(), left.items[firsts].tolist(), strict=True),
            "the second best",
        )


@pytest.fixture
def engine(tiny: Dataset) -> Engine:
    engine = engine_of(tiny, fallback="low")
    engine._state = replace(engine._state, after=After([DropBest(name="drop")]))
    return engine


def test_what_was_removed_and_noted_is_told(engine: Engine) -> None:
    recs = engine.recommend("u1", k=4)
    engine._state = replace(engine._state, after=None)
    usual = engine.recommend("u1", k=5)
    assert ids(recs) == ids(usual)[1:]
    assert recs.removed == {"drop: too good": [usual[0].item_id]}
    assert [rec.notes for rec in recs] == [("the second best",), (), (), ()]
    assert [rec.propensity for rec in recs] == [1] * 4
    assert [rec.rank for rec in recs] == [1, 2, 3, 4]
    assert usual[0].notes == ()


def test_many_users_and_the_fallback_get_the_same_steps(engine: Engine) -> None:
    users = ["u1", "stranger", "u2"]
    table = engine.recommend_many(users, k=4)
    single = [rec.item_id for user in users for rec in engine.recommend(user, k=4)]
    assert table["item_id"].to_pylist() == single
    told = json.loads(table.schema.metadata[b"recfusion"])
    assert told["removed"] == {"drop: too good": 3}


def test_with_a_deadline_too(engine: Engine) -> None:
    assert ids(engine.recommend("u1", k=4, deadline_ms=60_000)) == ids(engine.recommend("u1", k=4))


def test_no_step_is_no_pipeline(engine: Engine) -> None:
    assert build_after(engine.config) is None
