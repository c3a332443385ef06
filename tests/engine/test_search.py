import json
import os
from dataclasses import replace

import numpy as np
import optuna
import polars as pl
import pytest
from models_for_search import Counting
from typer.testing import CliRunner

from fusion import Engine
from fusion.benchmark import split_for
from fusion.cli import app
from fusion.config import EngineConfig
from fusion.errors import ConfigError, DataError
from fusion.search import SearchSpace, search
from fusion.search.keeping import tidy
from fusion.search.objective import Objective, validation_windows
from fusion.search.outcome import _tails
from fusion.search.running import _Run
from fusion.search.studying import JOURNAL, sampler

BASE = {
    "seed": 3,
    "retrievers": {"item_knn": {"half_life": None, "shrink": 40.0}, "popularity": {}},
    "fusion": {"mode": "single", "model": "item_knn"},
}
SPACE = {
    "retrievers.item_knn.half_life": {"float": [0.2, 20], "log": True},
    "retrievers.item_knn.k": {"int": [1, 300], "log": True},
}


@pytest.fixture(scope="module")
def config() -> EngineConfig:
    return EngineConfig.from_mapping(BASE)


@pytest.fixture(scope="module")
def found(config, tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("search")
    return search(config, tiny, SPACE, trials=12, out=out), out


def test_the_best_is_the_best_of_what_was_tried(found, config):
    result, _ = found
    assert len(result.trials) == 12
    values = [trial.value for trial in result.trials if trial.state == "complete"]
    assert result.value == max([*values, result.start])
    assert result.value > result.start  # null is far from the best half-life of this data
    assert result.config.retrievers["item_knn"]["half_life"] == pytest.approx(
        result.values["retrievers.item_knn.half_life"]
    )
    assert result.config.retrievers["popularity"] == config.retrievers["popularity"]


def test_its_value_is_what_an_engine_reaches_on_the_window(found, tiny):
    result, _ = found
    past = split_for(result.config.evaluation, tiny, 3).train
    window = split_for(result.config.evaluation, past, 3)
    engine = Engine.from_config(result.config).fit(window.train)
    worth = []
    for query, user in enumerate(window.users):
        target = window.train.catalog.ids[window.targets[query][0]]
        lists = engine.recommend(window.train.users.ids[user], 10)
        rank = next((rec.rank for rec in lists if rec.item_id == target), None)
        worth.append(0.0 if rank is None else 1 / np.log2(1 + rank))
    assert result.value == pytest.approx(np.mean(worth))


def test_the_files(found):
    result, out = found
    again = EngineConfig.from_yaml(out / "best.yaml")
    assert again == result.config
    kept = json.loads((out / "trials.json").read_text("utf-8"))
    assert kept["value"] == result.value
    assert [trial["number"] for trial in kept["trials"]] == list(range(12))


def test_what_told_good_trials_from_bad(config, tiny):
    space = {**SPACE, "retrievers.popularity.n": {"int": [100, 200]}}  # it says nothing here
    result = search(config, tiny, space, trials=20, pruner="none")
    assert sum(result.importance.values()) == pytest.approx(1)
    assert min(result.importance, key=result.importance.get) == "retrievers.popularity.n"
    few = search(config, tiny, space, trials=5, pruner="none")
    assert few.importance == {}


def test_the_same_seed_draws_the_same(found, config, tiny):
    result, _ = found
    again = search(config, tiny, SPACE, trials=12)
    assert [t.values for t in again.trials] == [t.values for t in result.trials]
    assert [t.value for t in again.trials] == [t.value for t in result.trials]


def test_an_interrupted_search_goes_on_as_if_nothing_had_been(found, config, tiny, tmp_path):
    result, _ = found
    search(config, tiny, SPACE, trials=5, out=tmp_path)
    calls = []
    whole = Objective.value

    def killed(self, config, report):
        calls.append(config)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(self, config, report)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "value", killed)
        with pytest.raises(KeyboardInterrupt):
            search(config, tiny, SPACE, trials=12, out=tmp_path)
    again = search(config, tiny, SPACE, trials=12, out=tmp_path)
    assert [t.values for t in again.trials] == [t.values for t in result.trials]
    assert again.value == result.value
    assert [t.number for t in again.trials] == [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]


