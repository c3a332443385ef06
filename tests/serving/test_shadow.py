from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from models_for_tests import engine_of, failing, ids

from fusion import Dataset, Engine
from fusion.errors import ConfigError
from fusion.evaluation.agreement import overlap, rbo
from fusion.serving.requests import Request

EASE = {"mode": "single", "model": "ease"}


@pytest.fixture
def engine(tiny: Dataset) -> Engine:
    return engine_of(tiny)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_both_lists_are_written_down_and_the_answer_is_untouched(
    engine: Engine, tmp_path: Path
) -> None:
    usual = engine.recommend("u1", k=6)
    with engine.using(engine.learnt(EASE)):
        candidate = engine.recommend("u1", k=6)
    log = tmp_path / "new" / "shadow.jsonl"
    engine.shadow(EASE, share=1, log=log)
    assert engine.recommend("u1", k=6) == usual
    report = engine.shadow_report()
    (line,) = lines(log)
    assert line["live"] == ids(usual)
    assert line["shadow"] == ids(candidate)
    assert line["overlap"] == report.overlap == overlap(ids(usual), ids(candidate), 6)
    assert line["rbo"] == report.rbo == rbo(ids(usual), ids(candidate))
    assert "u1" not in json.dumps({k: v for k, v in line.items() if k not in ("live", "shadow")})
    assert (report.requests, report.errors, report.dropped) == (1, 0, 0)
    json.dumps(report.to_json(), allow_nan=False)


def test_no_model_is_asked_twice(engine: Engine, tmp_path: Path) -> None:
    model: Any = engine.models["high"]
    start = model.asked
    engine.recommend("u1")
    alone = model.asked - start
    engine.shadow({"mode": "parallel", "method": "comb_mnz"}, share=1, log=tmp_path / "log")
    engine.recommend("u1")
    assert engine.shadow_report().requests == 1
    assert model.asked - start == 2 * alone


def test_the_same_share_of_requests_is_chosen_again(engine: Engine, tmp_path: Path) -> None:
    engine.shadow(EASE, share=0.3, log=tmp_path / "log")
    shadow = engine._state.shadow
    assert shadow is not None
    requests = [Request.of(f"u{n}", None, 10, True) for n in range(2000)]
    chosen = [shadow.chooses(request) for request in requests]
    assert chosen == [shadow.chooses(request) for request in requests]
    assert 0.27 < sum(chosen) / 2000 < 0.33  # 3 standard deviations
    engine.shadow(EASE, share=0, log=tmp_path / "log")
    engine.recommend("u1")
    assert engine.shadow_report().requests == 0
    assert not (tmp_path / "log").exists()


def test_its_errors_reach_the_log_and_nobody_else(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = engine.recommend("u1")
    engine.shadow(EASE, share=1, log=tmp_path / "log")
    shadow = engine._state.shadow
    assert shadow is not None
    monkeypatch.setattr(shadow.strategy, "fuse", failing)
    assert engine.recommend("u1") == usual
    report = engine.shadow_report()
    assert (report.requests, report.errors) == (0, 1)
    assert report.to_json()["rbo"] is None
    assert lines(tmp_path / "log")[0]["error"] == "ZeroDivisionError: boom"


def test_a_log_that_cannot_be_written_is_a_warning(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine.shadow(EASE, share=1, log=tmp_path)  # a folder
    engine.recommend("u1")
    assert engine.shadow_report().requests == 0
    assert "cannot be written" in caplog.text


def test_a_broken_line_and_another_candidates_lines_do_not_count(
    engine: Engine, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    engine.shadow({"mode": "single", "model": "low"}, share=1, log=log)
    engine.recommend("u1")
    assert engine.shadow_report().requests == 1
    with log.open("a") as file:
        file.write('{"time": 12, "li\n')
    engine.shadow(EASE, share=1, log=log)
    engine.recommend("u2")
    assert engine.shadow_report().requests == 1
    engine.shadow(None)
    with pytest.raises(ConfigError, match="a shadow"):
        engine.shadow_report()


def test_a_crowd_is_dropped_and_counted(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fusion.serving.shadow.WAITING", 0)
    engine.shadow(EASE, share=1, log=tmp_path / "log")
    engine.recommend("u1")
    assert engine.shadow_report().dropped == 1


def test_the_configuration_starts_it_and_a_saved_engine_goes_on(
    tiny: Dataset, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    fusion = {"mode": "learned", "min_queries": 5, "stacker": "linear"}
    shadow = {"fusion": fusion, "share": 1.0, "log": str(log)}
    engine = engine_of(tiny, serving={"shadow": shadow})
    engine.recommend("u1")
    assert engine.shadow_report().requests == 1
    engine.save(tmp_path / "engine")
    again = Engine.load(tmp_path / "engine")
    again.recommend("u2")
    assert again.shadow_report().requests == 2
    again.swap({"fusion": EASE}, check=False)  # the shadow stays
    again.recommend("u3")
    assert again.shadow_report().requests == 3
    again.shadow(None)
    again.rollback()


def test_a_faulty_candidate_in_the_configuration_is_told_before_fitting() -> None:
    for fusion in ({"mode": "single", "model": "eese"}, {"mode": "singel"}, {"methd": "rrf"}):
        serving = {"shadow": {"fusion": fusion, "log": "log"}}
        with pytest.raises(ConfigError):
            Engine.from_config({"retrievers": {"ease": {}}, "serving": serving})


def test_a_faulty_candidate_is_refused(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        engine.shadow({"mode": "single", "model": "eese"}, log=tmp_path / "log")
    with pytest.raises(ConfigError):
        engine.shadow(EASE, share=2, log=tmp_path / "log")
    assert engine._state.shadow is None
