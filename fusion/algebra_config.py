"""From an expression of `fusion.algebra` to the ``fusion:`` mapping that says the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fusion.algebra import Cut, Expression, Learned, Model, Series, Sum, Union
from fusion.config_components import RESERVED

__all__ = ["config_of"]

#: a longer name of a sub-fusion says only what it is, and of how many
LONGEST = 32


def config_of(expression: Expression) -> dict[str, Any]:
    """The smallest mapping: what has its default is left out, sub-fusions only where needed."""
    return _config(expression, _Names(set(_models(expression)) | RESERVED))


class _Names:
    """Readable names for sub-fusions: equal ones share a name, different ones never do."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken
        self._given: dict[Expression, str] = {}

    def of(self, one: Expression) -> str:
        """A model's own name, or a new one."""
        if isinstance(one, Model):
            return one.name
        if one not in self._given:
            stem, number = _word(one), 1
            name = stem
            while name in self._taken:
                number += 1
                name = f"{stem}_{number}"
            self._taken.add(name)
            self._given[one] = name
        return self._given[one]


def _config(one: Expression, names: _Names) -> dict[str, Any]:
    match one:
        case Model(name):
            return {"mode": "single", "model": name}
        case Union():
            settings = json.loads(one.settings)
            method: Any = {"name": one.method, **settings} if settings else one.method
            return _parallel(one.parts, {} if one.plain else {"method": method}, names)
        case Sum():
            return _parallel(one.parts, {"method": "weighted_sum"}, names)
        case Cut(inner, k):
            return {**_config(inner, names), "keep": k}
        case Series():
            flat = one.flat()
            stages = [{**_stage(stage, names), "keep": keep} for stage, keep in flat.stages]
            return {"mode": "serial", "stages": [*stages, _stage(flat.last, names)]}
        case Learned(operands, settings):
            below = _columns(operands, names)
            return {"mode": "learned", **below, **json.loads(settings)}
    raise TypeError(type(one).__name__)


def _parallel(
    parts: Sequence[tuple[float, Expression]], method: Mapping[str, Any], names: _Names
) -> dict[str, Any]:
    below = _columns([part for _, part in parts], names)
    weights = {
        names.of(part): int(weight) if weight.is_integer() else weight
        for weight, part in parts
        if weight != 1
    }
    return {"mode": "parallel", **below, **method, **({"weights": weights} if weights else {})}


def _columns(parts: Sequence[Expression], names: _Names) -> dict[str, Any]:
    fusions = {
        names.of(part): _config(part, names) for part in parts if not isinstance(part, Model)
    }
    models = [names.of(part) for part in parts]
    return {"models": models, **({"fusions": fusions} if fusions else {})}


def _stage(one: Expression, names: _Names) -> dict[str, Any]:
    """Models and a method where that says it, else a fusion of its own."""
    if isinstance(one, Model):
        return {"models": [one.name]}
    config = _config(one, names)
    if config["mode"] == "parallel" and "fusions" not in config and "keep" not in config:
        return {key: value for key, value in config.items() if key != "mode"}
    return {"fusion": config}


def _models(one: Expression) -> Iterator[str]:
    if isinstance(one, Model):
        yield one.name
    for part in _operands(one):
        yield from _models(part)


def _operands(one: Expression) -> tuple[Expression, ...]:
    match one:
        case Union(parts) | Sum(parts):
            return tuple(part for _, part in parts)
        case Cut(inner):
            return (inner,)
        case Series():
            flat = one.flat()
            return (*(stage for stage, _ in flat.stages), flat.last)
        case Learned(operands):
            return operands
    return ()


def _word(one: Expression) -> str:
    """``ease_or_item_knn``, or ``union_of_5`` where that is too long."""
    words = [part.name if isinstance(part, Model) else _word(part) for part in _operands(one)]
    match one:
        case Union(plain=True):
            long, short = "_or_".join(words), "union"
        case Union():
            method = re.sub("[^a-z0-9]+", "_", one.method.lower()).strip("_")
            long, short = "_".join([method, *words]), method
        case Sum():
            long, short = "_plus_".join(words), "sum"
        case Series():
            long, short = "_then_".join(words), "series"
        case Cut(_, k):
            long, short = f"{words[0]}_top_{k}", ""
            if len(long) > LONGEST:
                return f"top_{k}"
        case _:
            long, short = "_".join(["learned", *words]), "learned"
    name = long if len(long) <= LONGEST else f"{short}_of_{len(words)}"
    return name if re.match("[a-z]", name) else f"fusion_{name}"