def test_a_finished_search_fits_nothing_again(found, config, tiny, monkeypatch):
    result, out = found
    monkeypatch.setattr(Objective, "value", None)
    again = search(config, tiny, SPACE, trials=12, out=out)
    assert again.to_json() == result.to_json()


@pytest.mark.parametrize(
    ("change", "said"),
    [({"metric": "HR@5"}, "another metric"), ({"windows": 2}, "another queries")],
)
def test_another_search_does_not_mix_in(found, config, tiny, change, said):
    _, out = found
    with pytest.raises(ConfigError, match=said):
        search(config, tiny, SPACE, trials=13, out=out, **change)


def test_models_that_no_dimension_changes_are_fitted_once(found):
    _, out = found
    fitted = [folder.name.rpartition("-")[0] for folder in (out / "work" / "models").iterdir()]
    assert fitted.count("popularity") == 1
    assert fitted.count("item_knn") == 13  # the start, outside of the space, and 12 trials


def test_a_start_in_the_space_is_the_first_trial(tiny):
    base = {**BASE, "retrievers": {"item_knn": {"half_life": 2.0}}}
    result = search(base, tiny, SPACE, trials=1)
    first = result.trials[0]
    assert first.values == {"retrievers.item_knn.half_life": 2.0, "retrievers.item_knn.k": 200}
    assert result.start == result.value == first.value


def test_a_start_that_is_not_beaten_stays(tiny):
    base = {**BASE, "retrievers": {"item_knn": {"half_life": None}, "popularity": {}}}
    base["fusion"] = {"mode": "single", "model": "popularity"}
    result = search(base, tiny, SPACE, trials=3)
    assert result.config == EngineConfig.from_mapping(base)
    assert result.values == {}


def test_no_test_event_is_looked_at(config, tiny):
    test = split_for(config.evaluation, tiny, config.seed)
    windows = validation_windows(config, tiny, 3)
    allowed = test.train
    for window in windows:
        before = set(zip(allowed.interactions.users, allowed.interactions.items, strict=True))
        asked = set(zip(window.users, window.targets.values, strict=True))
        seen = set(
            zip(window.train.interactions.users, window.train.interactions.items, strict=True)
        )
        assert asked | seen == before
        assert not asked & seen
        allowed = window.train


def test_changing_the_test_events_changes_nothing(config, tiny):
    # every user's last event goes to another item
    test = split_for(config.evaluation, tiny, config.seed)
    mask = np.ones(len(tiny), bool)
    mask[tiny.offsets[1:] - 1] = False
    assert len(test.train) == mask.sum()
    items = tiny.interactions.items.copy()
    for user in range(tiny.n_users):
        met = items[tiny.offsets[user] : tiny.offsets[user + 1]]
        items[tiny.offsets[user + 1] - 1] = np.setdiff1d(np.arange(tiny.n_items), met)[0]
    other = replace(tiny, interactions=replace(tiny.interactions, items=items))
    assert (items != tiny.interactions.items).sum() == tiny.n_users
    for left, right in zip(
        validation_windows(config, tiny), validation_windows(config, other), strict=True
    ):
        assert left.train.fingerprint == right.train.fingerprint
        np.testing.assert_array_equal(left.targets.values, right.targets.values)


def test_too_few_events_for_so_many_windows(config, tiny):
    with pytest.raises(DataError, match=r"events for 20 window\(s\), got for 10"):
        search(config, tiny, SPACE, windows=20)


@pytest.mark.parametrize("metric", ["NDCG", "NGCD@10", "NDCG@0", "NDCG@ten"])
def test_a_metric_that_is_none(config, tiny, metric):
    with pytest.raises(ConfigError, match="a metric like NDCG@10"):
        search(config, tiny, SPACE, metric=metric)


