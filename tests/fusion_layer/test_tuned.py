from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pools import EVERYTHING, PAST, MemoryPool, candidates_of, pool_of, window_of
from pydantic import ValidationError
from tiny_data import GENRES, tiny_frames

from fusion.candidates import Candidates
from fusion.config import EngineConfig
from fusion.data.dataset import Dataset
from fusion.engine import Engine
from fusion.errors import ConfigError, DataError, LeakageError, NotFittedError
from fusion.protocols import FitContext, Labelled
from fusion.ragged import Ragged
from fusion.strategies.learned import Learned
from fusion.strategies.parallel import Parallel
from fusion.strategies.tuned import Tuned
from fusion.tuning.segments import NO_DOMAIN

CONTEXT = FitContext(seed=3)
WEIGHTED = {"mode": "parallel", "method": {"name": "weighted_sum", "normalization": "z_score"}}
SERIAL = {
    "mode": "serial",
    "stages": [
        {"models": ["strong", "weak"], "keep": 20},
        {"models": ["strong", "weak"], "method": WEIGHTED["method"]},
    ],
}
PRIOR = {"mode": "parallel", "method": {"name": "weighted_sum", "missing": {"cold": "prior"}}}


def tuned(*windows: Labelled, context: FitContext = CONTEXT, **config: Any) -> Tuned:
    strategy = Tuned({"fusion": WEIGHTED, "weights": True, "folds": 0, **config}, name="tuned")
    strategy.fit(windows, context)
    return strategy


def with_histories(window: Labelled, lengths: list[int]) -> Labelled:
    pool = window.pool
    assert isinstance(pool, MemoryPool)
    history = Ragged.of([[1] * n for n in lengths])
    h = len(history.values)
    queries = replace(
        pool.queries, history=history, times=np.zeros(h), ratings=np.zeros(h, np.float32)
    )
    return replace(window, pool=replace(pool, queries=queries))


@pytest.fixture(scope="module")
def window() -> Labelled:
    return window_of(120)


# --- what it finds ---------------------------------------------------------------------------


@pytest.mark.parametrize("search", ["coordinate", "grid", "optuna"])
def test_a_strong_model_is_given_the_weight(window: Labelled, search: str) -> None:
    strategy = tuned(window, search=search, trials=40)
    weights = strategy.report.weights["weights"]
    assert weights["strong"] > 0.6
    assert sum(weights.values()) == pytest.approx(1)
    later = window_of(300, seed=1)
    ours = tuned_value(strategy, later)
    assert ours > tuned_value(Parallel({"method": WEIGHTED["method"]}), later) + 0.05


def tuned_value(strategy: Any, window: Labelled) -> float:
    fused = strategy.fuse(window.pool)
    own = fused.scores[window.labels(fused.candidates) > 0]
    ahead = fused.scores > own[fused.candidates.rows]
    rank = 1 + np.bincount(fused.candidates.rows[ahead], minlength=len(own))
    return float(np.where(rank <= 10, 1 / np.log2(rank + 1), 0).mean())


def test_it_fuses_as_what_it_found(window: Labelled) -> None:
    strategy = tuned(window)
    pool = window_of(20, seed=1).pool
    weights = strategy.report.weights["weights"]
    expected = Parallel({"method": WEIGHTED["method"], "weights": weights}).fuse(pool)
    fused = strategy.fuse(pool)
    np.testing.assert_array_equal(fused.scores, expected.scores)
    np.testing.assert_array_equal(fused.contributions, expected.contributions)
    assert fused.parts == expected.parts
    assert strategy.fusion == {"models": None, **strategy.fusion, "weights": weights}
    # what it found stands in a YAML as it is
    settings = {key: value for key, value in strategy.fusion.items() if key != "mode"}
    np.testing.assert_array_equal(Parallel(settings).fuse(pool).scores, fused.scores)


def test_the_report_tells_what_it_is_worth(window: Labelled) -> None:
    report = tuned(window, folds=4).report
    assert report.queries == 120
    assert report.start < report.in_sample
    assert report.start == report.trials[0].value
    assert report.in_sample == max(trial.value or 0 for trial in report.trials)
    assert report.in_sample == pytest.approx(tuned_value(tuned(window), window))
    assert report.estimate is not None
    assert report.gain is not None
    assert report.estimate.low < report.estimate.mean < report.estimate.high
    assert report.gain.mean == pytest.approx(report.estimate.mean - report.start)
    assert report.gain.p < 0.01
    assert tuned(window).report.estimate is None


