"""Dotted paths into the mapping of a fusion, and what is wrong with one."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from fusion.config_components import custom_fault, filled_component
from fusion.config_errors import nearest, worded
from fusion.tuning.ranges import Dimension, Range

__all__ = ["Params", "assign", "find", "space_faults"]

Params = dict[str, Any]


def space_faults(
    params: Params, dimensions: Mapping[str, Dimension], weights: bool
) -> Iterator[InitErrorDetails]:
    """What is wrong with ``dimensions``, each fault at its path in ``space``.

    A value is wrong if the fusion does not take it, whatever the other dimensions are. Values that
    only contradict others (a stage that keeps more than reach it) make a trial infeasible.
    """
    for path, choices in dimensions.items():
        message = _path_fault(params, path, weights)
        ends = [choices.at(0), choices.at(1)] if isinstance(choices, Range) else choices
        for value in () if message else ends:
            message = message or _value_fault(params, path, value)
        if message:
            yield InitErrorDetails(type=custom_fault(message), loc=("space", path), input=None)


def _path_fault(params: Params, path: str, weights: bool) -> str:
    here: Any = params
    parts = path.split(".")
    if weights and "weights" in parts:
        return worded("weights: false beside weights in the space", repr(path), "choose one")
    if parts[-1] == "mode" or parts[-2:] == ["method", "name"]:
        whole = ".".join(parts[:-1]) or "the fusion"
        return worded("a path whose settings stay valid", repr(path), f"give choices of {whole!r}")
    for at, part in enumerate(parts):
        keys = [str(key) for key in (here if isinstance(here, Mapping) else range(_length(here)))]
        # names of models are not there before somebody gives them a weight
        named = at == len(parts) - 1 and at > 0 and parts[at - 1] == "weights"
        if part not in keys and not (named and isinstance(here, Mapping)):
            above = ".".join(parts[:at])
            expected = f"one of the keys {', '.join(sorted(keys))}" if keys else "no path below"
            place = f" at {above!r}" if above else ""
            return worded(expected + place, repr(path), _near_path(parts, at, keys))
        here = None if part not in keys else _step(here, part)
    return ""


def _near_path(parts: list[str], at: int, keys: list[str]) -> str:
    near = nearest(parts[at], keys)
    return near.replace("'", f"'{'.'.join([*parts[:at], ''])}", 1) if near else ""


def _value_fault(params: Params, path: str, value: Any) -> str:
    changed = copy.deepcopy(params)
    assign(changed, path, value)
    parts = tuple(path.split("."))
    try:
        filled_component("fusion", changed)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            loc = tuple(map(str, item["loc"]))
            contradicts = item["type"] == "value_error" and len(loc) < len(parts)
            if not (contradicts and loc == parts[: len(loc)]):
                said = item.get("ctx", {}).get("error") or item["msg"]
                return worded("values that the fusion takes", json.dumps(value), str(said))
    return ""


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list | tuple) else 0


def _step(here: Any, part: str) -> Any:
    if isinstance(here, list | tuple):
        return here[int(part)]
    return here[part]


def find(params: Params, path: str) -> Any:
    """What stands at ``path``; ``""`` is all of it.

    Raises:
        LookupError: nothing does.
    """
    here: Any = params
    for part in path.split(".") if path else ():
        here = _step(here, part)
    return here


def assign(params: Params, path: str, value: Any) -> None:
    """Put a copy of ``value`` at ``path``, in place.

    Raises:
        LookupError: there is no mapping or list to put it in.
    """
    above, _, last = path.rpartition(".")
    here = find(params, above)
    if isinstance(here, list):
        here[int(last)] = copy.deepcopy(value)
    elif isinstance(here, dict):
        here[last] = copy.deepcopy(value)
    else:
        raise KeyError(path)
