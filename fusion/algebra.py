"""A small algebra of fusions: expressions in Python that say what a ``fusion:`` mapping says.

>>> ease, knn, bert = model("ease"), model("item_knn"), model("bert")
>>> cascade = (ease | knn) % 100 >> ease + 2 * bert
>>> print(cascade)
(ease | item_knn) % 100 >> ease + 2 * bert
>>> cascade.to_config()["stages"][0]
{'models': ['ease', 'item_knn'], 'keep': 100}

=================  ============================================================================
``x | y``          union: reciprocal rank fusion of both orders; a factor is a weight in it
``x + y``          sum of the min-max scores, a missing one as `WeightedSum` has it
``2 * x``          weight of ``x`` in a sum or a union; on either side, above 0
``x % k``          the ``k`` best candidates of each query, no others; also ``x.top(k)``
``x % k >> y``     cascade: ``y`` orders the ``k`` best of ``x``, the others stand behind them in
                   the order of ``x``; see `fusion.strategies.serial.Serial`
``(x | y).by(m)``  the union by another method, with its settings
``x.learned()``    a stacker over the operands of a union, or over ``x``
=================  ============================================================================

Python's precedence, the tightest first: ``* %``, ``+``, ``>>``, ``|``. So ``a | b % 9 >> c`` is
``a | ((b % 9) >> c)``.

Laws. Expressions that one of these makes equal are equal (``==``, same hash), so they are one
fusion and give the same lists:

- ``a | b == b | a`` and ``(a | b) | c == a | (b | c)``: one union of three; likewise ``+``.
- ``1 * a == a``, ``v * (w * a) == (v * w) * a``, ``a + a == 2 * a``, ``w * (a + b) == w * a +
  w * b``; in a union ``w * (a | b) | c == w * a | w * b | c`` (weights are floats: to rounding).
- ``(a % j) % k == a % min(j, k)``.
- ``(a % j >> b % k) >> c == a % j >> (b % k >> c)``.
- ``(a % j >> b) % k == a % j >> b % k`` for ``k <= j``. Cutoffs in a cascade never rise.
- ``(a | b).by("rrf") == a | b``.

Laws of the lists:

- ``x % k`` is the first ``k`` of ``x``, in their order; a ``k`` above every list changes nothing.
- ``x % k >> y``, where ``x`` and ``y`` are no cutoffs: its first ``k`` are those of ``x % k``, in
  the order of ``y``; the rest is the rest of ``x``, in its order. With ``k`` above every list it
  has the order of ``y`` alone. (A model as a stage puts last what it has no score for; alone it
  leaves that out.)
- ``w * (a + b)`` has the order of ``a + b``, its scores are ``w`` times as high.
- A sub-expression counts as what it is alone: ``(a + b) | c`` merges the order of ``a + b``.

What does not hold: ``a | a`` is refused, as it would say ``a`` twice; ``>>`` does not commute, nor
distribute over ``|`` or ``+``; ``2 * (a + b) | c`` is ``a + b | c``, since a union looks at orders
only and the factor went into the sum.
"""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, NoReturn

from pydantic import ValidationError

from fusion.config_components import RESERVED, filled_component
from fusion.errors import ConfigError, explain

__all__ = ["Cut", "Expression", "Learned", "Model", "Series", "Sum", "Union", "model"]


def model(name: str) -> Expression:
    """The model ``name`` of the engine.

    Raises:
        ConfigError: no model can have this name.
    """
    if not isinstance(name, str) or not re.fullmatch("[a-z][a-z0-9_]*", name) or name in RESERVED:
        raise ConfigError(explain("model", "the name of a model, like item_knn", repr(name)))
    return Model(name)


