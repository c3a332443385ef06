from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from fusion.config import EngineConfig
from fusion.config_components import GROUP_OF, KEY_OF, tree_keys
from fusion.config_schema import json_schema
from fusion.registry import known, resolve

COMPONENTS = [
    (section, name) for section, group in GROUP_OF.items() for name in sorted(known(group))
]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


def refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from refs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from refs(inner)


def test_it_is_plain_json_with_a_draft(schema: dict[str, Any]) -> None:
    assert json.loads(json.dumps(schema, allow_nan=False)) == schema
    assert schema["$schema"].startswith("https://json-schema.org/draft/")


def test_every_key_is_there_and_no_other_is_allowed(schema: dict[str, Any]) -> None:
    assert schema["properties"].keys() == EngineConfig.model_fields.keys()
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["retrievers"]
    assert all(
        "description" in schema["properties"][name]
        for name in ("seed", "retrievers", "rankers", "fallback", "exclude_seen")
    )


def test_every_reference_leads_somewhere_and_no_definition_is_left_over(
    schema: dict[str, Any],
) -> None:
    assert set(refs(schema)) == {f"#/$defs/{name}" for name in schema["$defs"]}


@pytest.mark.parametrize(("section", "name"), COMPONENTS)
def test_every_component_is_described_by_its_own_config(
    schema: dict[str, Any], section: str, name: str
) -> None:
    described = schema["$defs"][f"{section}.{name}"]
    config = resolve(GROUP_OF[section], name).Config
    more = tree_keys(config) if section == "fusion" else ()
    assert described["properties"].keys() == {KEY_OF[section], *config.model_fields, *more}
    assert described["properties"][KEY_OF[section]] == {"const": name}
    assert described["additionalProperties"] is False


@pytest.mark.parametrize("section", ["retrievers", "rankers"])
def test_a_model_under_a_registered_name_may_leave_its_type_out(
    schema: dict[str, Any], section: str
) -> None:
    described = schema["properties"][section]
    for name, choices in described["properties"].items():
        own = {"$ref": f"#/$defs/{section}.{name}"}
        assert choices["anyOf"][0] == own
        assert {"type": "null"} in choices["anyOf"]
        assert {"allOf": [own, {"required": ["type"]}]} in described["additionalProperties"][
            "anyOf"
        ]
        assert own not in described["additionalProperties"]["anyOf"]


def test_names_have_one_form_and_reserved_ones_are_refused(schema: dict[str, Any]) -> None:
    fusions = schema["$defs"]["EvaluationConfig"]["properties"]["fusions"]
    for described in (*(schema["properties"][s] for s in ("retrievers", "rankers")), fusions):
        assert described["propertyNames"] == {
            "pattern": "^[a-z][a-z0-9_]*$",
            "not": {"enum": ["baseline", "boost", "cascade", "context"]},
        }
        # it would take every name away from what is said of other names
        assert "patternProperties" not in described
    assert fusions["additionalProperties"] == {"$ref": "#/$defs/fusion"}


def test_the_data_section_lists_its_sources(schema: dict[str, Any]) -> None:
    text = json.dumps(schema["$defs"]["DataConfig"])
    assert all(source in text for source in ("movielens", "amazon", "tables"))
