"""What a tuning found, how, and what it is worth: plain values, for people and for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from fusion.evaluation.significance import Estimate
from fusion.tuning.segments import Segmentation
from fusion.tuning.solving import Solution
from fusion.tuning.space import Point, Space

__all__ = ["Report", "SegmentReport", "TrialReport", "report_of"]

Weights = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class TrialReport:
    """One trial.

    Attributes:
        parameters: path -> value.
        weights: path of weights -> name -> weight.
        value: mean of the metric over all queries; ``None`` = the values contradict each other.
    """

    parameters: Mapping[str, Any]
    weights: Weights
    value: float | None


@dataclass(frozen=True)
class SegmentReport:
    """One segment.

    Attributes:
        queries: how many it had.
        own: whether its weights differ from those of all; too few queries, or none better.
        weights: path of weights -> name -> weight.
    """

    queries: int
    own: bool
    weights: Weights


@dataclass(frozen=True)
class Report:
    """The outcome of a tuning.

    Attributes:
        metric: such as ``"NDCG@10"``.
        search: how it searched.
        queries: how many it learnt from, over all windows.
        parameters: path -> the best value.
        weights: path of weights -> name -> the best weight; convex.
        start: the metric of the fusion as it was given, on all queries.
        in_sample: of the best, on the queries that it was chosen by: optimistic.
        estimate: of tuning itself, by nested folds: honest. ``None`` where folds were off, or
            there was one user only.
        gain: likewise, over the start on the same queries, with its p-value.
        segments: name -> its weights; empty without segments.
        trials: everything that was tried on all queries.
        seconds: what it took, the estimate included.
    """

    metric: str
    search: str
    queries: int
    parameters: Mapping[str, Any]
    weights: Weights
    start: float
    in_sample: float
    estimate: Estimate | None
    gain: Estimate | None
    segments: Mapping[str, SegmentReport] = field(default_factory=dict)
    trials: Sequence[TrialReport] = ()
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As JSON knows it: NaN is null."""
        out: dict[str, Any] = _plain(asdict(self))
        return out

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        return cls(
            **{
                **value,
                "estimate": _estimate(value["estimate"]),
                "gain": _estimate(value["gain"]),
                "segments": {n: SegmentReport(**one) for n, one in value["segments"].items()},
                "trials": tuple(TrialReport(**one) for one in value["trials"]),
            }
        )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _estimate(value: Mapping[str, Any] | None) -> Estimate | None:
    if value is None:
        return None
    numbers: dict[str, Any] = {k: math.nan if one is None else one for k, one in value.items()}
    return Estimate(**numbers)


def report_of(
    metric: str,
    search: str,
    queries: int,
    space: Space,
    solution: Solution,
    segments: Segmentation | None,
    estimate: Estimate | None,
    gain: Estimate | None,
    seconds: float,
) -> Report:
    """The report of ``solution``; see `Report`."""
    best = solution.trials.best
    names = () if segments is None else segments.names
    return Report(
        metric=metric,
        search=search,
        queries=queries,
        parameters=dict(best.point.values),
        weights=_named(space, best.point),
        start=next(iter(solution.trials)).value,
        in_sample=best.value,
        estimate=estimate,
        gain=gain,
        segments={
            name: SegmentReport(
                solution.sizes[number],
                number in solution.segments,
                _named(space, solution.of(number)),
            )
            for number, name in enumerate(names)
        },
        trials=tuple(
            TrialReport(
                dict(trial.point.values),
                _named(space, trial.point),
                trial.value if math.isfinite(trial.value) else None,
            )
            for trial in solution.trials
        ),
        seconds=seconds,
    )


def _named(space: Space, point: Point) -> dict[str, dict[str, float]]:
    return {
        place.key: dict(zip(place.names, point.weights[place.key], strict=True))
        for place in space.places
    }