def test_a_timeout_before_the_first_trial(config, tiny):
    base = {**BASE, "retrievers": {"item_knn": {"half_life": 2.0}}}
    with pytest.raises(ConfigError, match="time for one trial"):
        search(base, tiny, SPACE, timeout=0)


def test_values_that_contradict_each_other_are_refused_one_by_one(tiny):
    base = {
        **BASE,
        "fusion": {
            "mode": "serial",
            "stages": [
                {"models": ["item_knn"], "keep": 10},
                {"models": ["popularity"], "keep": 8},
            ],
        },
    }
    space = {"fusion.stages.0.keep": {"int": [5, 20]}, "fusion.stages.1.keep": {"int": [5, 20]}}
    result = search(base, tiny, space, trials=8)
    refused = [trial for trial in result.trials if trial.state == "refused"]
    assert 0 < len(refused) < 8
    for trial in result.trials:
        wrong = trial.values["fusion.stages.0.keep"] < trial.values["fusion.stages.1.keep"]
        assert wrong == (trial.state == "refused") == bool(trial.reason)


def test_a_trial_reports_its_parts_and_can_be_given_up(config, tiny, tmp_path, monkeypatch):
    split = validation_windows(config, tiny)[0]
    split = split.take(np.tile(np.arange(len(split)), 1))
    monkeypatch.setattr("fusion.search.objective._parts", lambda split: 4)
    objective = Objective([split], "HR@10", tmp_path)
    said = []
    value = objective.value(config, lambda step, so_far: said.append((step, so_far)))
    assert [step for step, _ in said] == list(range(objective.steps)) == [0, 1, 2, 3]
    assert said[-1][1] == value  # a running mean ends at the mean


def test_the_retrievers_are_judged_before_a_ranker_is_fitted(tiny, tmp_path):
    config = EngineConfig.from_mapping(
        {**BASE, "rankers": {"counting": {"type": "models_for_search:Counting"}}}
    )
    Counting.fits = 0
    steps = []

    def stop(step, value):
        steps.append((step, Counting.fits))
        raise optuna.TrialPruned

    objective = Objective(validation_windows(config, tiny), "HR@10", tmp_path, True)
    with pytest.raises(optuna.TrialPruned):
        objective.value(config, stop)
    assert steps == [(0, 0)]
    assert objective.steps == 2
    objective.value(config)
    assert Counting.fits == 1


def test_bad_trials_are_pruned_but_never_the_start(tiny, monkeypatch):
    monkeypatch.setattr("fusion.search.objective._parts", lambda split: 2)
    base = {**BASE, "retrievers": {"item_knn": {"half_life": 1.0}, "popularity": {}}}
    space = {"retrievers.item_knn.half_life": {"float": [0.2, 500], "log": True}}
    result = search(base, tiny, space, trials=20)
    states = [trial.state for trial in result.trials]
    assert states[0] == "complete"
    assert "pruned" in states
    assert set(states[:5]) == {"complete"}  # the median of fewer than five says nothing
    unpruned = search(base, tiny, space, trials=8, pruner="none")
    assert {trial.state for trial in unpruned.trials} == {"complete"}
    assert search(base, tiny, space, trials=6, pruner="hyperband").trials[0].state == "complete"


def test_a_learned_fusion_learns_on_a_window_before_the_validation(tiny, tmp_path):
    config = EngineConfig.from_mapping(
        {
            "retrievers": {"item_knn": {}, "popularity": {}},
            "fusion": {"mode": "tuned", "weights": True, "folds": 0,
                       "fusion": {"mode": "parallel", "method": "weighted_sum"}},
        }
    )  # fmt: skip
    space = {"stacking.events": {"int": [1, 2]}}
    result = search(config, tiny, space, trials=2, out=tmp_path)
    assert [trial.state for trial in result.trials] == ["complete", "complete"]
    run = _Run(SearchSpace.read(space, config), None, None, 0, progress=False)
    assert run.varying == {"item_knn", "popularity"}  # other windows, other models


