"""The JSON Schema of a whole configuration, composed of every registered component's `Config`.

``recfusion schema > recfusion.schema.json``, then as the first line of a YAML file
``# yaml-language-server: $schema=recfusion.schema.json``: an editor completes keys, shows what they
mean and underlines what is wrong.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from fusion.config import EngineConfig
from fusion.config_components import (
    DEFAULT_FUSION,
    GROUP_OF,
    KEY_OF,
    RESERVED,
    TreeKeys,
    tree_keys,
)
from fusion.data.load import DataConfig
from fusion.errors import ConfigError, explain
from fusion.registry import known, resolve

__all__ = ["json_schema"]

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema, as plain values.

    Raises:
        ConfigError: a registered component cannot be imported.
    """
    configs = {
        (section, name): _config_of(section, name)
        for section, group in GROUP_OF.items()
        for name in sorted(known(group))
    }
    models: list[type[BaseModel]] = [EngineConfig, DataConfig, TreeKeys, *configs.values()]
    refs, described = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)],
        ref_template="#/$defs/{model}",
    )
    definitions: dict[str, Any] = described["$defs"]

    def key_of(model: type[BaseModel]) -> str:
        return str(refs[model, "validation"]["$ref"]).removeprefix("#/$defs/")

    for (section, name), config in configs.items():
        own = copy.deepcopy(definitions[key_of(config)])
        own["title"] = f"{section}: {name}"
        own["properties"] = {KEY_OF[section]: {"const": name}, **own.get("properties", {})}
        if section == "fusion":
            keys = definitions[key_of(TreeKeys)]["properties"]
            own["properties"] |= {key: copy.deepcopy(keys[key]) for key in tree_keys(config)}
        definitions[f"{section}.{name}"] = own

    schema = definitions.pop(key_of(EngineConfig))
    properties = schema["properties"]
    for section in ("retrievers", "rankers"):
        names = [name for where, name in configs if where == section]
        properties[section] = _named(properties[section]) | _models(section, names)
    strategies = [name for where, name in configs if where == "fusion"]
    definitions["fusion"] = {"anyOf": _choices("fusion", strategies, str(DEFAULT_FUSION["mode"]))}
    properties["fusion"] = {"$ref": "#/$defs/fusion"}
    properties["data"] = {"anyOf": [refs[DataConfig, "validation"], {"type": "null"}]}
    for definition in definitions.values():
        _refer_to_fusions(definition.get("properties", {}))

    schema = {"$schema": _DRAFT, **schema, "title": "recfusion configuration"}
    schema["$defs"] = {k: v for k, v in definitions.items() if _used(k, schema, definitions)}
    return schema


def _refer_to_fusions(properties: dict[str, Any]) -> None:
    """Say what stands under ``fusion`` and ``fusions``, which pydantic knows as mappings only."""
    ref = {"$ref": "#/$defs/fusion"}
    if "fusion" in properties:
        own = properties["fusion"]
        nullable = {"type": "null"} in own.pop("anyOf", [])
        told = {k: v for k, v in own.items() if k in ("description", "default", "title")}
        properties["fusion"] = told | ({"anyOf": [ref, {"type": "null"}]} if nullable else ref)
    if "fusions" in properties:
        properties["fusions"] = _named(properties["fusions"]) | {"additionalProperties": ref}


def _config_of(section: str, name: str) -> type[BaseModel]:
    try:
        return resolve(GROUP_OF[section], name).Config
    except (ImportError, AttributeError) as error:
        who = f"{section} {name!r}"
        raise ConfigError(
            explain(who, "an importable class", str(error), "reinstall its package")
        ) from error


def _named(described: dict[str, Any]) -> dict[str, Any]:
    """Pydantic's schema of a mapping from names, without its values: the caller puts them in."""
    names = {"pattern": "^[a-z][a-z0-9_]*$", "not": {"enum": sorted(RESERVED)}}
    keys = ("patternProperties", "additionalProperties")
    return {k: v for k, v in described.items() if k not in keys} | {"propertyNames": names}


def _models(section: str, names: list[str]) -> dict[str, Any]:
    """A model under a registered name may leave its type out, under any other it must say it."""
    return {
        "properties": {
            name: {"anyOf": [*_choices(section, names, name), {"type": "null"}]} for name in names
        },
        "additionalProperties": {"anyOf": _choices(section, names, None)},
    }


def _choices(section: str, names: list[str], default: str | None) -> list[dict[str, Any]]:
    """One schema for each component, and one for classes named as ``module:Class``."""
    key = KEY_OF[section]
    choices: list[dict[str, Any]] = []
    for name in sorted(names, key=lambda name: name != default):
        ref = {"$ref": f"#/$defs/{section}.{name}"}
        choices.append(ref if name == default else {"allOf": [ref, {"required": [key]}]})
    custom = {"type": "string", "pattern": ":", "description": "module:Class"}
    choices.append({"type": "object", "required": [key], "properties": {key: custom}})
    return choices


def _used(name: str, schema: dict[str, Any], definitions: dict[str, Any]) -> bool:
    ref = json.dumps(f"#/$defs/{name}")
    others = {k: v for k, v in definitions.items() if k != name}
    return ref in json.dumps(schema) or ref in json.dumps(others)
