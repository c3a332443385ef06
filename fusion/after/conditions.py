"""Conditions over the fields of an item: ``{field: price, max: 20}``."""

from __future__ import annotations

from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, model_validator

from fusion.data.dataset import Catalog
from fusion.data.fields import as_values, column
from fusion.errors import DataError, explain
from fusion.protocols import ComponentConfig

__all__ = ["Condition", "Conditions", "all_hold"]

Scalar = bool | int | float | str


class Condition(ComponentConfig):
    """What must hold of one field; of several operators, each.

    An item without a value meets ``not_in`` and ``present: false`` and nothing else.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True
    )

    field: str = Field(description="name of a column of the items' table")
    equals: Scalar | None = Field(None, description="its one value is this")
    in_: tuple[Scalar, ...] | None = Field(
        None, alias="in", description="its value, or one of its list, is among these"
    )
    not_in: tuple[Scalar, ...] | None = Field(
        None, description="neither its value nor any of its list is among these"
    )
    contains: Scalar | None = Field(None, description="its list holds this")
    min: float | None = Field(None, description="its number is at least this")
    max: float | None = Field(None, description="its number is at most this")
    present: bool | None = Field(None, description="whether it has a value at all")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self._operators:
            raise ValueError("a condition needs equals, in, not_in, contains, min, max or present")
        return self

    @property
    def _operators(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in type(self).model_fields if name != "field"}
        return {name.rstrip("_"): value for name, value in given.items() if value is not None}

    def __str__(self) -> str:
        return " and ".join(
            f"{self.field} {name} {_plain(value)}" for name, value in self._operators.items()
        )

    def mask(self, catalog: Catalog, who: str) -> npt.NDArray[np.bool_]:
        """(I,) bool: the items that meet it.

        Raises:
            ConfigError: no such field; the known ones are listed.
            DataError: ``min`` or ``max`` over values that are no numbers, ``contains`` over values
                that are no lists.
        """
        values = column(catalog, self.field, who)
        holds = np.ones(len(values), bool)
        lists = [as_values(value, self.field, who) for value in values]
        for name, wanted in self._operators.items():
            if name in ("min", "max"):
                numbers = self._numbers(values, who)
                holds &= numbers >= wanted if name == "min" else numbers <= wanted
                continue
            if name == "contains":
                self._need_lists(values, who)
            test = _TESTS[name]
            holds &= np.fromiter((test(own, wanted) for own in lists), bool, len(lists))
        return holds

    def _numbers(self, values: tuple[Any, ...], who: str) -> npt.NDArray[np.float64]:
        out = np.full(len(values), np.nan)
        for at, value in enumerate(values):
            if isinstance(value, int | float) and not isinstance(value, bool):
                out[at] = value
            elif value is not None:
                raise self._wrong("numbers for min and max", value, who)
        return out

    def _need_lists(self, values: tuple[Any, ...], who: str) -> None:
        for value in values:
            if value is not None and not isinstance(value, list | tuple | set | frozenset):
                raise self._wrong("lists for contains (else say equals)", value, who)

    def _wrong(self, expected: str, value: Any, who: str) -> DataError:
        got = f"{value!r} ({type(value).__name__})"
        return DataError(explain(f"{who}, field {self.field!r}", expected, got))


def _plain(value: Any) -> Any:
    """As it was written: 20 and not 20.0, a list and not a tuple."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return list(value) if isinstance(value, tuple) else value


_TESTS: dict[str, Any] = {
    "equals": lambda own, wanted: len(own) == 1 and own[0] == wanted,
    "in": lambda own, wanted: any(value in wanted for value in own),
    "not_in": lambda own, wanted: not any(value in wanted for value in own),
    "contains": lambda own, wanted: wanted in own,
    "present": lambda own, wanted: (len(own) > 0) == wanted,
}

Conditions = Annotated[tuple[Condition, ...], Field(description="conditions over item fields")]


def all_hold(
    conditions: tuple[Condition, ...], catalog: Catalog, who: str
) -> npt.NDArray[np.bool_]:
    """(I,) bool: the items that meet every condition; without any, all."""
    holds = np.ones(len(catalog), bool)
    for condition in conditions:
        holds &= condition.mask(catalog, who)
    return holds