def test_two_windows_are_averaged_over_their_queries(config, tiny, tmp_path):
    both = validation_windows(config, tiny, 2)
    alone = [Objective([w], "NDCG@10", tmp_path).value(config) for w in both]
    sizes = [len(window) for window in both]
    expected = np.average(alone, weights=sizes)
    assert Objective(both, "NDCG@10", tmp_path).value(config) == pytest.approx(expected)


def test_max_queries_draws_from_the_seed(config, tiny):
    one, two = (validation_windows(config, tiny, 1, 7)[0] for _ in range(2))
    assert len(one) == 7
    np.testing.assert_array_equal(one.users, two.users)


def test_the_disk_is_kept_within_its_limit(tmp_path):
    for age, name in enumerate(["shared-0", "knn-0", "knn-1", "knn-2"]):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x" * 100)
        os.utime(folder, (1000 + age, 1000 + age))
    (tmp_path / "checkpoints" / "key").mkdir(parents=True)
    tidy(tmp_path, {"knn"}, 250)
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["knn-2", "shared-0"]
    assert not (tmp_path / "checkpoints").exists()
    tidy(tmp_path, {"knn"}, 0)
    assert not list((tmp_path / "models").iterdir())
    tidy(tmp_path / "nothing", set(), 0)


def test_trials_have_generators_of_their_own():
    seeds = {sampler(0, done)._rng.rng.random_sample() for done in range(5)}
    assert len(seeds) == 5


def test_optuna_is_told_to_be_silent_only_meanwhile(config, tiny):
    before = optuna.logging.get_verbosity()
    search(config, tiny, SPACE, trials=1)
    assert optuna.logging.get_verbosity() == before


@pytest.fixture
def files(tiny, tmp_path):
    events = tiny.interactions
    ids = tiny.users.ids, tiny.catalog.ids
    pl.DataFrame(
        {
            "user_id": [ids[0][u] for u in events.users],
            "item_id": [ids[1][i] for i in events.items],
            "timestamp": events.times,
        }
    ).write_csv(tmp_path / "met.csv")
    (tmp_path / "engine.yaml").write_text(
        "data: {source: tables, interactions: met.csv}\n"
        "retrievers: {item_knn: {half_life: null}}\nfusion: {mode: single, model: item_knn}\n"
    )
    (tmp_path / "space.yaml").write_text("retrievers.item_knn.half_life: {float: [0.5, 9]}\n")
    return tmp_path


def test_paths_in_a_table_are_as_short_as_they_may_be():
    assert _tails(["retrievers.a.k", "retrievers.b.k"]) == ["a.k", "b.k"]
    assert _tails(["x.0.a.k", "x.1.a.k"]) == ["0.a.k", "1.a.k"]
    assert _tails(["seed", "retrievers.a.k"]) == ["seed", "a.k"]
    assert _tails([]) == []


def test_the_command(files):
    words = ["tune", str(files / "engine.yaml"), "--space", str(files / "space.yaml")]
    words += ["--out", str(files / "runs" / "one"), "--trials", "3", "--quiet"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "best 0." in done.output
    assert (files / "runs" / "one" / JOURNAL).is_file()
    best = EngineConfig.from_yaml(files / "runs" / "one" / "best.yaml")
    assert best.data["interactions"] == str(files / "met.csv")  # readable from its new place
    again = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(again.stdout)["config"] == EngineConfig.from_yaml(
        files / "engine.yaml"
    ).to_dict() | {"retrievers": best.to_dict()["retrievers"]}


def test_the_command_refuses_before_it_reads_the_data(files):
    (files / "met.csv").unlink()
    (files / "space.yaml").write_text("retrievers.item_knn.half_live: {float: [0.5, 9]}\n")
    words = ["tune", str(files / "engine.yaml"), "--space", str(files / "space.yaml")]
    done = CliRunner().invoke(app, [*words, "--out", str(files / "o"), "--quiet"])
    assert isinstance(done.exception, ConfigError)
    assert "space.yaml:1:1" in str(done.exception)
    assert "did you mean 'retrievers.item_knn.half_life'?" in str(done.exception)
    done = CliRunner().invoke(app, [*words, "--out", str(files / "o"), "--pruner", "x"])
    assert "median or hyperband or none" in str(done.exception)
