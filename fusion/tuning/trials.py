"""What a search has tried, and which of it is best."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fusion.tuning.objective import Part
from fusion.tuning.space import Point, Space

__all__ = ["TIE", "Trial", "Trials"]

#: values nearer than this are equal: means of the same numbers, added in another order
TIE = 1e-12


@dataclass(frozen=True)
class Trial:
    """One point and its value; minus infinity where the point is infeasible."""

    point: Point
    value: float


class Trials:
    """Everything that was tried, each point once; the start is tried first.

    Args:
        part: the queries that decide.
        space: knows the start.
        limit: how many at most; ``None`` = any number.
    """

    def __init__(self, part: Part, space: Space, limit: int | None = None) -> None:
        self.part, self.space = part, space
        self._limit = limit
        self._tried: dict[str, Trial] = {}
        self.value(space.start)

    def __len__(self) -> int:
        return len(self._tried)

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._tried.values())

    @property
    def full(self) -> bool:
        """Whether no new point may be tried."""
        return self._limit is not None and len(self) >= self._limit

    def value(self, point: Point) -> float:
        """The mean at ``point``; minus infinity for a new point when `full`."""
        if point.key not in self._tried:
            if self.full:
                return float("-inf")
            self._tried[point.key] = Trial(point, self.part.mean(point))
        return self._tried[point.key].value

    @property
    def best(self) -> Trial:
        """The highest value; of equal ones the nearest to the start, then the first tried.

        So the start is left only for something better.
        """
        highest = max(trial.value for trial in self)
        equal = [trial for trial in self if trial.value >= highest - TIE]
        return min(equal, key=lambda trial: self.space.distance(trial.point))
