"""What a history says beside its items' texts: what the user thought of them, and the time between.

Both stand on lines of their own, so an item has the same tokens with and without them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Events", "Notes", "gap_words", "rating_words"]

Tokens = npt.NDArray[np.int64]
_NOTHING = np.empty(0, np.int64)
_DAY = 86_400.0
#: the longest span, in days, that is told in the unit before it (seven days are "7 days")
_UNITS = ((1.0, 14.0, "day"), (7.0, 61.0, "week"), (30.4375, 730.0, "month"))
_YEAR = 365.25


@dataclass(frozen=True, slots=True)
class Events:
    """What one user did, the oldest event first.

    Attributes:
        items: (E,) item_index.
        ratings: (E,) float32; NaN = none given.
        times: (E,) float64, seconds since the epoch; NaN = unknown.
    """

    items: npt.NDArray[np.integer[Any]]
    ratings: npt.NDArray[np.floating[Any]]
    times: npt.NDArray[np.float64]

    @classmethod
    def of(cls, items: Any) -> Events:
        """Items of which nothing else is known."""
        items = np.asarray(items, dtype=np.int64)
        return cls(items, np.full(len(items), np.nan), np.full(len(items), np.nan))

    def __len__(self) -> int:
        return len(self.items)

    def where(self, which: Any) -> Events:
        """The events ``which``: a slice, a mask (E,) or numbers (K,) in a new order."""
        return Events(self.items[which], self.ratings[which], self.times[which])


def rating_words(rating: float) -> str:
    """A rating without zeros that say nothing.

    >>> rating_words(4.0), rating_words(3.5)
    ('4', '3.5')
    """
    return f"{rating:.4g}"


def gap_words(seconds: float) -> str:
    """A span of time in its most natural unit, rounded; "" below half a day.

    >>> [gap_words(days * 86400) for days in (0.1, 1, 10, 21, 100, 1000)]
    ['', '1 day', '10 days', '3 weeks', '3 months', '3 years']
    """
    days = seconds / _DAY
    if not days >= 0.5:
        return ""
    size, unit = next(((s, u) for s, most, u in _UNITS if days < most), (_YEAR, "year"))
    number = max(1, round(days / size))  # half of one rounds to the even zero
    return f"{number} {unit}" + ("s" if number > 1 else "")


@dataclass(frozen=True)
class Notes:
    """Lines about events, tokenised once each.

    Args:
        rating: template with ``{rating}``, the line after an item; "" = none.
        gap: template with ``{gap}``, the line between two events; "" = none.
        encode: texts to token ids.
    """

    rating: str
    gap: str
    encode: Callable[[list[str]], list[list[int]]]
    _known: dict[str, Tokens] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.rating or self.gap)

    def after(self, rating: float) -> Tokens:
        """The line after an item that was given ``rating``; nothing where that is NaN."""
        if not self.rating or np.isnan(rating):
            return _NOTHING
        return self._line(self.rating.replace("{rating}", rating_words(rating)))

    def between(self, one: float, other: float) -> Tokens:
        """The line between events at two times; nothing where a time is NaN or they are close."""
        words = gap_words(abs(one - other)) if self.gap else ""
        return self._line(self.gap.replace("{gap}", words)) if words else _NOTHING

    @property
    def longest(self) -> int:
        """About the most tokens that the two lines take together."""
        lines = [self.rating.replace("{rating}", "0.125")] if self.rating else []
        lines += [self.gap.replace("{gap}", "888 months")] if self.gap else []
        return sum(map(len, self.encode(lines))) if lines else 0

    def _line(self, text: str) -> Tokens:
        if text not in self._known:
            self._known[text] = np.array(self.encode([text])[0], np.int64)
        return self._known[text]