class Expression(ABC):
    """A fusion, written down. Immutable; equal to what the laws of the module say it equals."""

    def __or__(self, other: Expression) -> Expression:
        """Union."""
        parts = (*_union_parts(self), *_union_parts(_operand("|", other)))
        operands = [part for _, part in parts]
        for part in operands:
            if operands.count(part) > 1:
                hint = "give it a weight instead"
                raise ConfigError(explain("|", "each operand once", f"{part} twice", hint))
        return Union(parts)

    def __add__(self, other: Expression) -> Expression:
        """Sum of min-max scores."""
        return _sum((*_sum_parts(self), *_sum_parts(_operand("+", other))))

    def __mul__(self, weight: float) -> Expression:
        """A weight above 0."""
        factor = _positive(weight)
        return _sum(tuple((factor * own, part) for own, part in _sum_parts(self)))

    def __mod__(self, k: int) -> Expression:
        """Cutoff, see `top`."""
        return self.top(k)

    def __rshift__(self, other: Expression) -> Expression:
        """Cascade."""
        return _series(self, _operand(">>", other))

    def __radd__(self, other: object) -> Expression:
        """``0 + x`` is ``x``, so that `sum` works."""
        if isinstance(other, int) and not isinstance(other, bool) and other == 0:
            return self
        return _operand("+", other)

    def __rmul__(self, weight: float) -> Expression:
        """A weight above 0."""
        return self * weight

    def __ror__(self, other: object) -> Expression:
        _refuse("|", other)

    def __rrshift__(self, other: object) -> Expression:
        _refuse(">>", other)

    def __rmod__(self, other: object) -> Expression:
        _refuse("%", other)

    def top(self, k: int) -> Expression:
        """The ``k`` best candidates of each query, and no others.

        Raises:
            ConfigError: ``k`` is no whole number of at least 1.
        """
        return _cut(self, _count(k))

    def by(self, method: str, /, **settings: Any) -> Expression:
        """A union by another fusion method.

        Args:
            method: a registered name, or ``module:Class``.
            **settings: the method's own.

        Raises:
            ConfigError: this is no union, nobody knows the method, or it has no such setting.
        """
        if not isinstance(self, Union):
            raise ConfigError(explain("by", "a union", str(self), "write (a | b).by(...)"))
        if "weights" in settings:
            raise ConfigError(explain("by", "weights as factors", "weights", "write 2 * a | b"))
        text = _json("by", settings)
        _check("by", {"mode": "parallel", "method": {**settings, "name": method}})
        return Union(self.parts, method, text)

    def learned(self, **settings: Any) -> Expression:
        """A stacker over the operands of a union; of another expression, over its one column.

        Args:
            **settings: of ``mode: learned``: ``stacker``, ``missing`` and so on.

        Raises:
            ConfigError: an unknown setting, or weights in the union, which would say nothing.
        """
        for name in ("mode", "models", "fusions", "keep"):
            if name in settings:
                raise ConfigError(explain("learned", "settings of the stacking", repr(name)))
        operands: tuple[Expression, ...] = (self,)
        if isinstance(self, Union) and self.plain:
            operands = tuple(part for _, part in self.parts)
            if any(weight != 1 for weight, _ in self.parts):
                hint = "the stacker finds them"
                raise ConfigError(explain("learned", "a union without weights", str(self), hint))
        text = _json("learned", settings)
        _check("learned", {**settings, "mode": "learned"})
        return Learned(operands, text)

    def to_config(self) -> dict[str, Any]:
        """The smallest ``fusion:`` mapping that says the same."""
        from fusion.algebra_config import config_of

        return config_of(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __str__(self) -> str:
        from fusion.algebra_text import text_of

        return text_of(self, str)

    def __repr__(self) -> str:
        from fusion.algebra_text import text_of

        return text_of(self, lambda name: f"model({name!r})")

    @abstractmethod
    def _key(self) -> Hashable:
        """Equal for expressions that the laws make equal."""


@dataclass(frozen=True, eq=False, repr=False)
class Model(Expression):
    """One model."""

    name: str

    def _key(self) -> Hashable:
        return self.name


_Weighted = tuple[tuple[float, Expression], ...]
_Stages = tuple[tuple[Expression, int], ...]


@dataclass(frozen=True, eq=False, repr=False)
class Union(Expression):
    """At least two different operands with their weights, merged by a method.

    Attributes:
        settings: of the method, as JSON with sorted keys.
    """

    parts: _Weighted
    method: str = "rrf"
    settings: str = "{}"

    @property
    def plain(self) -> bool:
        """Whether it is merged as ``|`` does by itself."""
        return (self.method, self.settings) == ("rrf", "{}")

    def _key(self) -> Hashable:
        parts = frozenset((weight, part._key()) for weight, part in self.parts)
        return ("|", parts, self.method, self.settings)


@dataclass(frozen=True, eq=False, repr=False)
class Sum(Expression):
    """Different operands with their weights; a single one only if its weight is not 1."""

    parts: _Weighted

    def _key(self) -> Hashable:
        return ("+", frozenset((weight, part._key()) for weight, part in self.parts))


@dataclass(frozen=True, eq=False, repr=False)
class Cut(Expression):
    """The ``k`` best of ``inner``, which is no cut itself.

    A cascade in it is `Series.grouped`, so that what the laws make equal has one form.
    """

    inner: Expression
    k: int

    def _key(self) -> Hashable:
        return ("%", self.inner._key(), self.k)


@dataclass(frozen=True, eq=False, repr=False)
class Series(Expression):
    """A cascade: stages, each with how many it passes on, and the last one."""

    stages: _Stages
    last: Expression

    def flat(self) -> Series:
        """With a cascade in the last place laid out as stages."""
        if isinstance(self.last, Series):
            return Series((*self.stages, *self.last.stages), self.last.last)
        return self

    def grouped(self, k: int) -> Series:
        """With all stages behind one that passes on at least ``k`` as one stage."""
        flat = self.flat()
        wide = sum(keep >= k for _, keep in flat.stages)  # cutoffs fall, so these come first
        if wide in (0, len(flat.stages)):
            return flat
        return Series(flat.stages[:wide], Series(flat.stages[wide:], flat.last))

    def _key(self) -> Hashable:
        stages = tuple((stage._key(), keep) for stage, keep in self.stages)
        return (">>", stages, self.last._key())


@dataclass(frozen=True, eq=False, repr=False)
class Learned(Expression):
    """A stacker over the columns of its operands.

    Attributes:
        settings: of ``mode: learned``, as JSON with sorted keys.
    """

    operands: tuple[Expression, ...]
    settings: str = "{}"

    def _key(self) -> Hashable:
        return ("learned", tuple(part._key() for part in self.operands), self.settings)


def _operand(operator: str, other: object) -> Expression:
    return other if isinstance(other, Expression) else _refuse(operator, other)


def _refuse(operator: str, other: object) -> NoReturn:
    hint = f"write model({other!r})" if isinstance(other, str) else "build it from model(...)"
    raise ConfigError(explain(operator, "an expression", _shown(other), hint))


def _positive(weight: object) -> float:
    if isinstance(weight, bool) or not isinstance(weight, Real):
        raise ConfigError(explain("*", "a number", _shown(weight), "or write a sum: a + b"))
    factor = float(weight)
    if not (math.isfinite(factor) and factor > 0):
        hint = "leave out what shall not count"
        raise ConfigError(explain("*", "a weight above 0", f"{factor:g}", hint))
    return factor


def _count(k: object) -> int:
    if isinstance(k, bool) or not isinstance(k, Integral) or k < 1:
        raise ConfigError(explain("%", "a whole number of at least 1", _shown(k)))
    return int(k)


def _shown(thing: object) -> str:
    return f"{type(thing).__name__} {thing!r}"


def _union_parts(one: Expression) -> _Weighted:
    """What ``one`` brings into a union: a factor is a weight, a plain union its operands."""
    weight = 1.0
    if isinstance(one, Sum) and len(one.parts) == 1:
        ((weight, one),) = one.parts
    if isinstance(one, Union) and one.plain:
        return tuple((_positive(weight * own), part) for own, part in one.parts)
    return ((weight, one),)


def _sum_parts(one: Expression) -> _Weighted:
    return one.parts if isinstance(one, Sum) else ((1.0, one),)


def _sum(parts: _Weighted) -> Expression:
    """Equal operands together; what has the weight 1 and stands alone is itself."""
    together: dict[Expression, float] = {}
    for weight, part in parts:
        together[part] = together.get(part, 0.0) + weight
    if list(together.values()) == [1.0]:
        return next(iter(together))
    return Sum(tuple((_positive(weight), part) for part, weight in together.items()))


def _cut(one: Expression, k: int) -> Expression:
    if isinstance(one, Cut):
        return _cut(one.inner, min(one.k, k))
    return Cut(one.grouped(k) if isinstance(one, Series) else one, k)


def _series(left: Expression, right: Expression) -> Expression:
    if not isinstance(left, Cut):
        what = str(left) if isinstance(left, Model) else f"({left})"
        hint = f"say how many go on: {what} % 100"
        raise ConfigError(explain(">>", "a cutoff before it", str(left), hint))
    body, cut = (right.inner, right.k) if isinstance(right, Cut) else (right, None)
    after = body.flat() if isinstance(body, Series) else Series((), body)
    for keep in (*(keep for _, keep in after.stages[:1]), cut or 0):
        if keep > left.k:
            hint = "lower it, or cut the whole cascade: (x >> y) % k"
            expected = f"a cutoff of at most the {left.k} that reach it"
            raise ConfigError(explain(">>", expected, str(keep), hint))
    before: _Stages = ((left.inner, left.k),)
    if isinstance(left.inner, Series) and left.k <= left.inner.stages[-1][1]:
        before = (*left.inner.stages, (left.inner.last, left.k))
    whole = Series((*before, *after.stages), after.last)
    return whole if cut is None else _cut(whole, cut)


def _json(who: str, settings: Mapping[str, Any]) -> str:
    try:
        return json.dumps(settings, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        wanted = "text, numbers, booleans, lists and mappings"
        raise ConfigError(explain(who, wanted, str(error))) from error


def _check(who: str, fusion: Mapping[str, Any]) -> None:
    """Refuse settings that a configuration refuses."""
    try:
        filled_component("fusion", dict(fusion))
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        )
        raise ConfigError(f"{who}: {told}") from error
