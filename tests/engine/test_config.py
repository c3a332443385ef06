from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fusion.config import EngineConfig, StackingConfig
from fusion.errors import ConfigError
from retrievers.ease import Ease

SMALL = {"retrievers": {"ease": {}, "popularity": None}}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes ``engine.yaml`` into the current folder, so that messages show a short name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        Path("engine.yaml").write_text(text, "utf-8")
        return Path("engine.yaml")

    return write


def faults(text: str, write: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        EngineConfig.from_yaml(write(text))
    lines = str(caught.value).split("\n  ")
    return lines if len(lines) == 1 else lines[1:]


# --- what is right ----------------------------------------------------------------------------


def test_defaults_are_filled_in() -> None:
    config = EngineConfig.from_mapping(SMALL)
    assert config.seed == 0
    assert config.rankers == {}
    assert config.fallback is None
    assert config.exclude_seen is True
    assert config.stacking == StackingConfig(
        window="leave_last_out", events=1, fraction=0.1, max_queries=1000
    )
    assert config.fusion["mode"] == "parallel"
    assert config.fusion["method"]["name"] == "rrf"
    assert list(config.retrievers) == ["ease", "popularity"]
    assert config.retrievers["ease"] == {"type": "ease", **Ease.Config().model_dump()}


def test_a_model_may_have_a_name_of_its_own() -> None:
    mapping = {
        "retrievers": {
            "short": {"type": "ease", "half_life": 2},
            "flat": {"type": "retrievers.ease:Ease", "half_life": None},
        }
    }
    retrievers, rankers, strategy = EngineConfig.from_mapping(mapping).build()
    assert rankers == {}
    assert {name: model.name for name, model in retrievers.items()} == {
        "short": "short",
        "flat": "flat",
    }
    assert [type(model) for model in retrievers.values()] == [Ease, Ease]
    assert [model.config.half_life for model in retrievers.values()] == [2.0, None]
    assert strategy.uses(("short", "flat")) == ("short", "flat")


def test_build_gives_new_models_each_time() -> None:
    config = EngineConfig.from_mapping(SMALL)
    assert config.build()[0]["ease"] is not config.build()[0]["ease"]


def test_another_strategy_over_the_same_models() -> None:
    config = EngineConfig.from_mapping(SMALL)
    strategy = config.build_strategy({"method": "comb_mnz", "models": ["ease"]})
    assert strategy.name == "parallel"
    assert strategy.uses(("ease", "popularity")) == ("ease",)
    with pytest.raises(ConfigError, match=r"fusion\.method: .*'rrf'\?"):
        config.build_strategy({"mode": "parallel", "method": "rff"})


def test_yaml_and_mapping_say_the_same(write: Any) -> None:
    text = "seed: 3\nretrievers:\n  ease: {half_life: 2}\n  popularity:\nfallback: popularity\n"
    mapping = {
        "fallback": "popularity",
        "retrievers": {"ease": {"half_life": 2.0}, "popularity": {}},
        "seed": 3,
    }
    from_yaml = EngineConfig.from_yaml(write(text))
    from_mapping = EngineConfig.from_mapping(mapping)
    assert from_yaml == from_mapping
    assert hash(from_yaml) == hash(from_mapping)
    assert from_yaml.hash == from_mapping.hash


def test_a_mapping_may_hold_numpy_paths_and_tuples(tmp_path: Path) -> None:
    config = EngineConfig.from_mapping(
        {
            "seed": np.int64(3),
            "retrievers": {"ease": {"half_life": np.float32(2)}, "popularity": {}},
            "fusion": {"mode": "parallel", "models": ("ease",)},
            "data": {"source": "tables", "interactions": tmp_path / "x.csv"},
        }
    )
    assert config.seed == 3
    assert config.fusion["models"] == ["ease"]
    assert config.data is not None
    assert config.data["interactions"] == str(tmp_path / "x.csv")


def test_a_mapping_is_not_interpolated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILE", "x.csv")
    data = {"source": "tables", "interactions": "${FILE}"}
    config = EngineConfig.from_mapping({**SMALL, "data": data})
    assert config.data is not None
    assert config.data["interactions"] == "${FILE}"


def test_environment_variables_in_a_file(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEED", "11")
    text = (
        "seed: ${SEED}\nretrievers:\n  ease:\n    half_life: ${HALF_LIFE:-2.5}\n"
        "data: {source: tables, interactions: '${FOLDER:-here}/x.csv'}\n"
    )
    config = EngineConfig.from_yaml(write(text))
    assert config.seed == 11
    assert config.retrievers["ease"]["half_life"] == 2.5
    assert config.data is not None
    assert config.data["interactions"] == "here/x.csv"


def test_relative_paths_start_from_the_file(write: Any, tmp_path: Path) -> None:
    path = write("retrievers: {ease: }")
    assert EngineConfig.from_yaml(path).base_folder == tmp_path
    assert EngineConfig.from_mapping(SMALL).base_folder == Path.cwd()
    assert EngineConfig.from_yaml(path).hash == EngineConfig.from_mapping(
        {"retrievers": {"ease": {}}}
    ).hash  # fmt: skip


names = st.sampled_from(["a", "b2", "some_model", "ease"])
configs = st.fixed_dictionaries(
    {
        "retrievers": st.dictionaries(
            names,
            st.none()
            | st.fixed_dictionaries(
                {"type": st.just("ease")},
                optional={
                    "reg": st.floats(0.1, 1e6),
                    "half_life": st.none() | st.floats(0.1, 99),
                    "n": st.integers(1, 999),
                },
            ),
            min_size=1,
        ).map(lambda models: {k: v or {"type": "popularity"} for k, v in models.items()})
    },
    optional={
        "seed": st.integers(0, 2**40),
        "exclude_seen": st.booleans(),
        "stacking": st.none() | st.just({"window": "temporal", "fraction": 0.2}),
        "fusion": st.just({"method": "comb_mnz"}) | st.just({"mode": "parallel"}),
    },
)


@given(configs)
@settings(max_examples=50, deadline=None)
def test_round_trips_through_a_dict_and_through_json(mapping: dict[str, Any]) -> None:
    config = EngineConfig.from_mapping(mapping)
    again = EngineConfig.from_mapping(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.to_dict() == config.to_dict()
    assert again.hash == config.hash


def test_the_hash_is_of_the_meaning() -> None:
    base = EngineConfig.from_mapping(SMALL).hash
    same = {
        "rankers": {},
        "retrievers": {"popularity": {"n": 200}, "ease": {"type": "ease", "n": 200}},
        "fusion": {"mode": "parallel", "method": "rrf"},
        "stacking": {"events": 1},
    }
    assert EngineConfig.from_mapping(same).hash == base
    data = {"source": "tables", "interactions": "x.csv"}
    elsewhere = {**SMALL, "data": data, "evaluation": {"k": 20}}
    assert EngineConfig.from_mapping(elsewhere).hash == base
    for other in ({"seed": 1}, {"stacking": None}, {"fusion": {"method": "comb_mnz"}}):
        assert EngineConfig.from_mapping({**SMALL, **other}).hash != base


CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.name)
def test_every_shipped_configuration_is_valid(path: Path) -> None:
    whole = EngineConfig.from_yaml(CONFIGS / "quick.yaml")
    fusion_only = "retrievers:" not in path.read_text("utf-8")
    config = EngineConfig.overlay(whole, path) if fusion_only else EngineConfig.from_yaml(path)
    assert EngineConfig.from_mapping(config.to_dict()) == config


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError):
        EngineConfig.from_mapping(SMALL).seed = 1  # type: ignore[misc]


class TestOverlay:
    base = EngineConfig.from_mapping({**SMALL, "seed": 5})

    def test_a_section_of_its_own_replaces_the_base_s(self) -> None:
        new = EngineConfig.overlay(self.base, {"fusion": {"method": "comb_mnz"}})
        assert new.fusion["method"]["name"] == "comb_mnz"
        assert (new.retrievers, new.seed) == (self.base.retrievers, 5)
        assert self.base.fusion["method"]["name"] == "rrf"

    def test_from_a_file_of_a_fusion_only(self, write: Any) -> None:
        new = EngineConfig.overlay(self.base, write("fusion: {method: comb_mnz}"))
        assert new.fusion["method"]["name"] == "comb_mnz"

    def test_from_a_whole_file(self, write: Any) -> None:
        new = EngineConfig.overlay(self.base, write("retrievers: {ease: }\nseed: 9"))
        assert list(new.retrievers) == ["ease"]
        assert new.seed == 9

    def test_a_fault_has_its_place(self, write: Any) -> None:
        path = write("fusion:\n  weights: {eaze: 2}")
        with pytest.raises(ConfigError, match=r"engine.yaml:2:3: fusion: .* 'eaze'.*'ease'\?"):
            EngineConfig.overlay(self.base, path)

    def test_a_configuration_is_taken_as_it_is(self) -> None:
        other = EngineConfig.from_mapping({"retrievers": {"ease": {}}})
        assert EngineConfig.overlay(self.base, other) is other


# --- what is wrong ----------------------------------------------------------------------------

HEAD = "retrievers:\n  ease: {}\n"


@pytest.mark.parametrize(
    ("text", "start", "parts"),
    [
        pytest.param(
            HEAD + "excude_seen: true", "3:1: excude_seen:", ["did you mean 'exclude_seen'?"],
            id="a typo in a key",
        ),
        pytest.param(
            "retrievers:\n  ease:\n    regg: 3", "3:5: retrievers.ease.regg:",
            ["one of the keys", "did you mean 'reg'?"], id="a typo in a parameter",
        ),
        pytest.param(
            "retrievers:\n  eaze: {}", "2:3: retrievers.eaze:",
            ["one of als, dense, ease,", "did you mean 'ease'?"], id="a typo in a component",
        ),
        pytest.param(
            "retrievers:\n  mine: {n: 5, type: eaze}", "2:22: retrievers.mine.type:",
            ["got 'eaze'; did you mean 'ease'?"], id="a typo in a type",
        ),
        pytest.param(
            "retrievers:\n  mine: {type: 7}", "2:16: retrievers.mine.type:",
            ["a registered name or module:Class, got 7"], id="a type that is a number",
        ),
        pytest.param(
            "retrievers:\n  mine: {type: no_such_module:X}", "2:16: retrievers.mine.type:",
            ["an importable module:Class"], id="a module that is not there",
        ),
        pytest.param(
            "retrievers:\n  rrf: {type: fusion.methods.rrf:RRF}", "2:15: retrievers.rrf.type:",
            ["a subclass of Retriever"], id="a class of another kind",
        ),
        pytest.param(
            "retrievers:\n  ease: {half_life: long}", "2:21: retrievers.ease.half_life:",
            ["a number, got the text 'long'"], id="a wrong type",
        ),
        pytest.param(
            "retrievers:\n  ease: {n: '5'}", "2:13: retrievers.ease.n:",
            ["a whole number, got the text '5'"], id="a number as text",
        ),
        pytest.param(
            "retrievers:\n  ease: {n: 5.0}", "2:13: retrievers.ease.n:",
            ["a whole number, got 5.0"], id="a fraction for a whole number",
        ),
        pytest.param("seed: true\n" + HEAD, "1:7: seed:", ["a whole number, got true"],
                     id="true is no number"),
        pytest.param(
            "retrievers:\n  ease: {reg: -1}", "2:15: retrievers.ease.reg:",
            ["a number greater than 0, got -1"], id="a negative reg",
        ),
        pytest.param(HEAD + "exclude_seen: no", "3:15: exclude_seen:",
                     ["true or false, got the text 'no'"], id="no is text in YAML 1.2"),
        pytest.param(
            HEAD + "fusion: {mode: paralel}", "3:16: fusion.mode:",
            ["one of learned, parallel, serial, single", "did you mean 'parallel'?"],
            id="an unknown mode",
        ),
        pytest.param(
            HEAD + "fusion:\n  method: rff", "4:11: fusion.method:", ["did you mean 'rrf'?"],
            id="an unknown method",
        ),
        pytest.param(
            HEAD + "fusion:\n  method: {name: rrf, kk: 3}", "4:23: fusion.method.kk:",
            ["did you mean 'k'?"], id="a typo in a method's parameter",
        ),
        pytest.param(
            HEAD + "fusion: {method: {name: weighted_sum, normalization: minmax}}",
            "3:54: fusion.method.normalization:", ["did you mean 'min_max'?"],
            id="an unknown normalisation",
        ),
        pytest.param(
            HEAD + "fusion: {weights: {eas: 1}}", "3:9: fusion:", ["did you mean 'ease'?"],
            id="a weight of nobody",
        ),
        pytest.param(HEAD + "fusion: rrf", "3:9: fusion:", ["a mapping, got the text 'rrf'"],
                     id="a fusion that is no mapping"),
        pytest.param(
            HEAD + "fusion: {mode: serial, stages: [{models: [ease], kep: 3}]}",
            "3:50: fusion.stages.0.kep:", ["did you mean 'keep'?"], id="a typo inside a list",
        ),
        pytest.param(
            HEAD + "stacking: {window: temporl}", "3:20: stacking.window:",
            ["one of 'leave_last_out' or 'temporal'", "did you mean 'temporal'?"],
            id="a typo in a choice",
        ),
        pytest.param(HEAD + "stacking: {fraction: 1}", "3:22: stacking.fraction:",
                     ["a number less than 1, got 1"], id="out of range"),
        pytest.param(HEAD + "fallback: eas", "3:11: fallback:",
                     ["one of the retrievers ease, got 'eas'; did you mean 'ease'?"],
                     id="a fallback that is not there"),
        pytest.param(
            "retrievers: {ease: }\nrankers:\n  ease: {type: gpt}",
            "3:3: rankers.ease:", ["each name once among retrievers and rankers"],
            id="one name twice",
        ),
        pytest.param(HEAD + "  context: {type: ease}", "3:3: retrievers.context:",
                     ["a name other than baseline, boost, cascade, context"], id="a reserved name"),
        pytest.param(HEAD + "  My-Ease: {type: ease}", "3:3: retrievers.My-Ease:",
                     ["text that matches pattern"], id="a name of another form"),
        pytest.param("seed: 1", "1:1: retrievers:", ["this key, which has no default"],
                     id="no retrievers"),
        pytest.param("retrievers: {}", "1:13: retrievers:", ["a mapping with at least 1 item"],
                     id="an empty mapping of retrievers"),
        pytest.param("retrievers: [ease]", "1:13: retrievers:", ["a mapping, got the list"],
                     id="a list of retrievers"),
        pytest.param("retrievers: {ease: 3}", "1:20: retrievers.ease:", ["a mapping, got 3"],
                     id="a retriever that is a number"),
        pytest.param(HEAD + "data: {source: tabels, interactions: x}", "3:16: data.source:",
                     ["one of movielens, amazon, tables", "did you mean 'tables'?"],
                     id="an unknown source of data"),
        pytest.param(HEAD + "data: {interactions: x}", "3:1: data.source:",
                     ["this key, which has no default"], id="no source of data"),
        pytest.param(
            HEAD + "data: {source: tables, interactions: x, k_core: {usr: 3, user: 1, item: 1}}",
            "3:50: data.k_core.usr:", ["did you mean 'user'?"], id="a typo in one of two forms",
        ),
        pytest.param(HEAD + "evaluation: {fusions: {b: {mode: serail}}}",
                     "3:34: evaluation.fusions.b.mode:", ["did you mean 'serial'?"],
                     id="an unknown mode to evaluate"),
        pytest.param(HEAD + "seed: 1\nseed: 2", "3:1: seed:", ["each key once", "again at 4:1"],
                     id="a key twice"),
        pytest.param("retrievers:\n\tease: {}", "2:1:", ["valid YAML", "indent with spaces"],
                     id="tabs"),
        pytest.param(HEAD + "seed: !!python/object/apply:os.getpid []", "3:7: seed:",
                     ["plain YAML without tags"], id="a python tag"),
        pytest.param("- ease\n- popularity", "1:1:", ["a mapping, got the list"],
                     id="a list at the top"),
        pytest.param("just text", "1:1:", ["a mapping, got the text 'just text'"],
                     id="text at the top"),
        pytest.param(HEAD + "seed: ${NO_SUCH_VARIABLE}", "3:7: seed:",
                     ["the environment variable NO_SUCH_VARIABLE to be set"],
                     id="an unset variable"),
    ],
)  # fmt: skip
def test_one_fault_with_its_place(text: str, start: str, parts: list[str], write: Any) -> None:
    (fault,) = faults(text, write)
    assert fault.startswith(f"engine.yaml:{start}")
    for part in ("expected ", ", got ", *parts):
        assert part in fault


def test_an_empty_file(write: Any) -> None:
    assert faults("", write) == ["engine.yaml: expected a mapping, got an empty document"]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml: expected a YAML file.*No such file"):
        EngineConfig.from_yaml(tmp_path / "no.yaml")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a YAML file"):
        EngineConfig.from_yaml(tmp_path)


def test_a_file_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes("seed: 1 # Größe".encode("latin-1"))
    with pytest.raises(ConfigError, match="UTF-8"):
        EngineConfig.from_yaml(tmp_path / "x.yaml")


def test_all_faults_come_at_once_in_the_order_of_the_file(write: Any) -> None:
    text = """\
sed: 1
retrievers:
  ease: {reg: -1, half_lif: 2}
  populraity:
rankers:
  ease: {type: retrievers.ease:Ease}
fusion:
  mode: parallel
  method: rff
fallback: eas
stacking: {window: temporl, events: 0}
seed: ${NO_SUCH_VARIABLE}
evaluation: {k: !x 3}
"""
    found = [fault.split(" ")[:2] for fault in faults(text, write)]
    assert found == [
        ["engine.yaml:1:1:", "sed:"],
        ["engine.yaml:3:15:", "retrievers.ease.reg:"],
        ["engine.yaml:3:19:", "retrievers.ease.half_lif:"],
        ["engine.yaml:4:3:", "retrievers.populraity:"],
        ["engine.yaml:6:3:", "rankers.ease:"],
        ["engine.yaml:6:16:", "rankers.ease.type:"],
        ["engine.yaml:9:11:", "fusion.method:"],
        ["engine.yaml:10:11:", "fallback:"],
        ["engine.yaml:11:20:", "stacking.window:"],
        ["engine.yaml:11:37:", "stacking.events:"],
        ["engine.yaml:12:7:", "seed:"],
        ["engine.yaml:13:17:", "evaluation.k:"],
    ]


def test_the_number_of_faults_stands_first(write: Any) -> None:
    with pytest.raises(ConfigError, match=r"^engine\.yaml: 2 faults\n  engine\.yaml:1:7: seed"):
        EngineConfig.from_yaml(write("seed: -1\nretrievers: {ease: {n: 0}}"))


def test_a_mapping_has_paths_without_positions() -> None:
    with pytest.raises(ConfigError, match=r"^config: retrievers\.ease\.reg: expected a number"):
        EngineConfig.from_mapping({"retrievers": {"ease": {"reg": "much"}}})


@pytest.mark.parametrize("value", [{1}, object(), {"retrievers": {"ease": {"reg": 1j}}}])
def test_a_mapping_of_things_that_no_yaml_can_say(value: Any) -> None:
    with pytest.raises(ConfigError, match="text, numbers, booleans, lists and mappings"):
        EngineConfig.from_mapping(value)


def test_a_mapping_that_holds_itself() -> None:
    loop: dict[str, Any] = {}
    loop["retrievers"] = loop
    with pytest.raises(ConfigError, match="Circular"):
        EngineConfig.from_mapping(loop)


def test_pydantic_s_own_door_checks_as_much() -> None:
    for wrong in ({"fallback": "eas"}, {"fusion": {"weights": {"eas": 1}}}, {"sed": 1}):
        with pytest.raises(ValidationError):
            EngineConfig.model_validate({**copy.deepcopy(SMALL), **wrong})


def test_a_learned_fusion_needs_its_window() -> None:
    learned = {**SMALL, "fusion": {"mode": "learned"}}
    assert EngineConfig.from_mapping(learned).stacking is not None
    with pytest.raises(ConfigError, match=r"fusion: expected a stacking window for learned"):
        EngineConfig.from_mapping({**learned, "stacking": None})
