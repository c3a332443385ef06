"""Tuned fusion: any other fusion, with parameters and weights found on out-of-window scores."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

import numpy as np
from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from fusion.artifacts import read_json, write_json
from fusion.config_components import Fusion, custom_fault, make
from fusion.errors import ConfigError, DataError, NotFittedError, explain
from fusion.evaluation.significance import mean_interval, paired_difference
from fusion.protocols import (
    ComponentConfig,
    FitContext,
    Fused,
    Pool,
    Strategy,
    Windows,
)
from fusion.strategies.leaks import refuse_leaks
from fusion.tuning.gains import gains_of
from fusion.tuning.joining import joined
from fusion.tuning.objective import Objective
from fusion.tuning.paths import space_faults
from fusion.tuning.pools import PartOfPool
from fusion.tuning.ranges import Range
from fusion.tuning.report import Report, report_of
from fusion.tuning.searching import Settings
from fusion.tuning.segments import Segmentation, Segments
from fusion.tuning.solving import Grouping, nested, solve
from fusion.tuning.space import Space

__all__ = ["Tuned", "TunedConfig"]

log = logging.getLogger(__name__)

Choices = Annotated[list[Any], Field(min_length=1)]


class TunedConfig(ComponentConfig):
    """Settings of `Tuned`."""

    fusion: Fusion = Field(description="the fusion that is tuned, and the start of the search")
    weights: bool = Field(
        False,
        description="tune the weights of the models, wherever the fusion has any; they are convex",
    )
    space: dict[str, Range | Choices] = Field(
        default_factory=dict,
        description="dotted path into `fusion` to its choices, `[10, 60]`, or its range, "
        "`{low: 20, high: 200, log: true}`",
    )
    search: Literal["coordinate", "grid", "optuna"] = Field(
        "coordinate", description="coordinate ascent, every point of a grid, or Optuna's TPE"
    )
    trials: int = Field(
        100, ge=1, description="points that coordinate ascent and Optuna may try; a grid is whole"
    )
    step: float = Field(
        0.1,
        gt=0,
        le=0.5,
        description="weights of a grid are its multiples; 1 divided by a whole number",
    )
    restarts: int = Field(
        0, ge=0, description="coordinate: so many more climbs, from random weights"
    )
    patience: int | None = Field(
        40, ge=1, description="optuna: stop after so many trials without a better one; null = never"
    )
    metric: str = Field("NDCG@10", description="what is maximised: a metric and its cutoff")
    folds: int = Field(
        5, ge=0, description="folds of users for the honest estimate, at least 2; 0 = no estimate"
    )
    segments: Segments | None = Field(
        None, description="groups of queries with weights of their own; null = none"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        faults = list(space_faults(self.fusion, self.space, self.weights))

        def fault(message: str, key: str) -> None:
            faults.append(
                InitErrorDetails(type=custom_fault(message), loc=(key,), input=getattr(self, key))
            )

        if not self.weights and not self.space:
            fault("expected something to tune, got neither weights: true nor a space", "space")
        if self.folds == 1:
            fault("expected 2 folds or more, or 0 for no estimate, got 1", "folds")
        if abs(round(1 / self.step) * self.step - 1) > 1e-9:
            fault(f"expected 1 divided by a whole number, got {self.step:g}", "step")
        if self.segments is not None and not self.weights:
            fault("expected weights: true beside segments, got weights: false", "segments")
        try:
            gains_of(self.metric)
        except ConfigError as error:
            fault(str(error).removeprefix("metric: "), "metric")
        if faults:
            raise ValidationError.from_exception_data(type(self).__name__, faults)
        return self

    @property
    def settings(self) -> Settings:
        """How to search."""
        return Settings(self.search, self.trials, self.step, self.restarts, self.patience)


@dataclass(frozen=True)
class _State:
    """What was found.

    Attributes:
        models: of the engine that it was tuned with.
        fusions: what stands under ``fusion:`` for all, and then for each segment of its own.
        of_segment: segment number -> its place in ``fusions``; empty without segments.
        strategies: one a fusion, fitted where it learns.
        report: see `Report`.
        segments: ``None`` without.
    """

    models: tuple[str, ...]
    fusions: tuple[dict[str, Any], ...]
    of_segment: tuple[int, ...]
    strategies: tuple[Strategy, ...]
    report: Report
    segments: Segmentation | None = None


class Tuned(Strategy):
    """The best of many fusions, by a metric on the queries of the windows.

    Inputs: whatever the fusion inside asks for.
    Requirements: `fit` on windows whose columns come from models fitted on the window's past, and
    on nothing else. All queries of a window count; one whose target is not among its candidates
    counts 0.

    The fusion as it was given, with equal weights where it gives none, is tried first and left only
    for something better. ``report.estimate`` says by nested folds what tuning is worth on queries
    that had no part in it; ``report.in_sample`` flatters. A fusion that learns by itself is judged
    out of its folds, and learns on everything in the end.

    Relations: `fusion.strategies.parallel.Parallel` with chosen weights is what tuning a parallel
    fusion gives; `fusion.strategies.learned.Learned` learns more than weights.

    Contributions: those of the fusion inside.

    Example, in YAML::

        fusion:
          mode: tuned
          fusion: {mode: parallel, method: {name: weighted_sum, normalization: min_max}}
          weights: true
          space: {"method.normalization": [min_max, z_score, rank]}
          segments: history_length
    """

    Config = TunedConfig

    def __init__(self, config: Any = None, *, name: str | None = None) -> None:
        super().__init__(config, name=name)
        self._state: _State | None = None
        self._start = self._make(self.config.fusion)

    def _make(self, params: Mapping[str, Any]) -> Strategy:
        return cast(Strategy, make("fusion", self.name, params))

    @property
    def learns(self) -> bool:
        """Always."""
        return True

    @property
    def report(self) -> Report:
        """What was found and what it is worth.

        Raises:
            NotFittedError: nothing was tuned yet.
        """
        return self._fitted.report

    @property
    def fusion(self) -> Mapping[str, Any]:
        """The fusion that was found, as it would stand under ``fusion:`` in a YAML.

        Raises:
            NotFittedError: nothing was tuned yet.
        """
        return self._fitted.fusions[0]

    @property
    def _fitted(self) -> _State:
        if self._state is None:
            got = explain(f"fusion {self.name}", "a tuned fusion", "none", "call fit first")
            raise NotFittedError(got)
        return self._state

    def _space(self, models: tuple[str, ...]) -> Space:
        config = self.config
        who = f"fusion {self.name}"
        return Space.of(who, config.fusion, config.space, config.weights, models)

    def uses(self, models: tuple[str, ...]) -> tuple[str, ...]:
        """The models of the fusion inside: of what was found, or before `fit` of every choice.

        Raises:
            ConfigError: the engine lacks one, or weights are to be tuned where there are none.
        """
        if self._state is not None:
            return self._state.strategies[0].uses(models)
        asked = dict.fromkeys(self._start.uses(models))
        space = self._space(models)
        for path, choices in space.dimensions.items():
            for value in () if isinstance(choices, Range) else choices:
                changed = space.start.value(path, value)
                try:
                    asked |= dict.fromkeys(self._make(space.fusion(changed)).uses(models))
                except ValueError:  # contradicts another choice: told as an infeasible trial
                    continue
        return tuple(asked)

    def fit(self, windows: Windows, context: FitContext) -> None:
        """Search, estimate, and fit what was found if it learns.

        Raises:
            LeakageError: a column's model was not fitted on exactly its window's past.
            DataError: no window, or windows without a query.
        """
        who, config = f"fusion {self.name}", self.config
        if not windows or not sum(len(window.targets) for window in windows):
            raise DataError(explain(who, "a window with queries to learn from", "none"))
        start, self._state = time.perf_counter(), None
        for window in windows:
            refuse_leaks(who, self.uses(window.pool.models), window)
        models = windows[-1].pool.models
        space = self._space(models)
        objective = Objective(self.name, windows, space, config.metric, context, config.folds)
        part, show = objective.whole(), context.progress
        grouping = segments = None
        if config.segments is not None:
            segments = config.segments.bind(context.catalog, who)
            codes = [segments.of(window.pool.queries) for window in windows]
            grouping = Grouping(segments, np.concatenate(codes))
        solution = solve(part, space, config.settings, grouping, context.rng(who), show)
        estimate = gain = None
        if config.folds:
            rng = context.rng(f"{who} folds")
            held = nested(part, space, config.settings, grouping, config.folds, rng, show)
            if len(held.queries):
                users = objective.users[held.queries]
                estimate = mean_interval(held.values, users, rng=rng)
                gain = paired_difference(held.values, held.start, users, rng=rng)
        points = [solution.point, *solution.segments.values()]
        of_segment: tuple[int, ...] = ()
        if grouping is not None:
            own = {number: at for at, number in enumerate(solution.segments, start=1)}
            of_segment = tuple(own.get(number, 0) for number in range(len(grouping.segments.names)))
        strategies = tuple(objective.taught(point, part.queries) for point in points)
        report = report_of(
            *(config.metric, config.search, objective.n_queries, space, solution),
            *(segments, estimate, gain, time.perf_counter() - start),
        )
        log.info(
            "fusion %s: %s from %.4f to %.4f on %d queries, %d trials",
            *(self.name, config.metric, report.start, report.in_sample),
            *(report.queries, len(report.trials)),
        )
        fusions = tuple(space.fusion(point) for point in points)
        self._state = _State(models, fusions, of_segment, strategies, report, segments)

    def fuse(self, pool: Pool) -> Fused:
        """As the fusion that was found; each query as its segment's.

        Raises:
            NotFittedError: nothing was tuned, or for other models than the pool's.
        """
        state = self._fitted
        if state.models != pool.models:
            raise NotFittedError(
                explain(
                    f"fusion {self.name}",
                    f"the models it was tuned with, {', '.join(state.models)}",
                    ", ".join(pool.models),
                    "fit it again",
                )
            )
        if len(state.strategies) == 1 or state.segments is None:
            return state.strategies[0].fuse(pool)
        own = np.array(state.of_segment)[state.segments.of(pool.queries)]
        numbers = np.unique(own).tolist()
        if len(numbers) <= 1:
            return state.strategies[numbers[0] if numbers else 0].fuse(pool)
        where = [np.flatnonzero(own == number) for number in numbers]
        parts = [
            state.strategies[number].fuse(PartOfPool(pool, which))
            for number, which in zip(numbers, where, strict=True)
        ]
        return joined(parts, where)

    def save(self, folder: Path) -> None:
        """``tuned.json``, the domains of items, and a folder for each fusion that learns."""
        state = self._fitted
        write_json(
            folder / "tuned.json",
            {
                "models": list(state.models),
                "fusions": list(state.fusions),
                "of_segment": list(state.of_segment),
                "report": state.report.to_json(),
            },
        )
        if state.segments is not None:
            state.segments.save(folder)
        for at, strategy in enumerate(state.strategies):
            if strategy.learns:
                (folder / f"fusion-{at}").mkdir()
                strategy.save(folder / f"fusion-{at}")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote; its bytes must have been checked before."""
        saved = read_json(folder / "tuned.json")
        strategies = tuple(self._make(params) for params in saved["fusions"])
        for at, strategy in enumerate(strategies):
            if strategy.learns:
                strategy.load(folder / f"fusion-{at}")
        self._state = _State(
            tuple(saved["models"]),
            tuple(saved["fusions"]),
            tuple(saved["of_segment"]),
            strategies,
            Report.from_json(saved["report"]),
            None if self.config.segments is None else self.config.segments.load(folder),
        )
