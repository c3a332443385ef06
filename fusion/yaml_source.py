"""YAML text to plain values, with the line and column of every key and value.

YAML 1.2, safely: mappings, lists, text, numbers, booleans and null only. A tag, a repeated key or
an environment variable that is not set is a `Fault`, and all of them are collected before anyone
stops.

``${NAME}`` and ``${NAME:-default}`` inside text stand for an environment variable (the default
holds where it is unset or empty); ``$${`` stands for ``${``. Where the whole of an unquoted value
is one such reference, what comes out is read as YAML again, so ``n: ${N}`` gives a number.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fusion.config_errors import Fault, Path, Positions, worded

__all__ = ["Source", "read_yaml"]

_CORE = "tag:yaml.org,2002:"
_SCALARS = {_CORE + name for name in ("null", "bool", "int", "float", "str", "timestamp")}
#: ``$${`` (an escape), or ``${NAME}`` with an optional ``:-default``
_REFERENCE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
#: aliases may repeat a value; a handful of lines that expand to millions of values is an attack
_MOST_VALUES = 20_000


@dataclass
class Source:
    """What was read.

    Attributes:
        value: dicts, lists, text, numbers, booleans, ``None``; faulty values are ``None``.
        positions: where each key and value stands.
        faults: what is wrong with the text itself.
    """

    value: Any = None
    positions: Positions = field(default_factory=Positions)
    faults: list[Fault] = field(default_factory=list)


def read_yaml(text: str, environment: Mapping[str, str] | None = None) -> Source:
    """Read one YAML document.

    Args:
        text: the document.
        environment: variables for ``${NAME}``; those of the process by default.

    Returns:
        The value with positions and faults; nothing is raised for what the text says.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    source = Source()
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(text)
        if node is None:
            source.faults.append(Fault((), worded("a mapping", "an empty document")))
        else:
            walk = _Walk(source, yaml, os.environ if environment is None else environment)
            source.value = walk.value(node, ())
    except MarkedYAMLError as error:
        if error.problem_mark is not None:
            mark = error.problem_mark
            source.positions.values[()] = (mark.line + 1, mark.column + 1)
        said = " ".join(filter(None, (error.context, error.problem)))
        source.faults.append(Fault((), worded("valid YAML", said, _advice(said, text, error))))
    except (YAMLError, RecursionError, ValueError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        source.faults.append(Fault((), worded("valid YAML", said)))
    return source


def _advice(said: str, text: str, error: Any) -> str:
    mark = error.problem_mark
    line = [] if mark is None else text.splitlines()[mark.line : mark.line + 1]
    if "\\t" in said:
        return "indent with spaces"
    if "${" in "".join(line):
        return "write one key a line around ${...}, or quote it if text is meant"
    return "mend the syntax"


class _Walk:
    """Turns composed nodes into values; ruamel's own constructor would lose every second fault."""

    def __init__(self, source: Source, yaml: Any, environment: Mapping[str, str]) -> None:
        self.source, self.yaml, self.environment = source, yaml, environment
        self.seen = 0

    def fault(self, path: Path, message: str, *, at_key: bool = False) -> None:
        self.source.faults.append(Fault(path, message, at_key=at_key))

    def value(self, node: Any, path: Path) -> Any:
        self.seen += 1
        if self.seen > _MOST_VALUES:
            raise ValueError(f"more than {_MOST_VALUES} values once its aliases are expanded")
        tag = str(node.tag)
        if node.value != "":  # nothing was written: the key is all that there is to point at
            self.source.positions.values[path] = _position(node)
        if tag == _CORE + "map":
            return self.mapping(node, path)
        if tag == _CORE + "seq":
            return [self.value(child, (*path, i)) for i, child in enumerate(node.value)]
        if tag in _SCALARS and isinstance(node.value, str):
            return self.scalar(node, path)
        self.fault(path, worded("plain YAML without tags", f"the tag {tag!r}", "remove it"))
        return None

    def mapping(self, node: Any, path: Path) -> dict[str, Any]:
        out: dict[str, Any] = {}
        merged: list[Any] = []
        keys = self.source.positions.keys
        for key_node, child in node.value:
            if str(key_node.tag) == _CORE + "merge":
                merged += child.value if str(child.tag) == _CORE + "seq" else [child]
                continue
            if not isinstance(key_node.value, str):
                self.fault(path, worded("keys of plain text", "a list or a mapping as a key"))
                continue
            key = key_node.value
            if key in out:
                first = keys[(*path, key)]
                here = ":".join(map(str, _position(key_node)))
                message = worded("each key once", f"{key!r} again at {here}", "keep one of the two")
                self.fault((*path, key), message, at_key=True)
                keys[(*path, key)] = first
                continue
            keys[(*path, key)] = _position(key_node)
            out[key] = self.value(child, (*path, key))
        for child in merged:  # the mapping's own keys win, then the earlier of the merged ones
            extra = self.value(child, (*path, "<<"))
            if not isinstance(extra, dict):
                self.fault(path, worded("a mapping after '<<'", str(child.tag)))
                continue
            for key, value in extra.items():
                if key not in out:
                    out[key] = value
                    self.source.positions.adopt((*path, "<<", key), (*path, key))
        return out

    def scalar(self, node: Any, path: Path) -> Any:
        text = node.value
        if _REFERENCE.search(text):
            filled = self.interpolated(text, path)
            if filled is None:
                return None
            whole = _REFERENCE.fullmatch(text)
            if node.style is not None or whole is None or whole[0] == "$${":
                return filled
            from ruamel.yaml.nodes import ScalarNode

            tag = self.yaml.resolver.resolve(ScalarNode, filled, (True, False))
            node = ScalarNode(str(tag), filled, node.start_mark, node.end_mark)
        tag = str(node.tag)
        if tag in (_CORE + "str", _CORE + "timestamp"):  # no field is a date: it stays as written
            return node.value
        return self.yaml.constructor.construct_object(node)

    def interpolated(self, text: str, path: Path) -> str | None:
        unset: list[str] = []

        def one(match: re.Match[str]) -> str:
            name, default = match[1], match[2]
            if name is None:
                return "${"
            value = self.environment.get(name, "")
            if value or (default is None and name in self.environment):
                return value
            if default is None:
                unset.append(name)
            return default or ""

        filled = _REFERENCE.sub(one, text)
        for name in unset:
            hint = f"set it, or write ${{{name}:-default}}"
            self.fault(path, worded(f"the environment variable {name} to be set", "nothing", hint))
        return None if unset else filled


def _position(node: Any) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