def test_the_same_seed_gives_the_same(window: Labelled) -> None:
    settings = {"search": "optuna", "trials": 15, "folds": 2}
    one, same, other = (
        tuned(window, context=FitContext(seed), **settings).report.to_json() for seed in (3, 3, 4)
    )
    for report in (one, same, other):
        del report["seconds"]
    assert one == same != other


def test_several_windows_teach_together(window: Labelled) -> None:
    assert tuned(window, window_of(30, seed=2)).report.queries == 150


def test_stages_have_weights_and_parameters(window: Labelled) -> None:
    strategy = tuned(
        window,
        fusion=SERIAL,
        space={"stages.0.keep": {"low": 5, "high": 40, "log": True}, "stages.0.method.k": [1, 60]},
        trials=40,
    )
    report = strategy.report
    assert set(report.weights) == {"stages.0.weights", "stages.1.weights"}
    assert report.weights["stages.1.weights"]["strong"] > 0.5
    stages = strategy.fusion["stages"]
    assert stages[0]["keep"] == report.parameters["stages.0.keep"]
    assert stages[0]["method"]["k"] == report.parameters["stages.0.method.k"]
    assert strategy.fuse(window.pool).parts == ("strong", "weak", "cascade")


def test_fusions_below_are_tuned_with_the_one_on_top() -> None:
    window = window_of(80, noise={"a": 0.5, "b": 1.5, "c": 30.0})
    strategy = tuned(
        window,
        fusion={**WEIGHTED, "models": ["two", "c"], "fusions": {"two": {"models": ["a", "b"]}}},
        space={"fusions.two.method.k": [1, 60], "fusions.two.method.missing.cold": ["nan"]},
        trials=60,
    )
    report = strategy.report
    assert set(report.weights) == {"weights", "fusions.two.weights"}
    assert report.weights["weights"]["two"] > 0.7
    assert report.weights["fusions.two.weights"]["a"] > 0.5
    assert strategy.fusion["fusions"]["two"]["method"]["k"] == 1
    assert strategy.fuse(window.pool).parts == ("two", "c")


# --- segments --------------------------------------------------------------------------------

SEGMENTS = {"by": "history_length", "edges": [5], "prior": 0, "min_queries": 10}


def two_tastes(n: int = 120, seed: int = 0) -> Labelled:
    """Short histories: `a` is right; long ones: `b`."""
    window = window_of(n, seed=seed, noise={"a": 0.6, "b": 0.6})
    pool = window.pool
    assert isinstance(pool, MemoryPool)
    late = (np.arange(n) % 2)[pool.union.rows] > 0
    noise = np.random.default_rng(seed).normal(size=len(late)).astype(np.float32) * 60
    pool.union.scores[:, 0] += np.where(late, noise, 0)
    pool.union.scores[:, 1] += np.where(late, 0, noise)
    return with_histories(window, [2 + 7 * (q % 2) for q in range(n)])


@pytest.fixture(scope="module")
def segmented() -> Tuned:
    return tuned(two_tastes(), segments=SEGMENTS)


def test_each_query_has_its_segments_weights(segmented: Tuned) -> None:
    report = segmented.report
    assert set(report.segments) == {"0-4", "5+"}
    short, long = (report.segments[name].weights["weights"] for name in ("0-4", "5+"))
    assert short["a"] > 0.7 > 0.3 > long["a"]
    window = two_tastes(20, seed=1)
    fused = segmented.fuse(window.pool)
    for q in range(20):
        weights = long if q % 2 else short
        alone = window.pool.take(np.array([q]))
        expected = Parallel({"method": WEIGHTED["method"], "weights": weights}).fuse(alone)
        rows = slice(*fused.candidates.offsets[q : q + 2].tolist())
        np.testing.assert_array_equal(fused.candidates.items[rows], expected.candidates.items)
        np.testing.assert_array_equal(fused.scores[rows], expected.scores)
        inside = np.arange(rows.start, rows.stop)
        np.testing.assert_array_equal(fused.explain(inside), expected.contributions)


def test_batch_equals_single(segmented: Tuned) -> None:
    pool = two_tastes(9, seed=1).pool
    batch = segmented.fuse(pool)
    alone = [segmented.fuse(pool.take(np.array([q]))) for q in range(9)]
    np.testing.assert_array_equal(batch.scores, np.concatenate([one.scores for one in alone]))
    np.testing.assert_array_equal(
        batch.contributions, np.concatenate([one.contributions for one in alone])
    )
    np.testing.assert_allclose(batch.contributions.sum(axis=1), batch.scores)


