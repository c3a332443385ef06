"""Grid search: every combination of the choices and of the weights on a lattice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

from fusion.errors import ConfigError, explain
from fusion.progress import track
from fusion.tuning.objective import Part
from fusion.tuning.ranges import Dimension, Range
from fusion.tuning.simplex import lattice, lattice_size
from fusion.tuning.space import Point, Space
from fusion.tuning.trials import Trials

__all__ = ["MOST", "choices_of", "grid"]

#: more points than this are refused: a day of serial fusions, or a slip of the pen
MOST = 20_000
#: values of a range
POINTS = 5


def choices_of(dimension: Dimension, n: int = POINTS) -> Sequence[Any]:
    """The values to try: the choices, or ``n`` evenly spread over a range."""
    return dimension.lattice(n) if isinstance(dimension, Range) else dimension


def grid(part: Part, space: Space, steps: int, show: bool = False) -> Trials:
    """Try them all.

    Args:
        part: the queries that decide.
        space: every point there is; a range has 5 values.
        steps: weights are multiples of ``1 / steps``.
        show: whether to show a bar.

    Raises:
        ConfigError: more than 20,000 points.
    """
    dimensions = {path: choices_of(one) for path, one in space.dimensions.items()}
    size = prod(map(len, dimensions.values()))
    size *= prod(lattice_size(len(place.names), steps) for place in space.places)
    if size > MOST:
        do = "take a larger step, fewer choices, or another search"
        raise ConfigError(explain("search: grid", f"at most {MOST:,} points", f"{size:,}", do))
    trials = Trials(part, space)
    for point in track(_points(space, dimensions, steps), "grid", total=size, show=show):
        trials.value(point)
    return trials


def _points(space: Space, dimensions: dict[str, Sequence[Any]], steps: int) -> Iterator[Point]:
    keys = [place.key for place in space.places]
    # weights vary fastest: their worths are computed once a combination of the others
    for values in product(*dimensions.values()):
        chosen = {**space.start.values, **dict(zip(dimensions, values, strict=True))}
        lattices = [lattice(len(place.names), steps) for place in space.places]
        for weights in product(*lattices):
            yield Point(chosen, dict(zip(keys, weights, strict=True)))
