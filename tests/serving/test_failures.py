"""A model that fails: the documented error, or a recommendation without it that says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from models_for_tests import Hooked, HookedRetriever, engine_of, failing, ids, skip

from fusion import Dataset, Engine
from fusion.candidates import Candidates, Missing, Scores
from fusion.errors import ModelError
from fusion.serving.asking import Asker


@pytest.fixture(scope="module")
def strict(tiny: Dataset) -> Engine:
    return engine_of(tiny)


@pytest.fixture(scope="module")
def lenient(tiny: Dataset) -> Engine:
    return engine_of(tiny, serving=skip(), fallback="low")


@pytest.fixture(autouse=True)
def healthy(strict: Engine, lenient: Engine) -> None:
    for engine in (strict, lenient):
        for name in ("low", "high"):
            model: Any = engine.models[name]
            model.hook, model.sleep = None, 0.0


def spoil(engine: Engine, name: str, hook: Callable[..., Any]) -> None:
    model = engine.models[name]
    assert isinstance(model, Hooked | HookedRetriever)
    model.hook = hook


SCORES: dict[str, Callable[[Scores], Any]] = {
    "raises": failing,
    "gives nothing": lambda s: None,
    "is too short": lambda s: Scores(s.values[1:], s.why[1:]),
    "is text": lambda s: Scores(s.values.astype(str), s.why),  # type: ignore[arg-type]
    "has infinities": lambda s: Scores(s.values + np.float32(np.inf), s.why),
}
LISTS: dict[str, Callable[[Candidates], Any]] = {
    "raises": failing,
    "gives nothing": lambda c: None,
    "has the wrong length": lambda c: replace(c, offsets=c.offsets[:-1]),
    "has infinities": lambda c: replace(c, scores=c.scores - np.float32(np.inf)),
    "repeats an item": lambda c: replace(c, items=np.zeros_like(c.items)),
    "leaves the catalogue": lambda c: replace(c, items=c.items + np.int32(1000)),
    "returns what was seen": lambda c: replace(
        c, items=np.setdiff1d(np.arange(30), c.items)[: len(c)].astype(np.int32)
    ),
}


@pytest.mark.parametrize("fault", SCORES)
def test_a_failing_ranker_is_an_error(strict: Engine, fault: str) -> None:
    spoil(strict, "high", SCORES[fault])
    with pytest.raises(ModelError, match="model 'high': expected") as caught:
        strict.recommend("u1")
    assert caught.value.model == "high"
    if fault == "raises":
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert "ZeroDivisionError: boom" in str(caught.value)


@pytest.mark.parametrize("fault", LISTS)
def test_a_failing_retriever_is_an_error(strict: Engine, fault: str) -> None:
    spoil(strict, "low", LISTS[fault])
    with pytest.raises(ModelError, match="model 'low': expected"):
        strict.recommend("u1")


@pytest.mark.parametrize("fault", SCORES)
def test_a_failing_ranker_is_left_out_and_the_response_says_so(
    lenient: Engine, tiny: Dataset, fault: str
) -> None:
    without = engine_of(tiny, rankers={})
    spoil(lenient, "high", SCORES[fault])
    recs = lenient.recommend("u1", k=5)
    assert ids(recs) == ids(without.recommend("u1", k=5))
    assert {name: run.status for name, run in recs.models.items()} == {
        "ease": "ok",
        "low": "ok",
        "high": "failed",
    }
    assert recs.failed == ("high",)
    assert not recs.complete
    assert "model 'high': expected" in recs.models["high"].reason
    assert all(rec.contributions["high"] == 0 for rec in recs)


@pytest.mark.parametrize("fault", LISTS)
def test_a_failing_retriever_brings_nothing_and_is_not_asked_for_scores(
    lenient: Engine, tiny: Dataset, fault: str
) -> None:
    config = {"ease": {"reg": 20}}
    without = engine_of(tiny, retrievers=config)
    spoil(lenient, "low", LISTS[fault])
    recs = lenient.recommend("u1", k=5)
    assert ids(recs) == ids(without.recommend("u1", k=5))
    assert recs.failed == ("low",)


def test_the_missing_column_has_its_reason(lenient: Engine, tiny: Dataset) -> None:
    spoil(lenient, "low", failing)
    spoil(lenient, "high", failing)
    queries = tiny.queries(np.array([1, 2]))
    assert lenient._fitted is not None
    pool = lenient._fitted.pool(queries, 5, Asker("skip"))
    union = pool.candidates()
    assert (union.why[:, union.models.index("low")] == Missing.TIMED_OUT).all()
    both = pool.complete(union, ("low", "high"))
    assert (both.why == Missing.TIMED_OUT).all()
    assert np.isnan(both.scores).all()
    assert (pool.so_far().completed.why[:, 1:] == Missing.TIMED_OUT).all()


def test_with_no_retriever_left_it_is_an_error_that_names_them(tiny: Dataset) -> None:
    engine = engine_of(tiny, serving=skip(), retrievers={"low": {"type": LOW}})
    spoil(engine, "low", failing)
    with pytest.raises(ModelError, match=r"at least one retriever .* none \(low: .*boom"):
        engine.recommend("u1")


LOW = "models_for_tests:HookedRetriever"


def test_the_fusion_of_one_failing_model_becomes_one_of_those_who_answered(
    lenient: Engine,
) -> None:
    spoil(lenient, "high", failing)
    with lenient.using(lenient.learnt({"mode": "single", "model": "high"})):
        recs = lenient.recommend("u1", k=5)
        assert lenient.recommend_many(["u1"], k=5)["item_id"].to_pylist() == ids(recs)
    assert len(recs) == 5
    assert set(recs[0].contributions) == {"ease", "low"}


def test_a_failing_fallback_is_an_error_either_way(lenient: Engine) -> None:
    assert lenient.recommend("stranger", k=3).strategy == "fallback"
    spoil(lenient, "low", failing)
    with pytest.raises(ModelError, match="the fallback's answer"):
        lenient.recommend("stranger")


def test_many_users_are_served_without_it_and_told(
    lenient: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    whole = lenient.recommend_many(["u1", "u2", "u3"], k=4)
    assert json.loads(whole.schema.metadata[b"recfusion"]) == {"failed": {}, "removed": {}}
    spoil(lenient, "high", failing)
    table = lenient.recommend_many(["u1", "u2", "u3"], k=4, batch=2)
    told = json.loads(table.schema.metadata[b"recfusion"])["failed"]
    assert told["high"]["users"] == 3
    assert "boom" in told["high"]["reason"]
    assert "high was left out for 3 users" in caplog.text
    assert table.num_rows == 12


def test_nan_only_float64_and_integers_are_answers(strict: Engine, tiny: Dataset) -> None:
    usual = strict.recommend("u1", k=5)
    for kind in (np.float64, np.int64):
        spoil(strict, "high", lambda s, kind=kind: Scores(s.values.astype(kind), s.why))
        assert ids(strict.recommend("u1", k=5)) == ids(usual)
    spoil(strict, "high", lambda s: Scores.missing(len(s.values), Missing.COLD))
    recs = strict.recommend("u1", k=5)
    assert recs.models["high"].status == "ok"
    assert ids(recs) == ids(engine_of(tiny, rankers={}).recommend("u1", k=5))


def test_a_healthy_response_says_who_was_asked(strict: Engine) -> None:
    recs = strict.recommend("u1", k=3)
    assert isinstance(recs, list)
    assert recs.complete
    assert recs.strategy == "parallel"
    assert recs.strategy_hash == strict.config.hash
    assert recs.ms > 0
    assert sum(run.ms for run in recs.models.values()) <= recs.ms
    with strict.using(strict.learnt({"mode": "parallel", "models": ["ease"]})):
        unasked = strict.recommend("u1").models["high"]
    assert (unasked.status, unasked.reason) == ("skipped", "the fusion did not ask it")
    told = json.loads(json.dumps(recs.to_json()))
    assert [one["item_id"] for one in told["items"]] == ids(recs)
    assert told["models"]["high"]["status"] == "ok"


def test_fitting_never_skips(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hooked, "score", failing)
    with pytest.raises(ModelError, match="boom"):
        engine_of(tiny, serving=skip())
