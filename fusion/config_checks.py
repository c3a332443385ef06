"""Checks across sections of a configuration, as far as each section can be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from fusion.config_components import class_of, filled_component, make, tree_keys, with_mode
from fusion.config_errors import Fault, Path, nearest, worded
from fusion.errors import ConfigError, RecfusionError
from fusion.protocols import Strategy
from fusion.registry import GROUPS, resolve

__all__ = ["cross_faults", "names_at"]


def names_at(root: type[BaseModel], raw: Any, path: Path) -> list[str]:
    """The keys that the mapping at ``path`` may have; none where nobody knows.

    Args:
        root: the model of ``raw`` itself.
        raw: the configuration as it was read.
        path: of a mapping in it.
    """
    model: type[BaseModel] | None = root
    names = list(root.model_fields)
    here = raw
    for depth, part in enumerate(path):
        if isinstance(here, dict) or (isinstance(here, list) and isinstance(part, int)):
            here = here[part]  # type: ignore[index]
        section = str(path[0])
        extra: list[str] = []
        in_models = section in ("retrievers", "rankers") and depth == 1
        # a fusion stands under this key, or under a name in a mapping of this key, at any depth
        is_fusion = part == "fusion" or (depth > 0 and path[depth - 1] == "fusions")
        if in_models and isinstance(here, dict):
            model, extra = _config_of(section, {"type": part, **here}), ["type"]
        elif is_fusion:
            model = _config_of("fusion", with_mode(here))
            extra = ["mode", *(tree_keys(model) if model is not None else ())]
        elif path[: depth + 1] == ("data",):
            from fusion.data.load import DataConfig

            model = _member(DataConfig, here)
        else:
            model = _inner(model, part)
            extra = _names_of_named(model, here)
        names = [*extra, *(model.model_fields if model is not None else ())]
    return names


def _config_of(section: str, params: Any) -> type[BaseModel] | None:
    try:
        return class_of(section, params).Config
    except (ValidationError, TypeError):
        return None


def _member(union: type[BaseModel], raw: Any) -> type[BaseModel] | None:
    """The member of a discriminated union (a root model) that ``raw`` says it is."""
    root = union.model_fields["root"]
    tag = raw.get(root.discriminator) if isinstance(raw, dict) else None
    for member in getattr(root.annotation, "__args__", ()):
        if tag in member.model_fields[root.discriminator].annotation.__args__:
            return cast(type[BaseModel], member)
    return None


def _names_of_named(model: type[BaseModel] | None, raw: Any) -> list[str]:
    """The fields of a component inside another one; see `fusion.spec.Spec`."""
    group = getattr(model, "group", "")
    name = raw.get("name") if isinstance(raw, dict) else None
    if group not in GROUPS or not isinstance(name, str):
        return []
    try:
        return list(resolve(group, name).Config.model_fields)
    except (RecfusionError, ImportError, AttributeError):
        return []


def _inner(model: type[BaseModel] | None, part: str | int) -> type[BaseModel] | None:
    """The model inside the annotation of a field, if there is exactly one."""
    if isinstance(part, int):
        return model  # a list of what its field holds
    if model is None or part not in model.model_fields:
        return None
    found: list[type[BaseModel]] = []

    def look(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found.append(annotation)
        for argument in getattr(annotation, "__args__", ()):
            look(argument)

    look(model.model_fields[part].annotation)
    return found[0] if len(found) == 1 else None


def cross_faults(raw: Any) -> Iterator[Fault]:
    """What is wrong between sections, as far as each can be read."""
    if not isinstance(raw, dict):
        return
    retrievers, rankers = (
        list(raw[section]) if isinstance(raw.get(section), dict) else []
        for section in ("retrievers", "rankers")
    )
    for name in rankers:
        if name in retrievers:
            message = worded("each name once among retrievers and rankers", f"{name!r} twice")
            yield Fault(("rankers", name), message, at_key=True)
    fallback = raw.get("fallback")
    if isinstance(fallback, str) and retrievers and fallback not in retrievers:
        message = worded(
            f"one of the retrievers {', '.join(retrievers)}",
            repr(fallback),
            nearest(fallback, retrievers),
        )
        yield Fault(("fallback",), message)
    if retrievers:
        models = (*retrievers, *rankers)
        yield from _fusion_faults(("fusion",), raw.get("fusion", {}), models, raw)
        for section in ("evaluation", "tournament"):
            fusions = _at(raw, section, "fusions")
            for name, fusion in fusions.items() if isinstance(fusions, dict) else ():
                yield from _fusion_faults((section, "fusions", name), fusion, models, raw)
        shadow = _at(raw, "serving", "shadow", "fusion")
        if shadow is not None:
            yield from _fusion_faults(("serving", "shadow", "fusion"), shadow, models, raw)


def _at(raw: Any, *path: str) -> Any:
    """What stands at ``path``; ``None`` where nothing does."""
    for part in path:
        raw = raw.get(part) if isinstance(raw, dict) else None
    return raw


def _fusion_faults(
    path: Path, fusion: Any, models: tuple[str, ...], raw: dict[str, Any]
) -> Iterator[Fault]:
    try:
        params = filled_component("fusion", with_mode(fusion))
        strategy = cast(Strategy, make("fusion", str(params["mode"]), params))
    except (ValidationError, TypeError, AttributeError, RecfusionError):
        return  # told by the fields themselves
    if strategy.learns and "stacking" in raw and raw["stacking"] is None:
        hint = "leave `stacking:` out for the default window"
        yield Fault(path, worded(f"a stacking window for {params['mode']}", "stacking: null", hint))
    yield from _name_faults(path, params, models)


def _name_faults(path: Path, params: dict[str, Any], names: tuple[str, ...]) -> Iterator[Fault]:
    """The names that a fusion, or one inside it, does not know: at the innermost that says them.

    Args:
        path: of the fusion.
        params: complete.
        names: what a fusion that stands there may name.
    """
    below: dict[str, Any] = params.get("fusions", {})
    found: list[Fault] = []
    for name in below:
        if name in names:
            message = worded("a name that no model has", repr(name), "give this fusion another")
            found.append(Fault((*path, "fusions", name), message, at_key=True))
    for name, child in below.items():
        found += _name_faults((*path, "fusions", name), child, names)
    for at, inner in _inner_fusions({k: v for k, v in params.items() if k != "fusions"}):
        found += _name_faults((*path, *at), inner, (*below, *names))
    if not found:  # else the fusion around them would say the same again
        who = path[-1] if len(path) > 1 and path[-2] == "fusions" else params["mode"]
        try:
            cast(Strategy, make("fusion", str(who), params)).uses(names)
        except ConfigError as error:
            found.append(Fault(path, str(error)))
    yield from found


def _inner_fusions(value: Any, path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The complete fusions under a key ``fusion``, as stages have them, and where they stand."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key == "fusion" and isinstance(part, dict) and "mode" in part:
                yield (*path, key), part
            else:
                yield from _inner_fusions(part, (*path, key))
    elif isinstance(value, list):
        for at, part in enumerate(value):
            yield from _inner_fusions(part, (*path, at))
