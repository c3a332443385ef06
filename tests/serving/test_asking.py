from __future__ import annotations

import time
from typing import Any

import pytest
from models_for_tests import engine_of, failing, skip

from fusion import Dataset, Engine
from fusion.candidates import Scores
from fusion.errors import ModelError
from fusion.recommendation import ModelRun
from fusion.work import Work, count, counting, timed


def working(scores: Scores) -> Scores:
    """What a large model does while it scores."""
    with timed("forward"):
        count(tokens=30, flops=6e6)
    count(tokens=12, cache_hits=1)
    return scores


@pytest.fixture
def engine(tiny: Dataset) -> Engine:
    engine = engine_of(tiny, serving=skip())
    engine.models["high"].hook = working  # type: ignore[attr-defined]
    return engine


@pytest.mark.parametrize("deadline_ms", [None, 60_000])
def test_what_a_model_counts_is_kept_from_whichever_thread(
    engine: Engine, deadline_ms: float | None
) -> None:
    if deadline_ms is not None:
        engine.calibrate_deadline()
    with counting() as outside:
        run = engine.recommend("u1", deadline_ms=deadline_ms).models["high"]
    calls = 1
    assert {name: n for name, n in run.work.items() if not name.endswith("_ms")} == {
        "tokens": calls * (30 + 12),
        "flops": calls * 6e6,
        "cache_hits": calls,
    }
    assert outside.counts == {"tokens": 42, "flops": 6e6, "cache_hits": 1}
    assert 0 <= run.work["forward_ms"] <= run.work["score_ms"]
    assert "forward" in outside.seconds


def test_the_milliseconds_of_a_model_are_split_by_what_it_was_asked(engine: Engine) -> None:
    runs = engine.recommend("u1").models
    assert runs["high"].retrieve_ms == 0
    assert runs["high"].score_ms == pytest.approx(runs["high"].ms)
    for run in runs.values():
        assert run.ms == pytest.approx(run.retrieve_ms + run.score_ms)
    assert runs["low"].retrieve_ms > 0
    assert runs["low"].score_ms > 0
    assert runs["low"].to_json()["work"].keys() == {"retrieve_ms", "score_ms"}


def test_a_stage_named_like_the_call_is_the_call(engine: Engine) -> None:
    def naming(scores: Scores) -> Scores:
        with timed("score"):
            return scores

    engine.models["high"].hook = naming  # type: ignore[attr-defined]
    run = engine.recommend("u1").models["high"]
    assert run.score_ms == pytest.approx(run.ms)


def test_who_fails_is_charged_for_what_was_done(engine: Engine) -> None:
    def late_fault(scores: Scores) -> Any:
        count(tokens=7)
        return failing(scores)

    engine.models["high"].hook = late_fault  # type: ignore[attr-defined]
    run = engine.recommend("u1").models["high"]
    assert (run.status, run.work["tokens"]) == ("failed", 7)
    assert run.score_ms == pytest.approx(run.ms)


def test_who_is_given_up_has_its_milliseconds_only(engine: Engine) -> None:
    engine.calibrate_deadline()
    seen = []

    def slow(scores: Scores) -> Scores:
        count(tokens=7)
        time.sleep(0.4)
        count(tokens=7)
        seen.append(True)
        return scores

    engine.models["high"].hook = slow  # type: ignore[attr-defined]
    run = engine.recommend("u1", deadline_ms=100).models["high"]
    assert run.status == "late"
    assert run.work.keys() == {"score_ms"}
    assert run.score_ms == pytest.approx(run.ms)
    while not seen:  # it is nobody's afterwards either
        time.sleep(0.01)
    assert run.work.keys() == {"score_ms"}


def test_many_batches_add_up(engine: Engine) -> None:
    for ahead in (0, 2):
        with counting() as work:
            engine.recommend_many([f"u{u}" for u in range(6)], batch=2, ahead=ahead)
        assert work.counts["tokens"] == 3 * 42


def test_an_error_is_still_an_error(tiny: Dataset) -> None:
    strict = engine_of(tiny)
    strict.models["high"].hook = failing  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match="boom"):
        strict.recommend("u1")


def test_a_run_without_calls_did_nothing() -> None:
    run = ModelRun("skipped", 0.0, "why")
    assert (run.work, run.retrieve_ms, run.score_ms) == ({}, 0.0, 0.0)
    both = ModelRun(
        "ok", 5, calls={"retrieve": Work({"a": 1}, {"retrieve": 0.002}), "score": Work({"a": 2})}
    )
    assert both.work == {"a": 3, "retrieve_ms": 2.0}
    assert both.retrieve_ms == 2.0
