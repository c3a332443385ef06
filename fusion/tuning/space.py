"""What may be tuned: dotted paths into the mapping of a fusion, and the weights of its models."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pydantic import ValidationError

from fusion.config_components import filled_component
from fusion.errors import ConfigError, explain
from fusion.tuning.paths import Params, assign, find
from fusion.tuning.ranges import Dimension, Range

__all__ = ["Infeasible", "Place", "Point", "Space", "places_in"]


class Infeasible(ValueError):  # noqa: N818 - an outcome of a trial, not a mistake of the user
    """A point whose values contradict each other, such as a stage that keeps more than reach it."""


@dataclass(frozen=True)
class Place:
    """One mapping with a method, whose weights are tuned.

    Attributes:
        path: of the mapping in the fusion, ``""`` = the fusion itself, ``"stages.0"``...
        names: whose weights: models, and fusions inside the fusion.
    """

    path: str
    names: tuple[str, ...]

    @property
    def key(self) -> str:
        """The path of the weights themselves."""
        return f"{self.path}.weights" if self.path else "weights"


@dataclass(frozen=True)
class Point:
    """One choice of everything that is tuned.

    Attributes:
        values: path of a dimension -> value.
        weights: `Place.key` -> convex weights, in the order of the place's names.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def structure(self) -> str:
        """All but the weights, as a key."""
        return json.dumps(self.values, sort_keys=True)

    @property
    def key(self) -> str:
        """All of it, as a key."""
        return self.structure + json.dumps(self.weights, sort_keys=True)

    def value(self, path: str, value: Any) -> Point:
        """With another value of one dimension."""
        return Point({**self.values, path: value}, self.weights)

    def weigh(self, place: Place, weights: Iterable[float]) -> Point:
        """With other weights in one place."""
        own = tuple(float(weight) for weight in weights)
        return Point(self.values, {**self.weights, place.key: own})


@dataclass(frozen=True)
class Space:
    """Every fusion that a search may reach.

    Attributes:
        params: the fusion as it was given, every default filled in.
        dimensions: path -> its choices, or its range.
        places: where weights are tuned.
        start: the point that is the given fusion; weights that are not given are equal.
    """

    params: Params
    dimensions: Mapping[str, Dimension]
    places: tuple[Place, ...]
    start: Point

    @classmethod
    def of(
        cls,
        who: str,
        params: Params,
        dimensions: Mapping[str, Dimension],
        weights: bool,
        models: tuple[str, ...],
    ) -> Space:
        """The space of an engine's ``models``.

        Raises:
            ConfigError: weights are to be tuned where there are none, or the fusion does not fit
                the engine.
        """
        places = tuple(places_in(params, models)) if weights else ()
        if weights and not any(len(place.names) > 1 for place in places):
            got = f"mode: {params['mode']}"
            if places:
                got += f" of {places[0].names[0]} alone" if places[0].names else " of no model"
            expected = "a fusion with weights of at least two models"
            raise ConfigError(explain(f"{who}: weights: true", expected, got, "leave weights out"))
        places = tuple(place for place in places if len(place.names) > 1)
        start = Point(
            {path: _given(params, path, choices) for path, choices in dimensions.items()},
            {place.key: _given_weights(params, place) for place in places},
        )
        return cls(params, dict(dimensions), places, start)

    def fusion(self, point: Point) -> Params:
        """What stands under ``fusion:`` at ``point``, every default filled in.

        Raises:
            Infeasible: the values contradict each other.
        """
        out = copy.deepcopy(self.params)
        try:
            # the shallow first: "method" before "method.k"
            for path in sorted(point.values, key=lambda path: path.count(".")):
                if point.values[path] != self.start.values[path]:
                    assign(out, path, point.values[path])
            for place in self.places:
                here = find(out, place.path)
                if isinstance(here["method"], dict):
                    here["method"].pop("weights", None)
                here["weights"] = dict(zip(place.names, point.weights[place.key], strict=True))
            return filled_component("fusion", out)
        except (ValidationError, LookupError) as error:
            raise Infeasible(str(error)) from error

    def distance(self, point: Point) -> tuple[int, float]:
        """How far from the start: dimensions that differ, and the L1 distance of the weights."""
        moved = sum(point.values[path] != value for path, value in self.start.values.items())
        apart = sum(
            abs(one - other)
            for key, weights in self.start.weights.items()
            for one, other in zip(weights, point.weights[key], strict=True)
        )
        return moved, apart

    def weights_from(self, point: Point) -> Space:
        """For a search over weights alone that starts at ``point``, whose other values stay."""
        return replace(self, dimensions={}, start=point)


def places_in(params: Params, models: tuple[str, ...], path: str = "") -> Iterator[Place]:
    """Every mapping of a fusion that has a method and weights, the outermost first.

    Args:
        params: of the fusion, every default filled in.
        models: of the engine.
        path: where ``params`` stands.
    """
    if "method" in params and "weights" in params:
        named = params.get("models")
        # a fusion that names no models takes the fusions below it, or else all models
        default = tuple(params.get("fusions") or ()) or models
        yield Place(path, default if named is None else tuple(named))
    for key, value in params.items():
        inside: Sequence[tuple[str, Any]] = ()
        if isinstance(value, Mapping):
            inside = [(key, value)]
            if key == "fusions":
                inside = [(f"{key}.{name}", one) for name, one in value.items()]
        elif isinstance(value, list | tuple):
            inside = [(f"{key}.{at}", one) for at, one in enumerate(value)]
        for below, one in inside:
            if isinstance(one, dict):
                yield from places_in(one, models, f"{path}.{below}" if path else below)


def _given(params: Params, path: str, choices: Dimension) -> Any:
    """The value at ``path``, in the words of ``choices`` if it is one of them."""
    for value in () if isinstance(choices, Range) else choices:
        changed = copy.deepcopy(params)
        assign(changed, path, value)
        try:
            if filled_component("fusion", changed) == params:
                return value
        except ValidationError:
            continue
    above, _, last = path.rpartition(".")
    here = find(params, above)
    if isinstance(here, Mapping) and last not in here:
        return 1.0  # the weight of a model that is given none
    return find(params, path)


def _given_weights(params: Params, place: Place) -> tuple[float, ...]:
    here = find(params, place.path)
    given = here["weights"] or here["method"].get("weights") or {}
    vector = np.array([given.get(name, 1.0) for name in place.names], np.float64)
    if vector.sum() <= 0:
        vector = np.ones(len(vector))
    return tuple((vector / vector.sum()).tolist())
