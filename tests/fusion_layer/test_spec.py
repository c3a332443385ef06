from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from fusion.methods.rrf import RRF
from fusion.spec import NormalizationSpec
from fusion.strategies.merging import MethodSpec


def test_a_name_is_the_mapping_with_every_default() -> None:
    spec = MethodSpec.model_validate("rrf")
    assert spec.model_dump() == {
        "name": "rrf",
        "weights": {},
        "k": 60.0,
        "missing": {
            "not_retrieved": "complete",
            "cold": "nan",
            "timed_out": "nan",
            "filtered": "nan",
        },
    }
    assert MethodSpec.model_validate(spec.model_dump()) == spec
    assert MethodSpec.model_validate_json(spec.model_dump_json(), strict=True) == spec


def test_settings_reach_the_component() -> None:
    method = MethodSpec.model_validate({"name": "rrf", "k": 7}).build()
    assert isinstance(method, RRF)
    assert method.config.k == 7
    assert method.name == "rrf"


def test_a_class_of_another_package() -> None:
    spec = MethodSpec.model_validate("fusion.methods.rrf:RRF")
    assert isinstance(spec.build(), RRF)


@pytest.mark.parametrize(
    ("bad", "where"),
    [
        ("rff", ()),
        ({"name": "rff"}, ("name",)),
        ({"name": "rrf", "k": "7"}, ("k",)),
        ({"name": "rrf", "kk": 7}, ("kk",)),
        ({"name": "rrf", "weights": {"a": -1}}, ("weights", "a")),
        ({"name": "weighted_sum", "normalization": "z"}, ("normalization",)),
        ("fusion.methods.rrf:Nobody", ()),
        ("fusion.normalizations.rank:Rank", ()),
    ],
)
def test_a_fault_is_told_at_its_place(bad: object, where: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as told:
        MethodSpec.model_validate(bad)
    assert [error["loc"] for error in told.value.errors()] == [where]


def test_the_schema_allows_both_forms() -> None:
    schema = TypeAdapter(NormalizationSpec).json_schema()
    assert {"type": "string"} in schema["anyOf"]
