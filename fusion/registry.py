"""Names to classes through entry points: the one door, for built-ins and third parties alike.

Groups: ``recfusion.retrievers``, ``recfusion.rankers``, ``recfusion.strategies``,
``recfusion.methods``, ``recfusion.normalizations``, ``recfusion.stackers``, ``recfusion.steps``. A
YAML may also say ``module:Class``.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from fusion.after.step import Step
from fusion.errors import ConfigError, UnknownComponentError, explain
from fusion.protocols import Component, Method, Normalization, Ranker, Retriever, Strategy
from fusion.stackers.base import Stacker

__all__ = ["GROUPS", "known", "resolve"]

#: group -> the class every member derives from
GROUPS: Mapping[str, type[Component]] = MappingProxyType(
    {
        "retrievers": Retriever,
        "rankers": Ranker,
        "strategies": Strategy,
        "methods": Method,
        "normalizations": Normalization,
        "stackers": Stacker,
        "steps": Step,
    }
)
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@cache
def known(group: str) -> Mapping[str, EntryPoint]:
    """The registered names of ``group``.

    Raises:
        ConfigError: two distributions register one name (both are named), or a name that is not
            lower-case letters, digits and underscores.
    """
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=f"recfusion.{group}"), key=lambda p: (p.name, p.value)):
        if not _NAME.fullmatch(point.name):
            raise ConfigError(
                explain(
                    f"{group} {point.name!r} of {_owner(point)}", "a name like item_knn", point.name
                )
            )
        other = found.get(point.name)
        if other is not None and other.value != point.value:
            raise ConfigError(
                explain(
                    f"recfusion.{group}",
                    "each name registered once",
                    f"{point.name!r} from {_owner(other)} and from {_owner(point)}",
                    "uninstall one, or name the class as module:Class",
                )
            )
        found[point.name] = point
    return MappingProxyType(found)


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value


def resolve(group: str, name: str) -> type[Component]:
    """The class that ``name`` stands for: a registered name or ``module:Class``.

    Raises:
        UnknownComponentError: not registered; the message lists the known names and the nearest.
        ConfigError: it cannot be imported, or is not a member of the group.
    """
    if ":" in name:
        module, _, attribute = name.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            # the last two: an empty or a relative module name
            raise ConfigError(explain(name, "an importable module:Class", str(error))) from error
    else:
        names = known(group)
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "check the spelling"
            raise UnknownComponentError(
                explain(
                    f"recfusion.{group}", f"one of {', '.join(sorted(names))}", repr(name), hint
                )
            )
        try:
            found = names[name].load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                explain(
                    f"{group} {name!r} of {_owner(names[name])}", "to be importable", str(error)
                )
            ) from error
    if not (isinstance(found, type) and issubclass(found, GROUPS[group])):
        raise ConfigError(
            explain(f"{group} {name!r}", f"a subclass of {GROUPS[group].__name__}", repr(found))
        )
    return found
