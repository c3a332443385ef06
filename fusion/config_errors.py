"""What is wrong with a configuration, and where: every fault in one `ConfigError`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from fusion.errors import ConfigError, explain

__all__ = ["Fault", "Path", "Positions", "config_error", "faults_of", "nearest", "worded"]

#: keys and list indices from the top
Path = tuple[str | int, ...]


def worded(expected: str, got: str, do: str = "") -> str:
    """`fusion.errors.explain` without its first part, which is the place and known later."""
    return explain("", expected, got, do).removeprefix(": ")


def nearest(name: str, names: Iterable[str]) -> str:
    """``did you mean 'reg'?`` for the name most like ``name``, or "".

    >>> nearest("regg", ["n", "reg"])
    "did you mean 'reg'?"
    """
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean {near[0]!r}?" if near else ""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        path: where in the configuration.
        message: ``expected ..., got ...; what to do``.
        at_key: whether the key itself is at fault, not its value.
    """

    path: Path
    message: str
    at_key: bool = False


@dataclass
class Positions:
    """Line and column, both from 1, of keys and values by path; none where there is no file."""

    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def find(self, fault: Fault) -> tuple[int, int] | None:
        """Where to look: the key or the value, or the nearest one above that was written."""
        path = fault.path
        if not fault.at_key and path in self.values:
            return self.values[path]
        while path and path not in self.keys:
            path = path[:-1]
        return self.keys.get(path, self.values.get(()))

    def adopt(self, old: Path, new: Path) -> None:
        """Say of everything at and below ``new`` what is known of ``old``."""
        for known in (self.keys, self.values):
            for path in [p for p in known if p[: len(old)] == old]:
                known[(*new, *path[len(old) :])] = known[path]


def config_error(faults: Sequence[Fault], source: str, positions: Positions) -> ConfigError:
    """The one error for ``faults``, in the order of the file."""
    placed = [(positions.find(fault) or (0, 0), fault) for fault in faults]
    placed.sort(key=lambda pair: pair[0])
    lines = []
    for (line, column), fault in placed:
        where = f"{source}:{line}:{column}" if line else source
        path = ".".join(map(str, fault.path))
        lines.append(f"{where}: {path}: {fault.message}" if path else f"{where}: {fault.message}")
    if len(lines) == 1:
        return ConfigError(lines[0])
    return ConfigError("\n  ".join([f"{source}: {len(lines)} faults", *lines]))


def faults_of(
    error: ValidationError, raw: Any, names_at: Callable[[Path], Sequence[str]]
) -> Iterator[Fault]:
    """The faults in pydantic's ``error`` on ``raw``, worded and with near names.

    Args:
        error: from validating ``raw``.
        raw: plain values.
        names_at: the keys that the mapping at a path may have.
    """
    branches: dict[Path, list[str]] = {}  # a union fails once a branch, at one place
    inputs: dict[Path, Any] = {}
    paths: list[Path] = []
    items = error.errors(include_url=False)
    locs = [item["loc"] for item in items]
    for item in items:
        kind, given = item["type"], item["input"]
        path, at_key = _real_path(item["loc"], raw)
        paths.append(path)
        below = any(loc != item["loc"] and loc[: len(item["loc"])] == item["loc"] for loc in locs)
        if kind == "too_short" and below:
            continue  # what is missing are the elements that are faulty themselves
        if kind == "extra_forbidden":
            names = sorted(names_at(path[:-1]))
            expected = f"one of the keys {', '.join(names)}" if names else "no such key"
            hint = nearest(str(path[-1]), names)
            yield Fault(path, worded(expected, repr(path[-1]), hint), at_key=True)
        elif kind == "missing":
            path = (*path, *item["loc"][-1:])
            yield Fault(path, worded("this key, which has no default", "nothing"), at_key=True)
        elif kind in ("union_tag_not_found", "union_tag_invalid"):  # which of several mappings
            key, tags = (str(item["ctx"].get(n, "")) for n in ("discriminator", "expected_tags"))
            key, known = key.strip("'"), re.findall(r"'([^']*)'", tags)
            if kind == "union_tag_not_found":
                yield Fault((*path, key), worded("this key, which has no default", "nothing"))
            else:
                tag = str(item["ctx"]["tag"])
                hint = nearest(tag, known)
                expected = f"one of {', '.join(known)}"
                yield Fault((*path, key), worded(expected, repr(tag), hint))
        elif kind == "value_error":
            yield Fault(path, str(item.get("ctx", {}).get("error", item["msg"])), at_key)
        elif kind == "fault":
            loc = item["loc"]
            # a component named by its own key (or by default) has no `type` to point at
            absent = len(loc) > 1 and path[-1:] != loc[-1:]
            yield Fault(loc[:-1] if absent else loc, item["msg"], at_key or absent)
        elif kind == "literal_error" and len(branches.get(path, [])) == 0:
            expected = _expected(item["msg"])
            hint = nearest(str(given), re.findall(r"'([^']*)'", expected))
            yield Fault(path, worded(f"one of {expected}", _got(given), hint), at_key)
        elif at_key:
            yield Fault(path, worded(_expected(item["msg"]), repr(given)), at_key=True)
        else:
            branches.setdefault(path, []).append(_expected(item["msg"]))
            inputs[path] = given
    for path, expected_of in branches.items():
        meant_branch_is_told = isinstance(inputs[path], dict) and any(
            len(other) > len(path) and other[: len(path)] == path for other in paths
        )
        if not meant_branch_is_told:
            message = worded(" or ".join(dict.fromkeys(expected_of)), _got(inputs[path]))
            yield Fault(path, message)


def _real_path(loc: tuple[str | int, ...], raw: Any) -> tuple[Path, bool]:
    """``loc`` without the names of union branches, and whether it speaks of a key."""
    path: list[str | int] = []
    here = raw
    for part in loc:
        inside = (isinstance(here, dict) and part in here) or (
            isinstance(here, list) and isinstance(part, int) and part < len(here)
        )
        if inside:
            here = here[part]
            path.append(part)
    return tuple(path), bool(loc) and loc[-1] == "[key]"


_PLAIN = {
    "an object": "a mapping",
    "a valid dictionary": "a mapping",
    "a valid array": "a list",
    "a valid list": "a list",
    "a valid tuple": "a list",
    "a valid string": "text",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
}


_SUBJECTS = {"Input": "something", "String": "text", "Dictionary": "a mapping", "Tuple": "a list"}


def _expected(said: str) -> str:
    """What pydantic wanted, as a phrase that goes after "expected"."""
    said = re.sub(r" after validation, not \d+$", "", said)  # the input is shown beside it
    match = re.match(r"(\w+) should (be|have|match) (.*)", said)
    if match is None:
        return said[:1].lower() + said[1:]
    subject, verb, rest = match.groups()
    if verb == "be":
        number = re.match(r"(greater|less) than", rest)
        return "a number " + rest if number else _PLAIN.get(rest, rest)
    subject = _SUBJECTS.get(subject, f"a {subject.lower()}")
    return f"{subject} with {rest}" if verb == "have" else f"{subject} that matches {rest}"


def _got(value: Any) -> str:
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return f"a mapping of {', '.join(map(str, value)) or 'nothing'}"
    said = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
    if isinstance(value, list):
        return f"the list {said}"
    return f"the text {said}" if isinstance(value, str) else said
