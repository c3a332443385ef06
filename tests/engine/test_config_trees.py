"""Trees of fusions in a configuration: what is right, what is wrong and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fusion.config import EngineConfig
from fusion.config_schema import json_schema
from fusion.data.dataset import Dataset
from fusion.engine import Engine
from fusion.errors import ConfigError
from fusion.protocols import ComponentConfig, Fused, Pool, Strategy
from fusion.strategies.parallel import Parallel
from fusion.strategies.tree import Tree

MODELS = {"retrievers": {"ease": {}, "knn": {"type": "item_knn"}, "popularity": {}}}
CHEAP = {"mode": "parallel", "models": ["ease", "knn"], "method": "weighted_sum"}
TREE = {
    "mode": "serial",
    "fusions": {"cheap": {**CHEAP, "keep": 50}},
    "stages": [
        {"models": ["cheap"], "keep": 20},
        {"fusion": {"mode": "single", "model": "popularity"}},
    ],
    "keep": 5,
}


def config_of(fusion: Any, **more: Any) -> EngineConfig:
    return EngineConfig.from_mapping({**MODELS, "fusion": fusion, **more})


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes ``engine.yaml`` into the current folder, so that messages show a short name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        Path("engine.yaml").write_text(text, "utf-8")
        return Path("engine.yaml")

    return write


# --- what is right ----------------------------------------------------------------------------


def test_defaults_are_filled_in_at_every_depth() -> None:
    fusion = config_of(TREE).fusion
    assert fusion["fusions"]["cheap"]["method"]["normalization"] == {"name": "min_max"}
    assert fusion["stages"][0]["method"]["name"] == "rrf"
    assert fusion["stages"][1] == {
        "fusion": {"mode": "single", "model": "popularity"},
        "keep": None,
    }
    deep = config_of({"fusions": {"x": {"fusions": {"y": {"models": ["ease"]}}}}}).fusion
    assert deep["fusions"]["x"]["fusions"]["y"]["method"]["name"] == "rrf"


def test_keys_that_say_nothing_leave_no_trace() -> None:
    plain = config_of({})
    assert config_of({"fusions": {}, "keep": None}) == plain
    assert "fusions" not in plain.fusion
    assert "keep" not in plain.fusion
    assert type(plain.build_strategy()) is Parallel


def test_the_hash_is_of_the_whole_tree_s_meaning() -> None:
    base = config_of(TREE)
    spelled = json.loads(json.dumps(TREE))
    spelled["fusions"]["cheap"]["method"] = {"name": "weighted_sum", "normalization": "min_max"}
    spelled["stages"][0]["method"] = {"name": "rrf", "k": 60}
    assert config_of(spelled).hash == base.hash
    for path, value in ((("fusions", "cheap", "keep"), 49), (("keep",), 6)):
        changed: Any = json.loads(json.dumps(TREE))
        inside = changed
        for part in path[:-1]:
            inside = inside[part]
        inside[path[-1]] = value
        assert config_of(changed).hash != base.hash


def test_a_tree_round_trips() -> None:
    config = config_of(TREE)
    again = EngineConfig.from_mapping(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.to_dict() == config.to_dict()


def test_trees_stand_wherever_a_fusion_stands() -> None:
    config = config_of({}, evaluation={"fusions": {"tree": TREE}})
    strategy = config.build_strategy(config.evaluation.fusions["tree"])
    assert isinstance(strategy, Tree)
    assert strategy.uses(("ease", "knn", "popularity")) == ("ease", "knn", "popularity")
    tuned = {"mode": "tuned", "space": {"fusions.cheap.method.normalization": ["min_max", "rank"]}}
    inside = {"models": ["cheap", "popularity"], "fusions": {"cheap": CHEAP}}
    assert config_of({**tuned, "fusion": inside}).fusion["fusion"]["fusions"]["cheap"]


class HasKeepConfig(ComponentConfig):
    keep: int = 3


class HasKeep(Strategy):
    """A third party's strategy with a key of its own called ``keep``, which stays its own."""

    Config = HasKeepConfig

    def uses(self, models: tuple[str, ...]) -> tuple[str, ...]:
        return models

    def fuse(self, pool: Pool) -> Fused:
        rows = pool.complete(pool.candidates(), pool.models)
        scores = np.nan_to_num(rows.scores).sum(axis=1).astype(np.float64)
        return Fused.of(rows, scores, ("all",), scores[:, None])


