from __future__ import annotations

from typing import Any

import pytest

from fusion.config_components import filled_component
from fusion.tuning.paths import assign, find, space_faults
from fusion.tuning.ranges import Range

SERIAL = {
    "mode": "serial",
    "stages": [
        {"models": ["a", "b"], "keep": 20},
        {"models": ["b", "c"], "method": "weighted_sum", "weights": {"c": 3}},
    ],
}


def parallel(**config: Any) -> dict[str, Any]:
    return filled_component("fusion", {"mode": "parallel", **config})


def faults(params: dict[str, Any], dimensions: dict[str, Any], weights: bool = False) -> str:
    found = list(space_faults(params, dimensions, weights))
    return "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['type'].message()}" for f in found)


def test_a_path_goes_through_mappings_and_lists() -> None:
    params = {"stages": [{"keep": 3}], "method": {"k": 1}}
    assert find(params, "") is params
    assert find(params, "stages.0.keep") == 3
    value = {"deep": [1]}
    assign(params, "stages.0", value)
    assign(params, "method.k", 2)
    value["deep"].append(2)  # a copy was put in
    assert params == {"stages": [{"deep": [1]}], "method": {"k": 2}}
    for path in ("stages.1", "method.none", "none.k"):
        with pytest.raises(LookupError):
            find(params, path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("method.kk", "expected one of the keys k, missing, name, weights at 'method'"),
        ("methd.k", "did you mean 'method'?"),
        ("method.kk", "did you mean 'method.k'?"),
        ("method.k.deep", "expected no path below at 'method.k'"),
        ("stages.0.keep", "expected one of the keys method, mode, models, weights, got 'stages"),
        ("mode", "give choices of 'the fusion'"),
        ("method.name", "give choices of 'method'"),
    ],
)
def test_a_path_that_leads_nowhere_is_told_at_its_place(path: str, message: str) -> None:
    said = faults(parallel(), {path: [1]})
    assert said.startswith(f"space.{path}: ")
    assert message in said


def test_a_stage_that_is_not_there() -> None:
    params = filled_component("fusion", SERIAL)
    assert "one of the keys 0, 1 at 'stages'" in faults(params, {"stages.2.keep": [1]})


@pytest.mark.parametrize(
    ("path", "choices", "message"),
    [
        ("method.k", [60, "many"], 'got "many"'),
        ("method.k", Range(low=-5.0, high=60), "got -5"),
        ("method", ["rrf", "rff"], "did you mean 'rrf'?"),
        ("weights.a", [-1], "got -1"),
        ("method.missing.cold", ["lowest", "worst"], 'got "worst"'),
    ],
)
def test_a_value_that_the_fusion_does_not_take(path: str, choices: Any, message: str) -> None:
    said = faults(parallel(), {path: choices})
    assert said.startswith(f"space.{path}: expected values that the fusion takes, got ")
    assert message in said


def test_weights_are_tuned_in_one_way() -> None:
    assert "weights: false beside" in faults(parallel(), {"weights.a": [1]}, weights=True)
