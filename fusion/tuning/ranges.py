"""A range of numbers that a search may try, even or logarithmic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from fusion.errors import ConfigError, explain
from fusion.protocols import ComponentConfig

__all__ = ["Dimension", "Range"]

Whole = int  # what `Range`, where `int` is a field, calls it


class Range(ComponentConfig):
    """All numbers from ``low`` to ``high``, both included."""

    low: float = Field(allow_inf_nan=False, description="the least value")
    high: float = Field(allow_inf_nan=False, description="the greatest value")
    log: bool = Field(False, description="whether ratios count instead of differences")
    int: bool = Field(False, description="whole numbers only; so it is where both ends are whole")

    @model_validator(mode="before")
    @classmethod
    def _whole_ends(cls, raw: Any) -> Any:
        ends = [raw.get("low"), raw.get("high")] if isinstance(raw, Mapping) else []
        if ends and "int" not in raw and all(type(end) is Whole for end in ends):
            return {**raw, "int": True}
        return raw

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low >= self.high:
            got = f"{self.low:g} and {self.high:g}"
            raise ConfigError(explain("range", "low below high", got))
        if self.log and self.low <= 0:
            raise ConfigError(explain("range", "low above 0 with log", f"{self.low:g}"))
        if self.int and not (self.low.is_integer() and self.high.is_integer()):
            got = f"{self.low:g} and {self.high:g}"
            raise ConfigError(explain("range", "whole ends with int", got))
        return self

    def at(self, share: float) -> float:
        """The value at ``share`` (0..1) of the way from low to high."""
        if self.log:
            value = float(np.exp(np.interp(share, [0, 1], np.log([self.low, self.high]))))
        else:
            value = float(np.interp(share, [0, 1], [self.low, self.high]))
        value = min(max(value, self.low), self.high)
        return round(value) if self.int else value

    def share(self, value: float) -> float:
        """Where ``value`` lies, 0..1; the inverse of `at`."""
        ends, x = np.array([self.low, self.high]), max(value, self.low)
        ends, x = (np.log(ends), np.log(x)) if self.log else (ends, x)
        return float(np.interp(x, ends, [0.0, 1.0]))

    def lattice(self, n: Whole) -> list[float]:
        """At most ``n`` values, evenly from low to high, each once."""
        return list(dict.fromkeys(self.at(share) for share in np.linspace(0, 1, n)))


#: choices, or a range
Dimension = Range | Sequence[Any]