def test_a_strategy_of_a_third_party_may_stand_anywhere_and_have_fusions_below_it() -> None:
    mode = f"{HasKeep.__module__}:HasKeep"
    tree = config_of({"mode": mode, "fusions": {"cheap": CHEAP}}).build_strategy()
    assert isinstance(tree, Tree)
    assert isinstance(tree.top, HasKeep)
    assert tree.top.config.keep == 3
    assert isinstance(config_of({"mode": mode, "keep": 7}).build_strategy(), HasKeep)
    below = config_of({"fusions": {"theirs": {"mode": mode}}}).build_strategy()
    assert below.uses(("ease", "knn")) == ("ease", "knn")


def test_a_tree_recommends_is_swapped_in_and_survives_saving(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    users = [f"u{u}" for u in range(40) for _ in range(8)]
    items = [f"i{i}" for _ in range(40) for i in rng.choice(30, 8, replace=False)]
    table = pa.table({"user_id": users, "item_id": items, "timestamp": range(len(users))})
    engine = Engine.from_config(config_of({})).fit(Dataset.from_frames(table))
    before = engine.recommend("u1", k=5)
    engine.swap({"fusion": TREE})
    recs = engine.recommend("u1", k=10)
    assert len(recs) == 5  # keep: 5
    for rec in recs:
        assert rec.score == pytest.approx(sum(rec.contributions.values()))
    learned = {
        "mode": "learned",
        "stacker": "linear",
        "models": ["cheap", "popularity"],
        "fusions": {"cheap": {**CHEAP, "keep": 20}},
    }
    engine.swap({"fusion": learned})
    recs = engine.recommend("u1", k=5)
    assert {"cheap", "popularity"} <= set(recs[0].contributions)
    engine.save(tmp_path / "engine")
    again = Engine.load(tmp_path / "engine").recommend("u1", k=5)
    assert [rec.item_id for rec in again] == [rec.item_id for rec in recs]
    np.testing.assert_array_equal([rec.score for rec in again], [rec.score for rec in recs])
    engine.swap({"fusion": {}})
    assert [r.item_id for r in engine.recommend("u1", k=5)] == [r.item_id for r in before]


# --- what is wrong ----------------------------------------------------------------------------

HEAD = "retrievers: {ease: {}, popularity: {}}\n"


@pytest.mark.parametrize(
    ("text", "start", "parts"),
    [
        pytest.param(
            "fusion:\n  fusions:\n    cheap:\n      methd: rrf\n",
            "5:7: fusion.fusions.cheap.methd:",
            ["one of the keys fusions, keep, method, missing", "did you mean 'method'?"][1:],
            id="a typo in a key of a sub-fusion",
        ),
        pytest.param(
            "fusion:\n  fusion: {}\n", "3:3: fusion.fusion:",
            ["one of the keys fusions, keep, method, mode", "did you mean 'fusions'?"],
            id="a typo in fusions",
        ),
        pytest.param(
            "fusion:\n  fusions:\n    cheap: {mode: paralel}\n",
            "4:19: fusion.fusions.cheap.mode:", ["did you mean 'parallel'?"],
            id="a typo in the mode of a sub-fusion",
        ),
        pytest.param(
            "fusion:\n  fusions:\n    cheap: {method: {name: rrf, kk: 3}}\n",
            "4:33: fusion.fusions.cheap.method.kk:", ["got 'kk'", "did you mean 'k'?"],
            id="a typo in a setting of a method of a sub-fusion",
        ),
        pytest.param(
            "fusion:\n  fusions:\n    cheap:\n      models: [eas]\n",
            "5:7: fusion.fusions.cheap:",
            ["one of the models ease, popularity, got 'eas'", "did you mean 'ease'?"],
            id="a typo in a model of a sub-fusion",
        ),
        pytest.param(
            "fusion:\n  models: [chea, ease]\n  fusions:\n    cheap: {models: [ease]}\n",
            "3:3: fusion:",
            ["one of the models cheap, ease, popularity", "did you mean 'cheap'?"],
            id="a typo in the name of a sub-fusion",
        ),
        pytest.param(
            "fusion:\n  mode: serial\n  stages:\n    - {models: [ease], keep: 9}\n"
            "    - fusion:\n        models: [popularty]\n",
            "7:9: fusion.stages.1.fusion:", ["did you mean 'popularity'?"],
            id="a typo in a fusion inside a stage",
        ),
        pytest.param(
            "fusion:\n  mode: serial\n  stages:\n    - {fusion: {method: rff}}\n",
            "5:25: fusion.stages.0.fusion.method:", ["did you mean 'rrf'?"],
            id="a typo in a method inside a stage",
        ),
        pytest.param(
            "fusion:\n  fusions:\n    ease: {models: [popularity]}\n",
            "4:5: fusion.fusions.ease:", ["a name that no model has, got 'ease'"],
            id="a sub-fusion named like a model",
        ),
        pytest.param(
            "fusion:\n  fusions:\n    cascade: {}\n",
            "4:5: fusion.fusions.cascade:", ["a name other than"],
            id="a sub-fusion with a reserved name",
        ),
        pytest.param(
            "fusion:\n  models: [ease]\n  fusions:\n    cheap: {}\n",
            "3:3: fusion:", ["every sub-fusion to be used", "'cheap' unused"],
            id="a sub-fusion that nobody uses",
        ),
        pytest.param(
            "fusion: {keep: 0}\n", "2:16: fusion.keep:", ["greater than or equal to 1"],
            id="a cutoff of nothing",
        ),
        pytest.param(
            "fusion: {fusions: [rrf]}\n", "2:19: fusion.fusions:", ["a mapping, got the list"],
            id="a list of fusions",
        ),
        pytest.param(
            "fusion:\n  mode: serial\n  stages:\n"
            "    - {fusion: {models: [ease]}, models: [ease], keep: 3}\n",
            "5:7: fusion.stages.0:", ["models with their method, or a fusion", "both (models)"],
            id="a stage of both kinds",
        ),
        pytest.param(
            "fusion:\n  mode: serial\n  stages:\n    - {fusion: {models: [ease]}}\n"
            "    - {models: [ease]}\n",
            "3:3: fusion:", ["stage 1: expected how many candidates it keeps"],
            id="a stage that cuts nothing",
        ),
        pytest.param(
            "evaluation:\n  fusions:\n    one:\n      fusions:\n        two: {model: [ease]}\n",
            "6:15: evaluation.fusions.one.fusions.two.model:", ["did you mean 'models'?"],
            id="a typo below a fusion that is only evaluated",
        ),
        pytest.param(
            "stacking: null\nfusion:\n  fusions:\n    one: {mode: learned}\n",
            "4:3: fusion:", ["a stacking window"],
            id="a sub-fusion that learns and no window",
        ),
    ],
)  # fmt: skip
def test_one_fault_with_its_place(text: str, start: str, parts: list[str], write: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        EngineConfig.from_yaml(write(HEAD + text))
    (fault,) = str(caught.value).split("\n  ")
    assert fault.startswith(f"engine.yaml:{start}")
    for part in ("expected ", ", got ", *parts):
        assert part in fault


def test_every_fault_of_a_tree_comes_at_once(write: Any) -> None:
    text = """\
fusion:
  models: [one, two]
  keep: many
  fusions:
    one: {method: rff}
    two:
      fusions: {three: {mode: single, modl: ease}}
"""
    with pytest.raises(ConfigError) as caught:
        EngineConfig.from_yaml(write(HEAD + text))
    found = [fault.split(": ")[:2] for fault in str(caught.value).split("\n  ")[1:]]
    assert found == [
        ["engine.yaml:4:9", "fusion.keep"],
        ["engine.yaml:6:19", "fusion.fusions.one.method"],
        ["engine.yaml:8:17", "fusion.fusions.two.fusions.three.model"],
        ["engine.yaml:8:39", "fusion.fusions.two.fusions.three.modl"],
    ]


def test_two_sub_fusions_with_unknown_models_are_both_told(write: Any) -> None:
    text = "fusion:\n  fusions:\n    one: {models: [eas]}\n    two: {models: [popularty]}\n"
    with pytest.raises(ConfigError) as caught:
        EngineConfig.from_yaml(write(HEAD + text))
    assert "fusion.fusions.one: fusion one: expected" in str(caught.value)
    assert "fusion.fusions.two: fusion two: expected" in str(caught.value)


def test_more_levels_than_json_has_are_a_configuration_error() -> None:
    fusion: dict[str, Any] = {"models": ["ease"]}
    for _ in range(300):
        fusion = {"fusions": {"x": fusion}}
    with pytest.raises(ConfigError, match="recursion"):
        config_of(fusion)


# --- the schema -------------------------------------------------------------------------------


def test_the_schema_knows_the_keys_of_trees_at_every_strategy() -> None:
    schema = json_schema()
    for name in ("learned", "parallel", "serial", "single", "tuned"):
        properties = schema["$defs"][f"fusion.{name}"]["properties"]
        assert properties["fusions"]["additionalProperties"] == {"$ref": "#/$defs/fusion"}
        assert properties["fusions"]["propertyNames"]["pattern"] == "^[a-z][a-z0-9_]*$"
        assert "description" in properties["keep"]
    stage = schema["$defs"]["Stage"]["properties"]["fusion"]
    assert {"$ref": "#/$defs/fusion"} in stage["anyOf"]
    tuned = schema["$defs"]["fusion.tuned"]["properties"]["fusion"]
    assert tuned["$ref"] == "#/$defs/fusion"
