from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from models_for_tests import CONFIG

from fusion import Dataset, Engine
from fusion.candidates import Missing
from fusion.errors import ConfigError
from fusion.pool import StoredPool
from fusion.serving.subset import is_cascade, restricted_pool, subset_fusion, subset_strategy

MODELS = ("ease", "low", "high")
SERIAL = {
    "mode": "serial",
    "stages": [
        {"models": ["ease", "low"], "weights": {"low": 2.0}, "keep": 8},
        {"models": ["high"], "keep": None},
    ],
}


@pytest.mark.parametrize(
    ("fusion", "subset", "want"),
    [
        ({"mode": "parallel"}, ["ease"], {"mode": "parallel"}),
        (
            {"mode": "parallel", "models": ["ease", "high"], "weights": {"high": 3.0, "ease": 1.0}},
            ["ease", "low"],
            {"mode": "parallel", "models": ["ease"], "weights": {"ease": 1.0}},
        ),
        (
            {"mode": "parallel", "method": {"name": "rrf", "weights": {"high": 3.0}}},
            ["ease"],
            {"mode": "parallel", "method": {"name": "rrf", "weights": {}}},
        ),
        (
            SERIAL,
            ["ease"],
            {"mode": "serial", "stages": [{"models": ["ease"], "weights": {}, "keep": 8}]},
        ),
        (
            {"mode": "single", "model": "high"},
            ["ease", "low"],
            {"mode": "parallel", "method": {"name": "rrf"}, "models": ["ease", "low"]},
        ),
        (
            {
                "mode": "tuned",
                "fusion": {"mode": "parallel", "weights": {"ease": 1.0, "high": 1.0}},
                "space": {"weights.high": [1, 2], "method.k": [10, 60]},
            },
            ["ease"],
            {
                "mode": "tuned",
                "fusion": {"mode": "parallel", "weights": {"ease": 1.0}},
                "space": {"method.k": [10, 60]},
            },
        ),
        (  # a tree: the branch without a model left goes
            {"mode": "tree", "of": [{"fusion": {"mode": "single", "model": "high"}}, SERIAL]},
            ["low"],
            {
                "mode": "tree",
                "of": [
                    {
                        "mode": "serial",
                        "stages": [{"models": ["low"], "weights": {"low": 2.0}, "keep": 8}],
                    }
                ],
            },
        ),
    ],
)
def test_names_of_absent_models_go(
    fusion: dict[str, Any], subset: list[str], want: dict[str, Any]
) -> None:
    assert subset_fusion(fusion, MODELS, subset) == want
    assert subset_fusion(fusion, MODELS, MODELS) == fusion
    assert is_cascade(fusion) == ("stages" in str(fusion))


@pytest.fixture(scope="module")
def engine(tiny: Dataset) -> Engine:
    return Engine.from_config(CONFIG).fit(tiny)


def test_what_is_left_is_a_fusion_that_fuses(engine: Engine) -> None:
    window = engine.windows[0]
    assert isinstance(window.pool, StoredPool)
    engine.swap({"fusion": SERIAL}, check=False)
    strategy, fusion = subset_strategy(engine.config, MODELS, ("ease",))
    pool = restricted_pool(window.pool, ("ease",))
    fused = strategy.fuse(pool)
    assert fusion["mode"] == "serial"
    assert fused.candidates.n_queries == len(window.targets)
    engine.rollback()


def test_what_is_left_but_invalid_becomes_rrf(engine: Engine) -> None:
    # every weight that is left is 0
    fusion = {"mode": "parallel", "weights": {"ease": 0.0, "low": 0.0}}
    config = type(engine.config).overlay(engine.config, {"fusion": fusion})
    strategy, left = subset_strategy(config, MODELS, ("ease", "low"))
    assert left == {
        "mode": "parallel",
        "method": {"name": "rrf"},
        "models": ["ease", "low"],
    }
    assert strategy.uses(("ease", "low")) == ("ease", "low")


def test_the_columns_are_those_of_an_engine_with_fewer_retrievers(engine: Engine) -> None:
    whole = engine.windows[0].pool
    assert isinstance(whole, StoredPool)
    part = restricted_pool(whole, ("low", "high"))
    assert part.models == ("low", "high")
    assert part.candidates().models == ("low",)
    assert (part.union.why == Missing.PRESENT).all()
    assert part.union.lengths.max() == 10  # what `low` brings
    keep = ~np.isnan(whole.union.column("low"))
    np.testing.assert_array_equal(part.union.items, whole.union.items[keep])
    np.testing.assert_array_equal(
        part.completed.column("high"), whole.completed.column("high")[keep]
    )
    with pytest.raises(ConfigError, match="one of ease, low"):
        restricted_pool(whole, ("high",))