def test_a_batch_in_two_segments_asks_for_each_row_once(segmented: Tuned) -> None:
    pool = two_tastes(8, seed=1).pool
    assert isinstance(pool, MemoryPool)
    segmented.fuse(pool)
    assert sum(rows for _, rows in pool.asked) == 8 * 40


def test_no_queries(segmented: Tuned) -> None:
    pool = two_tastes(4).pool.take(np.empty(0, np.int64))
    assert len(segmented.fuse(pool).scores) == 0


def test_a_segment_by_its_name_alone() -> None:
    config = Tuned.Config.model_validate({"fusion": WEIGHTED, "weights": True, "segments": "cold"})
    assert config.segments.bind(None, "test").names == ("cold", "warm")


def test_segments_by_domain_through_an_engine(tmp_path: Path) -> None:
    inner = {"method": {"name": "weighted_sum"}}
    segments = {"by": "domain", "min_queries": 3}
    fusion = {"mode": "tuned", "fusion": inner, "weights": True, "folds": 0, "segments": segments}
    engine = Engine.from_config(
        {"retrievers": {"item_transition": {}, "popularity": {}}, "fusion": fusion}
    ).fit(Dataset.from_frames(*tiny_frames()))
    assert isinstance(engine.strategy, Tuned)
    assert set(engine.strategy.report.segments) == {*GENRES, NO_DOMAIN}
    engine.save(tmp_path / "engine")
    again = Engine.load(tmp_path / "engine")
    for user in ("u0", "u1", "u2"):
        assert again.recommend(user, 5) == engine.recommend(user, 5)


# --- kept ------------------------------------------------------------------------------------


def test_what_is_saved_gives_the_same(segmented: Tuned, tmp_path: Path) -> None:
    segmented.save(tmp_path)
    assert [p.name for p in tmp_path.rglob("*")] == ["tuned.json"]
    again = Tuned(segmented.config, name="tuned")
    again.load(tmp_path)
    pool = two_tastes(9, seed=1).pool
    before, after = segmented.fuse(pool), again.fuse(pool)
    np.testing.assert_array_equal(after.scores, before.scores)
    np.testing.assert_array_equal(after.contributions, before.contributions)
    assert again.report == segmented.report
    assert again.uses(("a", "b")) == ("a", "b")


def test_before_anything_was_tuned(tmp_path: Path) -> None:
    strategy = Tuned({"fusion": WEIGHTED, "weights": True}, name="mine")
    assert strategy.learns
    for asked in (
        lambda: strategy.fuse(pool_of(candidates_of([{1: (1, 2)}]))),
        lambda: strategy.report,
        lambda: strategy.save(tmp_path),
    ):
        with pytest.raises(NotFittedError, match="fusion mine: expected a tuned fusion"):
            asked()


def test_other_models_than_it_was_tuned_with(window: Labelled) -> None:
    pool = window.pool
    assert isinstance(pool, MemoryPool)
    renamed = pool.with_union(replace(pool.union, models=("strong", "other")))
    with pytest.raises(NotFittedError, match="tuned with, strong, weak, got strong, other"):
        tuned(window).fuse(renamed)


# --- fusions that learn ----------------------------------------------------------------------


def cold(window: Labelled) -> Labelled:
    """Every third item is cold to the first model."""
    pool = window.pool
    assert isinstance(pool, MemoryPool)
    scores, why = pool.union.scores.copy(), pool.union.why.copy()
    gone = pool.union.items % 3 == 0
    scores[gone, 0], why[gone, 0] = np.nan, 2
    union: Candidates = replace(pool.union, scores=scores, why=why)
    return replace(window, pool=pool.with_union(union))


def test_a_fusion_that_learns_learns_in_the_end_from_all(tmp_path: Path) -> None:
    window = cold(window_of(60))
    strategy = tuned(window, fusion=PRIOR, trials=6, folds=2)
    pool = cold(window_of(10, seed=1)).pool
    expected = Parallel({"method": PRIOR["method"], "weights": strategy.fusion["weights"]})
    expected.fit([window], CONTEXT)
    np.testing.assert_array_equal(strategy.fuse(pool).scores, expected.fuse(pool).scores)
    strategy.save(tmp_path)
    assert (tmp_path / "fusion-0" / "method.json").is_file()
    again = Tuned(strategy.config)
    again.load(tmp_path)
    np.testing.assert_array_equal(again.fuse(pool).scores, strategy.fuse(pool).scores)


