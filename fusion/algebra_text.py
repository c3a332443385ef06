"""From an expression of `fusion.algebra` to its text, with no parentheses that Python can miss."""

from __future__ import annotations

import json
from collections.abc import Callable

from fusion.algebra import Cut, Expression, Learned, Model, Series, Sum, Union

__all__ = ["text_of"]

#: how tightly an operator binds; an operand that binds less tightly stands in parentheses
UNION, SERIES, SUM, FACTOR, ATOM = range(5)

Leaf = Callable[[str], str]


def text_of(one: Expression, leaf: Leaf) -> str:
    """``one`` in Python, with ``leaf(name)`` for a model."""
    match one:
        case Model(name):
            return leaf(name)
        case Union(parts, method, settings):
            united = " | ".join(_weighted(weight, part, leaf, SERIES) for weight, part in parts)
            return united if one.plain else f"({united}).by({_call(settings, method)})"
        case Sum(parts):
            return " + ".join(_weighted(weight, part, leaf, FACTOR) for weight, part in parts)
        case Cut(inner, k):
            return f"{_inside(inner, leaf, FACTOR)} % {k}"
        case Series():
            flat = one.flat()
            stages = [f"{_inside(stage, leaf, FACTOR)} % {keep}" for stage, keep in flat.stages]
            return " >> ".join([*stages, _inside(flat.last, leaf, SUM)])
        case Learned((operand,), settings):
            return f"{_inside(operand, leaf, ATOM)}.learned({_call(settings)})"
        case Learned(operands, settings):
            over = " | ".join(_inside(part, leaf, SERIES) for part in operands)
            return f"({over}).learned({_call(settings)})"
    raise TypeError(type(one).__name__)


def _inside(one: Expression, leaf: Leaf, binds: int) -> str:
    text = text_of(one, leaf)
    return text if _binds(one) >= binds else f"({text})"


def _binds(one: Expression) -> int:
    match one:
        case Union(plain=True):
            return UNION
        case Series():
            return SERIES
        case Sum(parts):
            return SUM if len(parts) > 1 else FACTOR
        case Cut():
            return FACTOR
    return ATOM


def _weighted(weight: float, part: Expression, leaf: Leaf, binds: int) -> str:
    if weight == 1:
        return _inside(part, leaf, binds)
    shown = int(weight) if weight.is_integer() and weight < 1e15 else weight
    return f"{shown} * {_inside(part, leaf, ATOM)}"


def _call(settings: str, *first: str) -> str:
    named = (f"{name}={value!r}" for name, value in json.loads(settings).items())
    return ", ".join([*map(repr, first), *named])
