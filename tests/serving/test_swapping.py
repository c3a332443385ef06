"""Swaps: validated, compared, guarded, atomic, undone; and no base model is fitted again."""

from __future__ import annotations

import io
import json
import threading
from typing import Any

import numpy as np
import pytest
from models_for_tests import engine_of, ids

from fusion import Dataset, Engine
from fusion.errors import ConfigError, SwapRefusedError
from fusion.evaluation.agreement import overlap, rbo

RRF = {"fusion": {"mode": "parallel", "method": "rrf"}}
EASE = {"fusion": {"mode": "single", "model": "ease"}}
HIGH = {"fusion": {"mode": "parallel", "models": ["high"]}}
LEARNED = {"fusion": {"mode": "learned", "min_queries": 5, "stacker": "linear"}}


@pytest.fixture
def engine(tiny: Dataset) -> Engine:
    return engine_of(tiny)


def test_the_report_is_of_the_replayed_requests(engine: Engine) -> None:
    asked: list[dict[str, Any]] = [
        {"user_id": "u1", "k": 5},
        {"user_id": "u2", "k": 3, "exclude_seen": False},
        {"history": ["i10", "i11"], "k": 4},
    ]
    before = [ids(engine.recommend(**one)) for one in asked]
    report = engine.swap(EASE)
    after = [ids(engine.recommend(**one)) for one in asked]
    assert (report.source, report.replayed, report.swapped) == ("requests", 3, True)
    assert report.rbo == pytest.approx(
        np.mean([rbo(a, b) for a, b in zip(before, after, strict=True)])
    )
    assert report.overlap == pytest.approx(
        np.mean([overlap(a, b, one["k"]) for a, b, one in zip(before, after, asked, strict=True)])
    )
    assert 0 < report.churn == 1 - report.rbo
    assert report.ms_old > 0
    assert report.ms_new > 0
    told = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert told["old"] == "parallel"
    assert told["new"] == "single"
    assert told["gain"]["queries"] == len(engine.windows[0].targets)


def test_without_requests_the_windows_stand_in(engine: Engine) -> None:
    report = engine.swap(EASE)
    assert (report.source, report.replayed) == ("windows", len(engine.windows[0].targets))
    before = report.to_json()
    assert before["rbo"] < 1
    assert engine.swap(EASE).rbo == pytest.approx(1)  # the same fusion


def test_without_anything_to_compare_it_swaps_all_the_same(tiny: Dataset) -> None:
    engine = engine_of(tiny, stacking=None)
    report = engine.swap(EASE)
    assert report.swapped
    assert report.to_json()["rbo"] is None
    assert report.gain is None
    unfitted = Engine.from_config({"retrievers": {"ease": {}, "popularity": {}}})
    assert unfitted.swap(EASE).swapped


def test_only_the_last_requests_are_kept(tiny: Dataset) -> None:
    engine = engine_of(tiny, serving={"remember": 2})
    for user in ("u1", "u2", "u3"):
        engine.recommend(user)
    assert [r.user_id for r in engine._recent.last()] == ["u2", "u3"]
    assert engine.swap(EASE, dry_run=True).replayed == 2
    forgetful = engine_of(tiny, serving={"remember": 0})
    forgetful.recommend("u1")
    assert forgetful.swap(EASE, dry_run=True).source == "windows"


def test_held_out_ndcg_is_that_of_the_windows(engine: Engine) -> None:
    from fusion.serving.held_out import window_ndcg

    report = engine.swap(EASE)
    values = np.concatenate([window_ndcg(engine.strategy, w) for w in engine.windows])
    assert report.ndcg_new == pytest.approx(values.mean())
    assert report.gain is not None
    assert report.gain.mean == pytest.approx(report.ndcg_new - report.ndcg_old)
    assert report.gain.low <= report.gain.mean <= report.gain.high


def test_a_dry_run_changes_nothing(engine: Engine) -> None:
    before = engine.strategy
    assert not engine.swap(EASE, dry_run=True).swapped
    assert engine.strategy is before
    with pytest.raises(ConfigError):
        engine.rollback()


@pytest.mark.parametrize("guard", [{"max_churn": 0.05}, {"min_gain": 0.01}, {"max_slowdown": 1e-6}])
def test_a_guard_keeps_a_bad_fusion_out(engine: Engine, guard: dict[str, float]) -> None:
    engine.recommend("u1")
    before = engine.strategy
    with pytest.raises(SwapRefusedError, match=f"swap, {next(iter(guard))}: expected at") as caught:
        engine.swap(HIGH, **guard)  # type: ignore[arg-type]
    assert engine.strategy is before
    report: Any = caught.value.report
    assert report.refused
    assert not report.swapped


def test_a_guard_lets_a_good_one_pass(engine: Engine) -> None:
    report = engine.swap(EASE, max_churn=1, min_gain=-0.5, max_slowdown=1000)
    assert report.swapped
    assert report.gain is not None
    assert report.gain.low >= -0.5


def test_what_cannot_be_measured_does_not_pass_a_guard(tiny: Dataset) -> None:
    engine = engine_of(tiny, stacking=None)
    with pytest.raises(SwapRefusedError, match="nothing measured"):
        engine.swap(EASE, min_gain=-1)
    with pytest.raises(ConfigError, match="check=True"):
        engine.swap(EASE, check=False, min_gain=-1)
    assert engine.swap(EASE, check=False).swapped


def test_rollback_returns_step_by_step_without_learning_again(engine: Engine) -> None:
    first = engine.recommend("u1")
    engine.swap(LEARNED)
    learned = engine.strategy
    second = engine.recommend("u1")
    engine.swap(EASE)
    engine.rollback()
    assert engine.strategy is learned
    assert engine.config.fusion["mode"] == "learned"
    assert engine.recommend("u1") == second
    engine.rollback()
    assert engine.recommend("u1") == first
    with pytest.raises(ConfigError, match="a swap to undo"):
        engine.rollback()


def test_no_swap_fits_a_base_model(engine: Engine) -> None:
    models: list[Any] = [engine.models[name] for name in ("low", "high")]
    fits = [model.fits for model in models]
    engine.swap(LEARNED)
    engine.swap(EASE)
    engine.rollback()
    engine.calibrate_deadline()
    engine.shadow(LEARNED["fusion"])
    engine.shadow(None)
    assert [model.fits for model in models] == fits == [2, 2]  # the window's past, and all


def test_a_faulty_one_is_refused_before_anything_is_asked(engine: Engine) -> None:
    model: Any = engine.models["high"]
    asked, before = model.asked, engine.strategy
    for faulty in ({"mode": "parallel", "method": "rff"}, {"mode": "single", "model": "eese"}):
        with pytest.raises(ConfigError):
            engine.swap({"fusion": faulty})
    assert model.asked == asked
    assert engine.strategy is before


def test_a_request_sees_one_fusion_or_the_other(engine: Engine) -> None:
    want = {}
    for config in (RRF, EASE):
        engine.swap(config, check=False)
        want[engine.config.hash] = ids(engine.recommend("u1", k=8))
    stop, wrong = threading.Event(), list[Any]()

    def ask() -> None:
        while not stop.is_set():
            recs = engine.recommend("u1", k=8)
            if ids(recs) != want[recs.strategy_hash]:
                wrong.append(recs.to_json())

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(30):
        engine.swap((RRF, EASE)[turn % 2], check=False)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_report_prints(engine: Engine) -> None:
    from rich.console import Console

    printed = io.StringIO()
    Console(width=100, file=printed).print(engine.swap(EASE).rich())
    text = printed.getvalue()
    assert "NDCG@10, held out" in text
    assert "latency p50" in text