def test_settings_of_a_stacker_are_dimensions() -> None:
    quick = {"name": "linear"}
    strategy = tuned(
        window_of(60),
        fusion={"mode": "learned", "stacker": quick},
        weights=False,
        space={"stacker": [quick, {"name": "greedy", "steps": 3, "bags": 1}]},
        search="grid",
        folds=2,
    )
    assert len(strategy.report.trials) == 2
    assert strategy.report.estimate is not None
    inner = strategy._fitted.strategies[0]
    assert isinstance(inner, Learned)
    assert inner.taught == (60,)


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize("seen", [EVERYTHING, None])
def test_a_model_that_saw_the_future_is_refused(window: Labelled, seen: Any) -> None:
    late = replace(window, provenance={"strong": PAST, "weak": seen})
    with pytest.raises(LeakageError, match="fusion tuned: model 'weak'"):
        tuned(window, late)
    tuned(late, fusion={**WEIGHTED, "models": ["strong"]}, weights=False, space={"method": ["rrf"]})
    # a model that only one of the choices asks is looked at too
    with pytest.raises(LeakageError, match="fusion tuned: model 'weak'"):
        tuned(
            late,
            fusion={"mode": "parallel", "models": ["strong"]},
            weights=False,
            space={"models": [["strong"], ["strong", "weak"]]},
        )


def test_nothing_to_learn_from() -> None:
    with pytest.raises(DataError, match="fusion tuned: expected a window with queries"):
        tuned()
    with pytest.raises(DataError, match="a window with queries"):
        tuned(window_of(3).take(np.empty(0, np.int64)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"weights": False}, "space.*something to tune"),
        ({"space": {"method.normalisation": ["rank"]}}, "did you mean 'method.normalization'"),
        ({"space": {"method.normalization": ["rank", "ranks"]}}, "did you mean 'rank'"),
        ({"space": {"method.normalization": []}}, "at least 1 item"),
        ({"space": {"stages.0.keep": [1]}}, "expected one of the keys"),
        ({"step": 0.3}, "step.*1 divided by a whole number"),
        ({"folds": 1}, "folds.*2 folds or more"),
        ({"metric": "NDGC@10"}, "metric.*like NDCG@10"),
        ({"weights": False, "space": {"method": ["rrf"]}, "segments": "cold"}, "segments.*true"),
        ({"segments": "colour"}, "history_length"),
        ({"search": "random"}, "coordinate"),
    ],
)
def test_configs_that_do_not_say_what_to_do(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s){message}"):
        Tuned({"fusion": WEIGHTED, "weights": True, **config})


def test_weights_that_could_not_matter_are_refused_for_the_engine() -> None:
    strategy = Tuned({"fusion": {"mode": "single", "model": "a"}, "weights": True}, name="mine")
    with pytest.raises(ConfigError, match="fusion mine: weights: true: expected a fusion with"):
        strategy.uses(("a", "b"))


def test_faults_stand_at_their_place_in_a_yaml(tmp_path: Path) -> None:
    path = tmp_path / "engine.yaml"
    path.write_text(
        "retrievers: {popularity: {}, ease: {}}\n"
        "fusion:\n"
        "  mode: tuned\n"
        "  fusion: {mode: parallel, method: rrf}\n"
        "  space:\n"
        "    method.k: [10, 60]\n"
        "    method.kk: [10, 60]\n",
        "utf-8",
    )
    with pytest.raises(ConfigError) as caught:
        EngineConfig.from_yaml(path)
    assert "engine.yaml:7:" in str(caught.value)
    assert "fusion.space.method.kk: expected one of the keys k, missing, name" in str(caught.value)
    assert "did you mean 'method.k'?" in str(caught.value)


def test_a_configuration_is_complete_and_comes_back() -> None:
    raw = {
        "retrievers": {"popularity": {}, "ease": {}},
        "fusion": {
            "mode": "tuned",
            "fusion": {"method": "weighted_sum"},
            "weights": True,
            "space": {
                "method.normalization": ["rank"],
                "method.missing.cold": ["nan", "lowest"],
            },
            "segments": "history_length",
        },
    }
    config = EngineConfig.from_mapping(raw)
    assert config.fusion["segments"]["edges"] == [5, 20]
    assert config.fusion["fusion"]["mode"] == "parallel"
    assert EngineConfig.from_mapping(config.to_dict()) == config
    assert isinstance(config.build_strategy(), Tuned)
