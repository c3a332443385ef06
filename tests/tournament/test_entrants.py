from __future__ import annotations

import pytest
from pydantic import ValidationError
from synthetic import rules

from fusion.config import EngineConfig
from fusion.config_tournament import TournamentConfig
from fusion.errors import ConfigError
from fusion.registry import known
from fusion.tournament.entrants import entrants_of


def test_names_and_fusions_by_hand() -> None:
    config = rules(
        stackers=["blend"],
        tuned=["weighted_sum/min_max"],
        search="grid",
        trials=7,
        fusions={"ours": {"mode": "single", "model": "a"}},
    )
    found = {one.name: one.fusion for one in entrants_of(config, ["a", "b"])}
    inner = {"name": "weighted_sum", "normalization": "min_max"}
    assert found == {
        "a": {"mode": "single", "model": "a"},
        "b": {"mode": "single", "model": "b"},
        "rrf": {"mode": "parallel", "method": {"name": "rrf"}},
        "weighted_sum/min_max": {"mode": "parallel", "method": inner},
        "weighted_sum/z_score": {
            "mode": "parallel",
            "method": {"name": "weighted_sum", "normalization": "z_score"},
        },
        "learned/blend": {"mode": "learned", "stacker": "blend"},
        "tuned/weighted_sum/min_max": {
            "mode": "tuned",
            "fusion": {"mode": "parallel", "method": inner},
            "weights": True,
            "search": "grid",
            "trials": 7,
            "folds": 0,
        },
        "ours": {"mode": "single", "model": "a"},
    }


def test_all_registered_enter_by_default() -> None:
    names = [one.name for one in entrants_of(TournamentConfig(), ["a", "b"])]
    assert len(names) == len(set(names))
    for method in known("methods"):
        assert any(name.split("/")[0] == method for name in names)
    for normalization in known("normalizations"):
        assert f"weighted_sum/{normalization}" in names
    for stacker in known("stackers"):
        assert f"learned/{stacker}" in names


def test_a_fusion_called_as_a_model_gets_another_name() -> None:
    found = entrants_of(rules(fusions={"rrf": {"mode": "single", "model": "b"}}), ["rrf", "b"])
    assert [one.name for one in found if one.name.startswith("rrf")] == [
        "rrf",
        "rrf (2)",
        "rrf (3)",
    ]


def test_one_model_has_nothing_to_fuse() -> None:
    assert [one.kind for one in entrants_of(rules(), ["only"])] == ["model"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"methods": ["rff"]}, "did you mean 'rrf'"),
        ({"normalizations": ["minmax"]}, "did you mean 'min_max'"),
        ({"stackers": ["lambda_mart"]}, "did you mean 'lambdamart'"),
        ({"tuned": ["weighted_sum/minmax"]}, "did you mean 'min_max'"),
        ({"alpha": 0.5}, "less than 0.5"),
        ({"folds": 1}, "greater than or equal to 2"),
        ({"method": ["rrf"]}, "Extra inputs"),
    ],
)
def test_what_is_wrong_is_told(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TournamentConfig.model_validate(wrong)


def test_the_section_is_part_of_a_configuration() -> None:
    config = EngineConfig.from_mapping(
        {"retrievers": {"popularity": {}}, "tournament": {"folds": 3, "methods": ["rrf"]}}
    )
    assert config.tournament is not None
    assert config.tournament.methods == ("rrf",)
    assert EngineConfig.from_mapping(config.to_dict()) == config
    with pytest.raises(ConfigError, match="did you mean 'rrf'"):
        EngineConfig.from_mapping(
            {"retrievers": {"popularity": {}}, "tournament": {"methods": ["rff"]}}
        )
