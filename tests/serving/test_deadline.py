"""Deadlines: who is asked, who is not, what the response says, and what it costs in quality."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models_for_tests import engine_of, ids, skip

from fusion import Dataset, Engine
from fusion.errors import DataError, NotFittedError
from fusion.protocols import FitContext
from fusion.serving.budget import budget_curve
from fusion.serving.costs import Costs
from fusion.serving.deadline import Calibration, Step, calibrate, plan

PLENTY = 60_000
LEARNED = {"mode": "learned", "min_queries": 5, "stacker": "linear"}
SERIAL = {
    "mode": "serial",
    "stages": [{"models": ["ease", "low"], "keep": 8}, {"models": ["high"]}],
}
FUSIONS: dict[str, dict[str, Any]] = {
    "rrf": {"mode": "parallel", "method": "rrf"},
    "zscore": {"method": {"name": "weighted_sum", "normalization": "z_score"}},
    "serial": SERIAL,
    "learned": LEARNED,
    "tuned": {
        "mode": "tuned",
        "fusion": {"method": {"name": "weighted_sum"}},
        "weights": True,
        "trials": 5,
        "folds": 0,
    },
    "single": {"mode": "single", "model": "ease"},
    "no completion": {"method": {"name": "rrf", "missing": {"not_retrieved": "lowest"}}},
}


@pytest.fixture(scope="module")
def engine(tiny: Dataset) -> Engine:
    engine = engine_of(tiny)
    engine.calibrate_deadline()
    return engine


@pytest.fixture(autouse=True)
def quick(engine: Engine) -> None:
    for name in ("low", "high"):
        model: Any = engine.models[name]
        model.sleep = 0.0


def slow(engine: Engine, name: str, seconds: float) -> None:
    model: Any = engine.models[name]
    model.sleep = seconds


@pytest.mark.parametrize("fusion", FUSIONS)
def test_with_time_enough_the_answer_is_the_one_without_a_deadline(
    engine: Engine, fusion: str
) -> None:
    engine.swap({"fusion": FUSIONS[fusion]}, check=False)
    engine.calibrate_deadline()
    for user in ("u1", "u7"):
        usual = engine.recommend(user, k=6)
        timely = engine.recommend(user, k=6, deadline_ms=PLENTY)
        assert ids(timely) == ids(usual)
        assert timely.late == ()
        assert timely.complete
        assert timely.deadline_ms == PLENTY
    engine.rollback()


def test_the_chain_begins_with_a_retriever_and_has_every_model_in_use(engine: Engine) -> None:
    calibration = engine.calibrate_deadline()
    assert sorted(calibration.order) == ["ease", "high", "low"]
    assert calibration.order[0] in ("ease", "low")
    assert calibration.prefixes[-1].strategy is engine.strategy
    assert [len(prefix.models) for prefix in calibration.prefixes] == [1, 2, 3]
    assert engine.calibrate_deadline() is calibration
    values = [step.value for step in calibration.chain]
    # taken together, what each adds is what all of them have
    from fusion.serving.held_out import window_ndcg

    assert sum(values) == pytest.approx(window_ndcg(engine.strategy, engine.windows[0]).mean())


def test_a_dear_model_without_value_comes_last_and_is_skipped(tiny: Dataset) -> None:
    engine = engine_of(tiny)
    slow(engine, "high", 0.05)
    calibration = engine.calibrate_deadline()
    assert calibration.order[-1] == "high"
    model: Any = engine.models["high"]
    asked = model.asked
    recs = engine.recommend("u1", k=5, deadline_ms=40)
    assert model.asked == asked
    assert recs.models["high"].status == "skipped"
    assert "deadline: it was expected to need 5" in recs.models["high"].reason
    assert "high" in recs.late
    prefix = calibration.prefixes[1]
    if recs.late == ("high",):  # on a busy machine there may be time for one model only
        same = {**prefix.fusion, "models": list(prefix.models)}
        with engine.using(engine.learnt(same)):
            assert ids(engine.recommend("u1", k=5)) == ids(recs)


def test_a_model_that_is_late_is_not_waited_for(engine: Engine) -> None:
    engine.calibrate_deadline()
    slow(engine, "high", 1.0)  # it was quick when it was measured
    start = time.perf_counter()
    recs = engine.recommend("u1", k=5, deadline_ms=300)
    assert time.perf_counter() - start < 1.0
    assert recs.models["high"].status == "late"
    assert recs.late == ("high",)
    assert len(recs) == 5
    assert all(rec.contributions.get("high", 0) == 0 for rec in recs)
    slow(engine, "high", 0.0)
    recs = engine.recommend("u1", k=5, deadline_ms=300)
    assert recs.late == ("high",)  # still busy, and expected to be late
    assert engine.recommend("u1", k=5).complete  # without a deadline it is waited for


def test_a_model_that_was_slow_for_a_while_comes_back(tiny: Dataset) -> None:
    engine = engine_of(tiny)
    engine.calibrate_deadline()
    for _ in range(3):
        engine.costs.add("high", "score", 20, 5000.0)
    late = [engine.recommend("u1", deadline_ms=1000).late for _ in range(80)]
    assert late[0] == ("high",)
    assert late[-1] == ()


def test_the_first_retriever_is_always_waited_for(tiny: Dataset) -> None:
    engine = engine_of(tiny)
    engine.calibrate_deadline()
    recs = engine.recommend("u1", k=5, deadline_ms=0.001)
    assert len(recs) == 5
    first = engine.calibrate_deadline().order[0]
    assert recs.models[first].status == "ok"
    assert set(recs.late) == set(engine.models) - {first}


def test_when_the_first_retriever_fails_the_next_one_is_waited_for(tiny: Dataset) -> None:
    engine = engine_of(tiny, serving=skip(), retrievers={**TWO}, rankers={})
    order = engine.calibrate_deadline().order
    first: Any = engine.models[order[0]]
    first.hook = lambda _: None
    recs = engine.recommend("u1", k=5, deadline_ms=PLENTY)
    assert recs.failed == (order[0],)
    assert recs.models[order[1]].status == "ok"
    assert len(recs) == 5


LOW = {"type": "models_for_tests:HookedRetriever", "n": 10}
TWO = {"low": LOW, "lower": LOW}


def test_a_ranker_that_cannot_change_the_list_is_not_asked(tiny: Dataset) -> None:
    weights = {"ease": 1.0, "low": 100.0, "high": 0.0}
    method = {"name": "rrf", "weights": weights}
    engine = engine_of(tiny, fusion={"mode": "parallel", "method": method})
    engine.calibrate_deadline()
    model: Any = engine.models["high"]
    usual = engine.recommend("u1", k=5)
    asked = model.asked
    recs = engine.recommend("u1", k=5, deadline_ms=PLENTY)
    assert ids(recs) == ids(usual)
    if recs.models["high"].status == "skipped":
        assert recs.models["high"].reason == "it cannot change the list"
        assert model.asked == asked
    assert recs.late == ()
    chain = engine.calibrate_deadline().order
    if chain[-1] == "high":
        assert recs.models["high"].status == "skipped"


def test_the_first_request_calibrates_and_says_so(
    tiny: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_of(tiny)
    recs = engine.recommend("u1", k=5, deadline_ms=PLENTY)
    assert "call calibrate_deadline before serving" in caplog.text
    assert ids(recs) == ids(engine.recommend("u1", k=5))
    engine.swap({"fusion": FUSIONS["zscore"]}, check=False)
    assert engine._state.calibration is None  # it was another fusion's
    engine.rollback()
    assert engine._state.calibration is not None


def test_without_windows_the_cheapest_retriever_comes_first(tiny: Dataset) -> None:
    engine = engine_of(tiny, stacking=None)
    slow(engine, "low", 0.01)
    calibration = engine.calibrate_deadline()
    assert calibration.order.index("ease") < calibration.order.index("low")
    assert np.isnan(calibration.chain[0].value)
    assert len(engine.recommend("u1", k=5, deadline_ms=5)) == 5


def test_a_saved_engine_keeps_it(tiny: Dataset, tmp_path: Path) -> None:
    engine = engine_of(tiny, fusion=LEARNED)
    calibration = engine.calibrate_deadline()
    engine.save(tmp_path / "engine")
    again = Engine.load(tmp_path / "engine")
    loaded = again.calibrate_deadline()
    assert loaded.order == calibration.order
    assert loaded.chain == calibration.chain
    for one, other in zip(loaded.prefixes, calibration.prefixes, strict=True):
        assert one.models == other.models
        from fusion.serving.subset import restricted_window

        pool = restricted_window(engine.windows[0], one.models).pool
        np.testing.assert_allclose(
            one.strategy.fuse(pool).scores, other.strategy.fuse(pool).scores, rtol=1e-6
        )
    assert again.costs.of_model("high") == engine.costs.of_model("high")


def test_the_plan_takes_what_fits() -> None:
    costs = Costs()
    costs.add("a", "retrieve", 1, 10.0)
    costs.add("b", "score", 10, 20.0)
    costs.add("c", "score", 10, 30.0)
    costs.add("", "fuse", 1, 2.0)
    chain = tuple(Step(name, 0.1, 1.0) for name in "abc")
    calibration = Calibration(chain, ())
    assert [plan(calibration, costs, ms) for ms in (0, 12, 31.9, 32, 61.9, 62, 1000)] == [
        1, 1, 1, 2, 2, 3, 3,
    ]  # fmt: skip


@pytest.mark.parametrize("bad", [0, -5, float("inf"), float("nan")])
def test_a_deadline_is_a_positive_number(engine: Engine, bad: float) -> None:
    with pytest.raises(DataError, match="deadline_ms"):
        engine.recommend("u1", deadline_ms=bad)


def test_before_fit_it_is_an_error() -> None:
    with pytest.raises(NotFittedError):
        Engine.from_config({"retrievers": {"ease": {}}}).calibrate_deadline()


def test_who_has_no_history_gets_the_fallback_in_any_case(tiny: Dataset) -> None:
    engine = engine_of(tiny, fallback="low")
    recs = engine.recommend("stranger", k=3, deadline_ms=PLENTY)
    assert recs.strategy == "fallback"
    assert len(recs) == 3


@pytest.mark.parametrize("fusion", ["rrf", "learned"])
def test_the_budget_curve_has_a_point_for_every_prefix(engine: Engine, fusion: str) -> None:
    engine.swap({"fusion": FUSIONS[fusion]}, check=False)
    curve = budget_curve(engine)
    assert [len(point.models) for point in curve] == [1, 2, 3]
    assert [point.ms for point in curve] == sorted(point.ms for point in curve)
    for point in curve:
        assert point.low <= point.ndcg <= point.high
        assert point.to_json()["models"] == list(point.models)
    engine.rollback()


def test_a_prefix_that_cannot_learn_says_so(
    tiny: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    learned = {"mode": "learned", "stacker": "linear", "min_queries": 30, "too_few": "error"}
    engine = engine_of(tiny, fusion=learned)
    few = tuple(window.take(np.arange(8)) for window in engine.windows)
    with caplog.at_level("WARNING"):
        found = calibrate(
            engine.config, engine.strategy, engine.models, few, engine.costs, FitContext()
        )
    assert "reciprocal rank fusion over" in caplog.text
    assert "at least 30 queries" in caplog.text
    assert found.prefixes[0].fusion["method"] == "rrf"
