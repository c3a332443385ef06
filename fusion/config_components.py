"""The components of a configuration: which class, with which parameters, under which name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, partial
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    create_model,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from fusion.config_errors import worded
from fusion.errors import RecfusionError
from fusion.protocols import Component
from fusion.registry import resolve

__all__ = [
    "DEFAULT_FUSION",
    "GROUP_OF",
    "KEY_OF",
    "RESERVED",
    "Fusion",
    "Name",
    "Params",
    "Rankers",
    "Retrievers",
    "TreeKeys",
    "class_of",
    "custom_fault",
    "filled",
    "filled_component",
    "make",
    "tree_keys",
    "with_mode",
    "with_types",
]

#: names of contributions that are no model's
RESERVED = frozenset({"context", "baseline", "boost", "cascade"})
#: reciprocal rank fusion over everything the models say: it needs no learning and no tuning
DEFAULT_FUSION: Mapping[str, Any] = MappingProxyType({"mode": "parallel"})
#: config section -> the group of its components in the registry
GROUP_OF = MappingProxyType(
    {"retrievers": "retrievers", "rankers": "rankers", "fusion": "strategies"}
)
#: config section -> the key that names the component
KEY_OF = MappingProxyType({"retrievers": "type", "rankers": "type", "fusion": "mode"})


def custom_fault(message: str) -> PydanticCustomError:
    """An error whose message is already in the project's words."""
    return PydanticCustomError("fault", "{message}", {"message": message})


def filled(model: type[BaseModel], raw: Mapping[str, Any]) -> dict[str, Any]:
    """``raw`` with every default of ``model``.

    By way of JSON, pydantic's strictest door: text is no number, 1.5 is no integer and true is
    neither, yet a list may be a tuple.

    Raises:
        pydantic.ValidationError: with the places relative to ``raw``.
    """
    return model.model_validate_json(json.dumps(raw), strict=True).model_dump(mode="json")


def filled_component(section: str, raw: dict[str, Any]) -> dict[str, Any]:
    """``raw`` with every default of the component that it names; likewise."""
    key = KEY_OF[section]
    config = class_of(section, raw).Config
    own = {k: v for k, v in raw.items() if k != key}
    if section != "fusion":
        return {key: raw[key], **filled(config, own)}
    found = filled(_with_tree_keys(config), own)
    # a tree key that says nothing is left out: one meaning, one spelling
    silent = [k for k in tree_keys(config) if not found[k]]
    return {key: raw[key], **{k: v for k, v in found.items() if k not in silent}}


def tree_keys(config: type[BaseModel]) -> tuple[str, ...]:
    """The keys of `TreeKeys` that a strategy with ``config`` has not itself."""
    return tuple(name for name in TreeKeys.model_fields if name not in config.model_fields)


@cache
def _with_tree_keys(config: type[BaseModel]) -> type[BaseModel]:
    more = {name: TreeKeys.model_fields[name] for name in tree_keys(config)}
    fields: dict[str, Any] = {name: (info.annotation, info) for name, info in more.items()}
    for name, info in more.items():
        if info.metadata:
            fields[name] = (Annotated[(info.annotation, *info.metadata)], info)
    return create_model(config.__name__, __base__=config, __doc__=config.__doc__, **fields)


def class_of(section: str, raw: dict[str, Any]) -> type[Component]:
    """The class that ``raw`` names.

    Raises:
        pydantic.ValidationError: an unknown name, or a class that cannot be imported.
    """
    key = KEY_OF[section]
    name = raw[key]
    try:
        if isinstance(name, str):
            return resolve(GROUP_OF[section], name)
        message = worded("a registered name or module:Class", repr(name))
    except RecfusionError as error:
        message = str(error)
    except (ImportError, AttributeError) as error:
        message = worded(f"{name!r} to be importable", f"{type(error).__name__}: {error}")
    fault = InitErrorDetails(type=custom_fault(message), loc=(key,), input=name)
    raise ValidationError.from_exception_data(section, [fault])


def make(section: str, name: str, params: Mapping[str, Any]) -> Component:
    """A new component called ``name`` from what `filled_component` gave.

    A fusion over other fusions, or one that is cut off, is a `fusion.strategies.tree.Tree`.
    """
    key = KEY_OF[section]
    kind = class_of(section, dict(params))
    own = {k: v for k, v in params.items() if k != key}
    if section == "fusion":
        tree = {k: own.pop(k) for k in tree_keys(kind.Config) if k in own}
        if any(tree.values()):
            return resolve("strategies", "tree")(
                {"fusion": {key: params[key], **own}, **tree}, name=name
            )
    return kind(own, name=name)


def with_types(raw: Any) -> Any:
    """A model's key is its type, unless it says another; ``ease:`` alone takes the defaults."""
    if not isinstance(raw, Mapping):
        return raw
    return {name: _with_type(name, params) for name, params in raw.items()}


def _with_type(name: str, params: Any) -> Any:
    if params is None:
        return {"type": name}
    return {"type": name, **params} if isinstance(params, Mapping) else params


def with_mode(raw: Any) -> Any:
    """The default mode where none is named."""
    return {**DEFAULT_FUSION, **raw} if isinstance(raw, Mapping) else raw


def _not_reserved(name: str) -> str:
    if name in RESERVED:
        words = ", ".join(sorted(RESERVED))
        raise custom_fault(
            worded(f"a name other than {words}", repr(name), "contributions have these names")
        )
    return name


Params = dict[str, Any]
Name = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$"), AfterValidator(_not_reserved)
]
Retrievers = Annotated[
    dict[Name, Annotated[Params, AfterValidator(partial(filled_component, "retrievers"))]],
    BeforeValidator(with_types),
]
Rankers = Annotated[
    dict[Name, Annotated[Params, AfterValidator(partial(filled_component, "rankers"))]],
    BeforeValidator(with_types),
]
Fusion = Annotated[
    Params, BeforeValidator(with_mode), AfterValidator(partial(filled_component, "fusion"))
]


class TreeKeys(BaseModel):
    """The keys that any fusion may have, whatever its mode; see `fusion.strategies.tree.Tree`."""

    fusions: dict[Name, Fusion] = Field(
        default_factory=dict,
        description="fusions below this one: name -> a fusion; this one knows them as models by "
        "their names",
    )
    keep: int | None = Field(
        None, ge=1, description="only so many best candidates of a query stay; null = all"
    )
