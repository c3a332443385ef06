from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import engine_config, rules, window

from fusion import Dataset, Engine
from fusion.benchmark import split_for
from fusion.config import EngineConfig
from fusion.config_tournament import TournamentConfig
from fusion.errors import ConfigError
from fusion.tournament import TournamentResult, run_tournament
from fusion.tournament.contest import Contest, Played
from fusion.tournament.entrants import Entrant
from fusion.tournament.outcome import Curve
from fusion.tournament.play import play

MODELS: dict[str, Any] = {
    "retrievers": {"ease": {"n": 15}, "item_knn": {"n": 15}, "popularity": {"n": 15}},
    "stacking": {"events": 4},
}


def tiny_config(**tournament: Any) -> EngineConfig:
    return EngineConfig.from_mapping(
        {**MODELS, "tournament": rules(**tournament).model_dump(mode="json")}
    )


def over(seed: int = 0, n: int = 300, noise: dict[str, float] | None = None, **changes: Any) -> Any:
    one = window(n, seed, **(noise or {}))
    return play([one], engine_config(*one.pool.models).build_strategy, rules(**changes))


def test_a_fusion_that_helps_is_recommended() -> None:
    result = over()
    # two models with independent noise: their sum is better than either
    assert result.recommendation.kind == "fusion"
    row = result.row(result.recommendation.name)
    assert row.p < 0.01
    assert row.difference.low > 0
    assert result.nested.low > 0
    assert result.best_single == "strong"
    assert result.facts["queries"] == 225
    assert result.facts["learnt_from_only"] == 75
    assert result.complementarity.oracle > row.ndcg.mean - 0.2
    json.dumps(result.to_json(), allow_nan=False)


def test_where_no_fusion_helps_the_best_single_model_is() -> None:
    result = over(noise={"strong": 0.3, "junk": 50.0, "noise": 50.0}, n=150)
    assert result.recommendation.name == "strong"
    assert result.recommendation.fusion == {"mode": "single", "model": "strong"}
    assert "what to ship" in result.recommendation.reason


def null_world(seed: int, config: TournamentConfig) -> TournamentResult:
    """A tournament whose every fusion is, in truth, exactly as good as the best model.

    In each query it keeps the best model's rank or has that of another query, by a coin.
    """
    rng, original = np.random.default_rng(seed), Contest.play
    best: list[Any] = []

    def lucky(self: Contest, entrant: Entrant) -> Played:
        if entrant.kind == "model":
            played = original(self, entrant)
            best.append(played.ranks)
            return played
        mix = rng.random(len(best[0])) < 0.4
        return Played(entrant, np.where(mix, rng.choice(best[0], len(mix)), best[0]))

    one = window(120, seed=seed, best=0.6, second=20.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Contest, "play", lucky)
        return play([one], engine_config("best", "second").build_strategy, config)


def test_fusions_without_a_gain_are_recommended_in_fewer_than_alpha_of_runs() -> None:
    alpha, worlds = 0.1, 80
    fusions = {f"f{i}": {"mode": "single", "model": "best"} for i in range(12)}
    config = rules(alpha=alpha, permutations=199, timed=0, methods=[], folds=2, fusions=fusions)
    found = [null_world(seed, config) for seed in range(worlds)]
    wrong = sum(one.recommendation.kind == "fusion" for one in found)
    assert wrong / worlds < alpha + 2 * np.sqrt(alpha * (1 - alpha) / worlds)
    # the luck is there: the best of the 12 looks better than the best model in most worlds
    lucky = sum(one.rows[0].kind == "fusion" for one in found)
    assert lucky / worlds > 0.8


def test_a_failing_entrant_is_a_row_with_its_error(caplog: pytest.LogCaptureFixture) -> None:
    broken = {"mode": "learned", "min_queries": 10**6, "too_few": "error"}
    result = over(fusions={"broken": broken})
    row = result.row("broken")
    assert row.error.startswith("DataError")
    assert result.rows[-1] is row
    assert [one.name for one in result.failed] == ["broken"]
    assert "broken" in result.markdown()
    assert any("1 of" in note for note in result.notes)
    assert "broken failed" in caplog.text


def test_the_same_again() -> None:
    one = window(200)
    build = engine_config(*one.pool.models).build_strategy
    config = rules(timed=0)
    first, again = (play([one], build, config).to_json() for _ in range(2))
    for each in (first, again):
        for row in each["rows"]:
            row.pop("seconds")
        each["facts"].pop("seconds_playing")
    assert first == again


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    one = window(120)
    build = engine_config(*one.pool.models).build_strategy
    original, played = Contest.play, []

    def killed(self: Contest, entrant: Entrant) -> Played:
        if len(played) == 3:
            raise KeyboardInterrupt
        played.append(entrant.name)
        return original(self, entrant)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Contest, "play", killed)
        with pytest.raises(KeyboardInterrupt):
            play([one], build, rules(), cache=tmp_path)
    seen: list[str] = []

    def counted(self: Contest, entrant: Entrant) -> Played:
        seen.append(entrant.name)
        return original(self, entrant)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Contest, "play", counted)
        result = play([one], build, rules(), cache=tmp_path)
        assert not set(seen) & set(played)
        assert len(seen) + len(played) == len(result.rows)
        seen.clear()
        play([one], build, rules(), cache=tmp_path)
        assert seen == []


