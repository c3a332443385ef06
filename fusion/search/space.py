"""The space of a search, checked against the configuration before anything is computed.

::

    retrievers.ease.half_life: {float: [1, 20], log: true}
    retrievers.item_knn.k: {int: [20, 500], log: true}
    retrievers.item_knn.shrink: {choice: [0, 5, 20]}
    fusion.method: {choice: [rrf, {name: weighted_sum, normalization: z_score}]}
    rankers.bert.cross: bool
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusion.config import EngineConfig
from fusion.config_checks import names_at
from fusion.config_errors import Fault, Positions, config_error, nearest, worded
from fusion.errors import ConfigError
from fusion.search.dimensions import Dimension, read_dimension
from fusion.tuning.paths import assign, find
from fusion.yaml_source import read_yaml

__all__ = ["SECTIONS", "SearchSpace"]

#: what the accuracy of the fused lists depends on; the others say how to measure and how to serve
SECTIONS = ("retrievers", "rankers", "fusion", "stacking", "seed")
#: keys that say which component stands there: its other keys would not fit the next one
_WHICH = ("type", "mode", "name")


@dataclass(frozen=True)
class SearchSpace:
    """Every configuration that a search may try, over one that it starts from.

    Attributes:
        base: what is not searched is as it says.
        dimensions: in the order of the file.
    """

    base: EngineConfig
    dimensions: tuple[Dimension, ...]

    @classmethod
    def read(cls, source: str | Path | Mapping[str, Any], base: EngineConfig) -> SearchSpace:
        """From a YAML file, or a mapping of the same shape.

        Raises:
            ConfigError: every fault with ``file:line:column``: a path that ``base`` has not (the
                nearest that it has is named), or values that do not fit there.
        """
        if isinstance(source, Mapping):
            raw: Any = json.loads(json.dumps(source))
            name, positions, faults = "space", Positions(), list[Fault]()
        else:
            raw, name, positions, faults = _from_file(Path(source))
        if not faults and (not isinstance(raw, dict) or not raw):
            faults = [Fault((), worded("a mapping of paths to what may stand there", repr(raw)))]
        dimensions = []
        for path, about in raw.items() if not faults else ():
            found = read_dimension(path, about)
            if isinstance(found, Dimension):
                dimensions.append(found)
                faults += _faults(found, base)
            else:
                faults.append(found)
        faults += _overlaps(dimensions)
        if faults:
            raise config_error(faults, name, positions)
        return cls(base, tuple(dimensions))

    @property
    def start(self) -> dict[str, Any] | None:
        """The values of ``base`` as Optuna writes them; ``None`` where one is outside."""
        raw = self.base.to_dict()
        try:
            return {d.path: d.as_asked(find(raw, d.path)) for d in self.dimensions}
        except (ValueError, LookupError):
            return None

    def touches(self, section: str) -> bool:
        """Whether a dimension lies in ``section``."""
        return any(dimension.parts[0] == section for dimension in self.dimensions)

    def config(self, values: Mapping[str, Any]) -> EngineConfig:
        """``base`` with ``values`` (path to value) in it.

        Raises:
            ConfigError: they contradict each other.
        """
        made = EngineConfig.from_mapping(_with(self.base.to_dict(), values))
        made._base_folder = self.base._base_folder
        return made

    def to_json(self) -> dict[str, Any]:
        """Path to what may stand there."""
        return {dimension.path: dimension.to_json() for dimension in self.dimensions}


def _from_file(path: Path) -> tuple[Any, str, Positions, list[Fault]]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        fault = Fault((), worded("a YAML file in UTF-8", why, "check the path"))
        return None, str(path), Positions(), [fault]
    source = read_yaml(text)
    return source.value, str(path), source.positions, source.faults


def _with(raw: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    out = copy.deepcopy(raw)
    for path, value in values.items():
        assign(out, path, value)
    return out


def _overlaps(dimensions: list[Dimension]) -> Iterator[Fault]:
    for inner in dimensions:
        for outer in dimensions:
            if inner.path.startswith(f"{outer.path}."):
                message = worded(f"no path inside of {outer.path!r}, which is searched", "this one")
                yield Fault((inner.path,), message, at_key=True)


def _faults(dimension: Dimension, base: EngineConfig) -> Iterator[Fault]:
    raw = base.to_dict()
    message = _path_fault(dimension, raw)
    if message:
        yield Fault((dimension.path,), message, at_key=True)
        return
    for place, value in dimension.samples:
        message = _value_fault(dimension, raw, value)
        if message:
            yield Fault(place, message)


def _path_fault(dimension: Dimension, raw: dict[str, Any]) -> str:
    parts = dimension.parts
    if parts[0] not in SECTIONS:
        expected = f"a path that starts with one of {', '.join(SECTIONS)}"
        do = nearest(parts[0], SECTIONS)
        if not do and parts[0] in raw:
            do = "this section does not change what is measured"
        return worded(expected, repr(dimension.path), do)
    here: Any = raw
    for at, part in enumerate(parts):
        above, last = parts[:at], at == len(parts) - 1
        if isinstance(here, list):
            keys = [str(place) for place in range(len(here))]
        elif isinstance(here, dict):
            keys = list(map(str, here))
            if last:
                keys = sorted({*keys, *_names(raw, above)})
        else:
            place = ".".join(above)
            got = "nothing" if here is None else json.dumps(here)
            return worded(f"a mapping or a list at {place!r}", got, "write it into the file first")
        named = last and parts[-2:-1] == ("weights",)  # models have none before it is given
        if part not in keys and not named:
            expected = f"one of the keys {', '.join(keys)}" if keys else "no path below"
            near = nearest(part, keys)
            if near:  # the whole path, to be pasted
                near = near.replace("'", f"'{'.'.join([*above, ''])}", 1)
            where = f" at {'.'.join(above)!r}" if above else ""
            return worded(expected + where, repr(dimension.path), near)
        here = here[int(part)] if isinstance(here, list) else here.get(part)
    if parts[-1] in _WHICH and len(parts) > 1:
        whole = ".".join(parts[:-1])
        return worded(
            "a path whose other keys stay valid", repr(dimension.path), f"give choices of {whole!r}"
        )
    return ""


def _names(raw: dict[str, Any], above: tuple[str, ...]) -> list[str]:
    path = tuple(int(part) if part.isdecimal() else part for part in above)
    try:
        return names_at(EngineConfig, raw, path)
    except (LookupError, TypeError, ValueError):
        return []


def _value_fault(dimension: Dimension, raw: dict[str, Any], value: Any) -> str:
    """Why the engine never takes ``value`` there.

    What only contradicts another field may be mended by another dimension: such trials are refused
    one by one.
    """
    try:
        EngineConfig.from_mapping(_with(raw, {dimension.path: value}))
    except ConfigError as error:
        said = str(error)
        if re.search(rf"(^|[ :]){re.escape(dimension.path)}[.:]", said):
            reason = " ".join(said.replace(f"config: {dimension.path}: ", "").split())
            return worded("a value that the engine takes", json.dumps(value), reason)
    return ""
