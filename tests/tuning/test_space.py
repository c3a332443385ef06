from __future__ import annotations

from typing import Any

import pytest

from fusion.config_components import filled_component
from fusion.errors import ConfigError
from fusion.tuning.paths import space_faults
from fusion.tuning.ranges import Range
from fusion.tuning.space import Infeasible, Place, Space, places_in

MODELS = ("a", "b", "c")
SERIAL = {
    "mode": "serial",
    "stages": [
        {"models": ["a", "b"], "keep": 20},
        {"models": ["b", "c"], "method": "weighted_sum", "weights": {"c": 3}},
    ],
}


def parallel(**config: Any) -> dict[str, Any]:
    return filled_component("fusion", {"mode": "parallel", **config})


# --- places of weights -----------------------------------------------------------------------


def test_a_parallel_fusion_has_the_weights_of_its_models() -> None:
    assert list(places_in(parallel(), MODELS)) == [Place("", MODELS)]
    assert list(places_in(parallel(models=["c", "a"]), MODELS)) == [Place("", ("c", "a"))]


def test_each_stage_of_a_serial_fusion_has_its_own() -> None:
    found = list(places_in(filled_component("fusion", SERIAL), MODELS))
    assert found == [Place("stages.0", ("a", "b")), Place("stages.1", ("b", "c"))]
    assert [place.key for place in found] == ["stages.0.weights", "stages.1.weights"]


def test_each_fusion_of_a_tree_has_its_own() -> None:
    below = {"mode": "parallel", "models": ["a", "b"]}
    found = list(places_in(parallel(fusions={"cheap": below, "other": {**below}}), MODELS))
    assert found == [
        Place("", ("cheap", "other")),
        Place("fusions.cheap", ("a", "b")),
        Place("fusions.other", ("a", "b")),
    ]
    named = parallel(models=["cheap", "c"], fusions={"cheap": {"mode": "parallel"}})
    assert list(places_in(named, MODELS)) == [
        Place("", ("cheap", "c")),
        Place("fusions.cheap", MODELS),
    ]
    staged = {"mode": "serial", "stages": [{"fusion": below, "keep": 9}, {"models": ["b", "c"]}]}
    found = [
        place for place in places_in(filled_component("fusion", staged), MODELS) if place.names
    ]
    assert found == [Place("stages.0.fusion", ("a", "b")), Place("stages.1", ("b", "c"))]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"mode": "single", "model": "a"}, "at least two models, got mode: single; leave"),
        ({"mode": "parallel", "models": ["a"]}, "at least two models, got mode: parallel of a al"),
    ],
)
def test_weights_where_they_could_not_matter(params: dict[str, Any], message: str) -> None:
    filled = filled_component("fusion", params)
    with pytest.raises(ConfigError, match=f"fusion t: weights: true: .*{message}"):
        Space.of("fusion t", filled, {}, True, MODELS)


# --- points ----------------------------------------------------------------------------------


def test_the_start_is_the_given_fusion() -> None:
    params = parallel(method={"name": "weighted_sum", "weights": {"a": 2}})
    dimensions = {"method.normalization": ["rank", "min_max"], "method.missing.cold": ["lowest"]}
    space = Space.of("t", params, dimensions, True, MODELS)
    assert space.start.values == {
        "method.normalization": "min_max",  # as the choices word it
        "method.missing.cold": "nan",  # none of the choices
    }
    assert space.start.weights == {"weights": (2 / 4, 1 / 4, 1 / 4)}
    fusion = space.fusion(space.start)
    assert fusion["weights"] == {"a": 0.5, "b": 0.25, "c": 0.25}
    assert fusion["method"]["weights"] == {}
    assert space.distance(space.start) == (0, 0)


def test_a_point_is_put_where_its_paths_say() -> None:
    params = filled_component("fusion", SERIAL)
    dimensions = {"stages.0.keep": Range(low=2, high=200), "stages.0.method.k": [10, 60]}
    space = Space.of("t", params, dimensions, True, MODELS)
    point = space.start.value("stages.0.keep", 7).value("stages.0.method.k", 10)
    fusion = space.fusion(point.weigh(space.places[1], (1, 0)))
    first, second = fusion["stages"]
    assert (first["keep"], first["method"]["k"]) == (7, 10)
    assert first["weights"] == {"a": 0.5, "b": 0.5}
    assert second["weights"] == {"b": 1, "c": 0}
    assert space.distance(point) == (2, 0)
    assert space.distance(space.start.weigh(space.places[1], (1, 0))) == (0, 1.5)


def test_a_whole_method_is_a_choice_like_others() -> None:
    weighted = {"name": "weighted_sum", "normalization": "z_score"}
    space = Space.of("t", parallel(), {"method": ["rrf", weighted]}, True, MODELS)
    assert space.start.values == {"method": "rrf"}
    fusion = space.fusion(space.start.value("method", weighted))
    assert fusion["method"]["name"] == "weighted_sum"
    assert fusion["weights"] == dict.fromkeys(MODELS, 1 / 3)


def test_settings_of_a_method_that_was_not_chosen_do_no_harm() -> None:
    dimensions = {"method": ["rrf", "weighted_sum"], "method.k": [10, 60]}
    space = Space.of("t", parallel(), dimensions, False, MODELS)
    chosen = space.start.value("method", "weighted_sum")
    assert space.fusion(chosen)["method"]["name"] == "weighted_sum"
    assert space.fusion(space.start.value("method.k", 10))["method"]["k"] == 10
    with pytest.raises(Infeasible, match="k"):  # a k of its own, where there is none
        space.fusion(chosen.value("method.k", 10))


def test_the_weight_of_one_model_is_a_dimension() -> None:
    space = Space.of("t", parallel(), {"weights.b": [0.5, 1, 2]}, False, MODELS)
    assert space.start.values == {"weights.b": 1.0}
    assert space.fusion(space.start.value("weights.b", 2))["weights"] == {"b": 2.0}


def test_values_that_contradict_each_other_are_infeasible() -> None:
    params = filled_component(
        "fusion",
        {**SERIAL, "stages": [{"models": ["a"], "keep": 9}, {"models": ["b"], "keep": 3}]},
    )
    space = Space.of("t", params, {"stages.0.keep": [2, 9]}, False, MODELS)
    assert not list(space_faults(params, space.dimensions, weights=False))
    with pytest.raises(Infeasible, match="at most the 2 that reach it"):
        space.fusion(space.start.value("stages.0.keep", 2))
