"""Optuna's tree-structured Parzen estimator over dimensions and weights.

Bergstra, Bardenet, Bengio and Kegl, "Algorithms for hyper-parameter optimization", NeurIPS 2011.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from fusion.errors import DependencyError, explain
from fusion.progress import track
from fusion.tuning.objective import Part
from fusion.tuning.ranges import Range
from fusion.tuning.simplex import LEAST, from_unit, to_unit
from fusion.tuning.space import Point, Space
from fusion.tuning.trials import TIE, Trials

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["tpe"]

#: what an infeasible point is worth: less than any value of a metric
BAD = -1.0


def tpe(
    part: Part,
    space: Space,
    limit: int,
    patience: int | None,
    rng: np.random.Generator,
    show: bool = False,
) -> Trials:
    """Ask Optuna ``limit`` times, the start first, one after the other.

    Args:
        part: the queries that decide.
        space: every point there is.
        limit: points to try.
        patience: stop after so many without a better one; ``None`` = never.
        rng: gives the sampler its seed.
        show: whether to show a bar.

    Raises:
        DependencyError: Optuna is not installed.
    """
    optuna = _optuna()
    trials = Trials(part, space)
    with _silent(optuna):
        sampler = optuna.samplers.TPESampler(seed=int(rng.integers(2**31)))
        study = optuna.create_study(direction="maximize", sampler=sampler)
        start = _asked(space)
        if start is not None:
            study.enqueue_trial(start)
        highest, since = trials.value(space.start), 0
        for _ in track(range(limit), "optuna", total=limit, show=show):
            trial = study.ask()
            value = trials.value(_point(space, trial))
            study.tell(trial, value if np.isfinite(value) else BAD)
            highest, since = (value, 0) if value > highest + TIE else (highest, since + 1)
            if patience is not None and since >= patience:
                break
    return trials


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError as error:
        do = "pip install optuna, or take search: coordinate"
        raise DependencyError(explain("search: optuna", "optuna", "no such package", do)) from error
    module: ModuleType = optuna
    return module


@contextmanager
def _silent(optuna: Any) -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _point(space: Space, trial: Any) -> Point:
    values = dict(space.start.values)
    for path, dimension in space.dimensions.items():
        if not isinstance(dimension, Range):
            values[path] = dimension[trial.suggest_categorical(path, range(len(dimension)))]
        elif dimension.int:
            low, high = round(dimension.low), round(dimension.high)
            values[path] = trial.suggest_int(path, low, high, log=dimension.log)
        else:
            values[path] = trial.suggest_float(
                path, dimension.low, dimension.high, log=dimension.log
            )
    weights = {}
    for place in space.places:
        units = [trial.suggest_float(f"{place.key}.{name}", LEAST, 1.0) for name in place.names]
        weights[place.key] = from_unit(units)
    return Point(values, weights)


def _asked(space: Space) -> Mapping[str, Any] | None:
    """The start as Optuna would ask for it; ``None`` where it is outside of the space."""
    out: dict[str, Any] = {}
    for path, dimension in space.dimensions.items():
        value = space.start.values[path]
        if isinstance(dimension, Range):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not dimension.low <= value <= dimension.high:
                return None
            out[path] = value
        else:
            same = [json.dumps(value) == json.dumps(choice) for choice in dimension]
            if not any(same):
                return None
            out[path] = same.index(True)
    for place in space.places:
        units = to_unit(space.start.weights[place.key])
        for name, unit in zip(place.names, units, strict=True):
            out[f"{place.key}.{name}"] = max(unit, LEAST)
    return out
