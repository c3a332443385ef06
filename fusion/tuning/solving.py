"""From queries to parameters, for all queries and for each segment; and what that is really worth.

The value of the best of many trials flatters: it was chosen for it. The estimate is nested: users
are dealt into folds, everything is tuned on the others, and each fold's queries are judged by what
they had no part in (Varma and Simon, "Bias in error estimation when using cross-validation for
model selection", BMC Bioinformatics 7, 2006; Cawley and Talbot, JMLR 11, 2010).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fusion.normalizations.segments import FloatArray
from fusion.progress import track
from fusion.tuning.objective import Part, folds_of
from fusion.tuning.searching import Settings, search
from fusion.tuning.segments import Segmentation, shrunk
from fusion.tuning.space import Point, Space
from fusion.tuning.trials import Trials

__all__ = ["Grouping", "Nested", "Solution", "nested", "solve"]


@dataclass(frozen=True)
class Grouping:
    """The segments of an objective's queries.

    Attributes:
        segments: what they are.
        codes: (Q,) int64: the segment of each query.
    """

    segments: Segmentation
    codes: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Solution:
    """What was found.

    Attributes:
        trials: of the search over all queries.
        point: the best of them.
        segments: number of a segment -> its own point; the others have `point`.
        sizes: number of a segment -> its queries.
    """

    trials: Trials
    point: Point
    segments: Mapping[int, Point] = field(default_factory=dict)
    sizes: Mapping[int, int] = field(default_factory=dict)

    def of(self, segment: int) -> Point:
        """The point of a segment."""
        return self.segments.get(segment, self.point)


@dataclass(frozen=True)
class Nested:
    """Values of queries that had no part in what judged them.

    Attributes:
        queries: (J,) int64, rising.
        values: (J,) float64, by what was tuned on the other folds.
        start: (J,) float64, by the start.
    """

    queries: npt.NDArray[np.int64]
    values: FloatArray
    start: FloatArray


def solve(
    part: Part,
    space: Space,
    how: Settings,
    grouping: Grouping | None,
    rng: np.random.Generator,
    show: bool = False,
) -> Solution:
    """Tune on the queries of ``part``.

    A segment's search starts from the weights of all queries, changes weights only, and what it
    finds is held to them by `fusion.tuning.segments.shrunk`.
    """
    trials = search(part, space, how, rng, show)
    best = trials.best.point
    if grouping is None:
        return Solution(trials, best)
    segments, sizes = {}, {}
    inner = space.weights_from(best)
    for number in range(len(grouping.segments.names)):
        which = np.flatnonzero(grouping.codes[part.queries] == number)
        sizes[number] = len(which)
        if len(which) < grouping.segments.config.min_queries:
            continue
        own = search(part.within(which), inner, how, rng).best.point
        point = best
        for place in space.places:
            mixed = shrunk(
                own.weights[place.key],
                best.weights[place.key],
                len(which),
                grouping.segments.config.prior,
            )
            point = point.weigh(place, mixed)
        if own.weights != best.weights:
            segments[number] = point
    return Solution(trials, best, segments, sizes)


def nested(
    part: Part,
    space: Space,
    how: Settings,
    grouping: Grouping | None,
    folds: int,
    rng: np.random.Generator,
    show: bool = False,
) -> Nested:
    """Tune on all folds but one, judge that one; for each.

    Args:
        part: all queries.
        space: every point there is.
        how: the search.
        grouping: the segments.
        folds: how many; fewer where there are fewer users, none where there is but one.
        rng: deals the users, and drives the searches.
        show: whether to show a bar over the folds.
    """
    dealt = folds_of(part.users, folds, rng)
    values, start = np.full(len(part.queries), np.nan), np.full(len(part.queries), np.nan)
    for past, held in track(dealt, "estimate", total=len(dealt), show=show):
        few, queries = part.within(past), part.queries[np.sort(held)]
        solution = solve(few, space, how, grouping, rng)
        values[np.sort(held)] = judged(few, solution, grouping, queries)
        start[np.sort(held)] = few.elsewhere(space.start, queries)
    at = np.flatnonzero(~np.isnan(values))
    return Nested(part.queries[at], values[at], start[at])


def judged(
    part: Part, solution: Solution, grouping: Grouping | None, queries: npt.NDArray[np.int64]
) -> FloatArray:
    """(H,) float64: the values of ``queries`` by ``solution``, learnt on ``part``."""
    out = np.zeros(len(queries))
    codes = np.zeros(len(queries), np.int64) if grouping is None else grouping.codes[queries]
    for number in np.unique(codes):
        inside = codes == number
        out[inside] = part.elsewhere(solution.of(int(number)), queries[inside])
    return out