@pytest.fixture(scope="module")
def whole(
    tiny: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TournamentResult, Path, EngineConfig]:
    """One real run, with a stacker and the look at the test."""
    out = tmp_path_factory.mktemp("tournament")
    config = tiny_config(stackers=["linear"], test=True, alpha=0.4)
    curve = Curve("Budget", "ms", "NDCG@10", {"rrf": [(1, 0.1), (2, 0.2)]})
    return run_tournament(config, tiny, out=out, extras=[curve]), out, config


def test_from_data_to_files(whole: tuple[TournamentResult, Path, EngineConfig]) -> None:
    result, out, _ = whole
    assert {row.name for row in result.rows} >= {"ease", "rrf", "learned/linear"}
    assert not result.failed
    written = json.loads((out / "tournament.json").read_text("utf-8"))
    assert written == json.loads(json.dumps(result.to_json()))
    assert written["test_looked_at"]
    assert (out / "tournament.md").read_text("utf-8") == result.markdown()
    assert "Budget" in (out / "report.html").read_text("utf-8")
    assert set(result.facts["model_ms"]) == {"ease", "item_knn", "popularity"}
    assert all(row.total_ms for row in result.rows)


def test_the_recommended_fusion_is_an_overlay(
    whole: tuple[TournamentResult, Path, EngineConfig],
) -> None:
    result, out, config = whole
    assert result.engine is not None
    engine = Engine.from_config(config).fit(result.engine.data)
    engine.swap(out / "recommended.yaml")
    assert engine.config.fusion == result.recommendation.fusion


def test_the_test_is_looked_at_by_two_only(
    tiny: Dataset, whole: tuple[TournamentResult, Path, EngineConfig]
) -> None:
    result, _, config = whole
    assert result.test is not None
    names = {result.recommendation.name, result.best_single}
    assert set(result.test.ndcg) == names
    assert (result.test.difference is None) == (len(names) == 1)
    assert (result.test.p is None) == (len(names) == 1)
    test = split_for(config.evaluation, tiny, config.seed)
    assert result.test.queries == len(test)
    assert any("looked at once" in note for note in result.notes)


def test_nobody_ever_saw_the_test(
    tiny: Dataset, whole: tuple[TournamentResult, Path, EngineConfig]
) -> None:
    result, _, config = whole
    test = split_for(config.evaluation, tiny, config.seed)
    assert result.engine is not None
    assert result.engine.data.fingerprint == test.train.fingerprint
    asked = {
        (int(user), int(item)) for user, item in zip(test.users, test.targets.values, strict=True)
    }
    for one in result.engine.windows:
        users = one.pool.queries.users
        assert not asked & {(int(u), int(t)) for u, t in zip(users, one.targets, strict=True)}


def test_a_second_run_fits_nothing(
    tiny: Dataset, whole: tuple[TournamentResult, Path, EngineConfig]
) -> None:
    result, out, config = whole

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "fit", refuse)
        patch.setattr(Engine, "learnt", refuse)
        patch.setattr(Contest, "play", refuse)
        again = run_tournament(config, tiny, out=out)
    assert again.recommendation == result.recommendation
    assert [row.ndcg for row in again.rows] == [row.ndcg for row in result.rows]
    assert again.test == result.test


def test_without_a_look_the_test_stays_shut(tiny: Dataset) -> None:
    result = run_tournament(tiny_config(methods=["rrf"]), tiny)
    assert result.test is None
    assert not result.to_json()["test_looked_at"]


def test_temporal_windows_for_a_temporal_test(tiny: Dataset) -> None:
    config = EngineConfig.from_mapping(
        {**tiny_config(methods=["rrf"]).to_dict(), "evaluation": {"split": "temporal"}}
    )
    result = run_tournament(config, tiny)
    assert result.engine is not None
    assert result.engine.config.stacking is not None
    assert result.engine.config.stacking.window == "temporal"


def test_a_tournament_needs_windows(tiny: Dataset) -> None:
    config = EngineConfig.from_mapping({**MODELS, "stacking": None})
    with pytest.raises(ConfigError, match="stacking window"):
        run_tournament(config, tiny)


def test_progress_goes_to_standard_error(
    tiny: Dataset, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run_tournament(tiny_config(methods=["rrf"]), tiny, progress=True)
    assert capsys.readouterr().out == ""
