"""Coordinate ascent: the best place on one line after the other, until none is better.

Metzler and Croft, "Linear feature-based models for information retrieval", Information Retrieval
10, 2007, section 4.1, as in RankLib; the line through the weights is searched exactly where fused
scores are sums, since a ranking metric is constant between the places where two items change
places (Och, "Minimum error rate training in statistical machine translation", ACL 2003, section 4,
has the same idea for translations).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fusion.tuning.grid import choices_of
from fusion.tuning.objective import Part
from fusion.tuning.ranges import Range
from fusion.tuning.simplex import nearest_lattice, towards
from fusion.tuning.space import Place, Point, Space
from fusion.tuning.trials import TIE, Trials

__all__ = ["coordinate_ascent"]

#: values of a range that are tried on its line; then again around the best, four times as near
POINTS = 7
#: the line is averaged over so wide a neighbourhood before its best place is chosen
SMOOTH = 0.02


def coordinate_ascent(
    part: Part, space: Space, limit: int, steps: int, restarts: int, rng: np.random.Generator
) -> Trials:
    """Climb from the start, then from random weights.

    Args:
        part: the queries that decide.
        space: every point there is.
        limit: points to try in all.
        steps: where a line is not known exactly, weights are multiples of ``1 / steps``.
        restarts: climbs from random weights, with the other values of the best climb so far.
        rng: draws those.
    """
    trials = Trials(part, space, limit)
    _climb(trials, space.start, steps)
    for _ in range(restarts if space.places else 0):
        if trials.full:
            break
        point = trials.best.point
        for place in space.places:
            point = point.weigh(place, rng.dirichlet(np.ones(len(place.names))))
        _climb(trials, point, steps)
    return trials


def _climb(trials: Trials, point: Point, steps: int) -> None:
    value = trials.value(point)
    spread, improved = 1.0, True
    while improved and not trials.full:
        improved = False
        for candidates in _lines(trials, steps, spread):
            for other in candidates(point, value):
                reached = trials.value(other)
                if reached > value + TIE:
                    point, value, improved = other, reached, True
        if any(isinstance(one, Range) for one in trials.space.dimensions.values()):
            spread /= 4
            improved = improved or spread > 1 / 64


class _DimensionLine:
    """All values of one dimension."""

    def __init__(self, space: Space, path: str, spread: float) -> None:
        self._path, self._dimension, self._spread = path, space.dimensions[path], spread

    def __call__(self, point: Point, value: float) -> Iterator[Point]:
        del value
        here = point.values[self._path]
        if isinstance(self._dimension, Range) and self._spread < 1:
            middle = self._dimension.share(float(here))
            shares = np.clip(
                middle + self._spread * np.linspace(-0.5, 0.5, POINTS), 0.0, 1.0
            ).tolist()
            values = [self._dimension.at(share) for share in shares]
        else:
            values = list(choices_of(self._dimension, POINTS))
        for other in values:
            if other != here:
                yield point.value(self._path, other)


class _WeightLine:
    """All shares of one model."""

    def __init__(self, part: Part, place: Place, m: int, steps: int) -> None:
        self._part, self._place, self._m, self._steps = part, place, m, steps

    def __call__(self, point: Point, value: float) -> Iterator[Point]:
        weights = point.weights[self._place.key]
        line = self._part.objective.line(point, self._place, self._m)
        if line is None:
            here = nearest_lattice(weights[self._m], self._steps)
            shares = [at / self._steps for at in range(self._steps + 1)]
            # the nearest first, so that of equal ones the nearest is kept
            shares.sort(key=lambda share: abs(share - here))
        else:
            edges, values = line.pieces(self._part.mask())
            found = best_share(edges, values, weights[self._m], value)
            shares = [] if found is None else [found]
        for share in shares:
            yield point.weigh(self._place, towards(weights, self._m, share))


_Line = _DimensionLine | _WeightLine


def _lines(trials: Trials, steps: int, spread: float) -> Iterator[_Line]:
    space = trials.space
    for path in space.dimensions:
        yield _DimensionLine(space, path, spread)
    for place in space.places:
        for m in range(len(place.names)):
            yield _WeightLine(trials.part, place, m, steps)


def best_share(
    edges: np.ndarray, values: np.ndarray, here: float, value: float, smooth: float = SMOOTH
) -> float | None:
    """Where on a line to go; ``None`` = no piece is above ``value``.

    The metric of a few hundred queries has narrow peaks that no other query shares. So each piece
    is judged by the mean over ``smooth`` around its middle, and among those above ``value`` the
    best is taken; of equal ones the nearest to ``here``.

    Args:
        edges: (P + 1,) rising from 0 to 1.
        values: (P,) between them.
        here: the present share.
        value: there.
        smooth: width of the neighbourhood; 0 = none.
    """
    width = np.diff(edges)
    middles = (edges[:-1] + edges[1:]) / 2
    judged = values
    if smooth > 0:
        area = np.concatenate([[0.0], np.cumsum(width * values)])
        low, high = np.clip(middles - smooth / 2, 0, 1), np.clip(middles + smooth / 2, 0, 1)
        wide = width >= smooth
        judged = (np.interp(high, edges, area) - np.interp(low, edges, area)) / (high - low)
        judged = np.where(wide, values, judged)
    able = np.flatnonzero((values > value + TIE) & (width > 1e-9))
    if not len(able):
        return None
    best = able[judged[able] >= judged[able].max() - TIE]
    return float(middles[best[np.argmin(np.abs(middles[best] - here))]])
