from __future__ import annotations

import io
import json
import time

import pytest
from models_for_tests import engine_of
from rich.console import Console

from fusion import Dataset, Engine
from fusion.candidates import Scores
from fusion.request_profile import RequestProfile, Stage, profile_of
from fusion.work import Work, count, timed

ORDER = ["prepare", "retrieve", "score", "fuse", "rules", "present"]


@pytest.fixture
def engine(tiny: Dataset) -> Engine:
    return engine_of(tiny)


def test_rates_are_amounts_over_time() -> None:
    stage = Stage(
        "score", "gpt", 200.0, {"tokens": 1000, "flops": 3e9, "cache_hits": 1, "cache_misses": 4}
    )
    assert stage.tokens_per_second == 1000 / 0.2
    assert stage.gflops == pytest.approx(3 / 0.2)  # 3 GFLOP in 0.2 s
    assert stage.hit_rate == 1 / 5
    told = stage.to_json()
    assert told["gflops"] == pytest.approx(15)
    assert told["tokens"] == 1000
    assert told["tokens_per_second"] == 5000


@pytest.mark.parametrize("stage", [Stage("fuse", "", 2.0), Stage("score", "x", 0.0, {"flops": 9})])
def test_nothing_counted_or_no_time_is_no_rate(stage: Stage) -> None:
    assert (stage.tokens_per_second, stage.gflops, stage.hit_rate) == (None, None, None)
    assert stage.to_json().keys().isdisjoint({"tokens_per_second", "gflops", "hit_rate"})


def test_stages_stand_in_the_order_of_a_request() -> None:
    calls = [
        ("dense", {"retrieve": Work({"tokens": 8}, {"retrieve": 0.004, "encode": 0.003})}),
        ("bert", {"score": Work({"flops": 5.0}, {"score": 0.009})}),
        ("ease", {"retrieve": Work({}, {"retrieve": 0.001}), "score": Work({}, {"score": 0.002})}),
    ]
    own = [("prepare", 0.5), ("fuse", 1.0), ("rules", 0.25), ("present", 0.25)]
    profile = profile_of(calls, own, 20.0)
    assert [(s.label, round(s.ms, 6)) for s in profile.stages] == [
        ("prepare", 0.5),
        ("retrieve dense", 4.0),
        ("  encode", 3.0),
        ("retrieve ease", 1.0),
        ("score bert", 9.0),
        ("score ease", 2.0),
        ("fuse", 1.0),
        ("rules", 0.25),
        ("present", 0.25),
    ]
    assert [s.inside for s in profile.stages if s.name == "encode"] == ["retrieve"]
    assert profile.stages[1].counts == {"tokens": 8}
    assert profile.stages[1].computing_ms == pytest.approx(3)
    assert profile.stages[4].computing_ms == 0  # bert does not say
    assert profile.stages[4].gflops == pytest.approx(5.0 / 0.009 / 1e9)


def test_explain_says_where_the_time_went(engine: Engine) -> None:
    def work(scores: Scores) -> Scores:
        with timed("forward"):
            count(tokens=200, flops=1e9, passes=1)
            time.sleep(0.05)
        return scores

    engine.models["high"].hook = work  # type: ignore[attr-defined]
    recs = engine.recommend("u1", k=3, explain=True)
    assert recs.profile is not None
    stages = recs.profile.stages
    outer = [stage for stage in stages if not stage.inside]
    assert [ORDER.index(stage.name) for stage in outer] == sorted(
        ORDER.index(stage.name) for stage in outer
    )
    assert [s.model for s in outer if s.name == "retrieve"] == ["ease", "low"]
    assert sum(stage.ms for stage in outer) <= recs.profile.ms + 1e-6
    assert recs.profile.ms == recs.ms
    high = next(stage for stage in stages if (stage.name, stage.model) == ("score", "high"))
    assert high.counts == {"tokens": 200, "flops": 1e9, "passes": 1}
    assert 50 <= high.ms < 1000
    inner = stages[stages.index(high) + 1]
    assert high.gflops == pytest.approx(1.0 / (inner.ms / 1000))  # 1 GFLOP in the passes
    assert (inner.name, inner.inside) == ("forward", "score")
    assert 50 <= inner.ms <= high.ms
    told = json.loads(json.dumps(recs.to_json(), allow_nan=False))
    assert told["profile"]["stages"][0]["stage"] == "prepare"
    assert told["models"]["high"]["work"]["tokens"] == 200


def test_nothing_is_computed_unasked(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> RequestProfile:
        raise AssertionError("nobody asked for a profile")

    monkeypatch.setattr("fusion.serving.service.request_profile", never)
    recs = engine.recommend("u1")
    assert recs.profile is None
    assert recs.to_json()["profile"] is None


def test_the_fallback_has_a_profile_too(tiny: Dataset) -> None:
    recs = engine_of(tiny, fallback="low").recommend("stranger", explain=True)
    assert recs.profile is not None
    assert [s.model for s in recs.profile.stages if s.model] == ["low"]


def test_explaining_changes_no_answer(engine: Engine) -> None:
    assert engine.recommend("u3", explain=True) == engine.recommend("u3")


def shown(profile: RequestProfile) -> str:
    out = io.StringIO()
    Console(file=out, width=80).print(profile.rich())
    return out.getvalue()


def test_the_table_fits_a_terminal() -> None:
    counts = {"tokens": 2100, "flops": 4e9, "bytes": 3e6, "cache_hits": 1, "cache_misses": 1}
    stages = (
        Stage("prepare", "", 1.0),
        Stage("score", "gpt", 40.0, counts),
        Stage("forward", "gpt", 30.0, inside="score"),
    )
    text = shown(RequestProfile(stages, 50.0))
    assert max(map(len, text.splitlines())) <= 80
    for cell in ("score gpt", "40.00", "80.0%", "2,100", "52,500", "100.0", "3.00", "50%"):
        assert cell in text
    assert "tokens" not in shown(RequestProfile(stages[:1], 0.0))  # no empty columns
