from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of, pool_of
from pydantic import ValidationError

from fusion.candidates import Missing
from fusion.errors import ConfigError
from fusion.strategies.parallel import Parallel

GONE = Missing.NOT_RETRIEVED
POOL = pool_of(candidates_of([{1: (2, 10), 2: (6, GONE), 3: (3, 20)}, {}, {4: (1, 1)}]))


def test_rrf_of_everything_by_default() -> None:
    fused = Parallel().fuse(POOL)
    assert fused.parts == ("a", "b")
    np.testing.assert_array_equal(
        fused.contributions, [[1 / 63, 1 / 62], [1 / 61, 0], [1 / 62, 1 / 61], [1 / 61, 1 / 61]]
    )
    np.testing.assert_array_equal(fused.scores, [1 / 63 + 1 / 62, 1 / 61, 1 / 62 + 1 / 61, 2 / 61])


def test_only_the_named_models_are_asked() -> None:
    pool = POOL.with_union(POOL.union)
    fused = Parallel({"models": ["b"]}).fuse(pool)
    assert pool.asked == [(("b",), 4)]
    assert fused.candidates.models == ("b",)


@pytest.mark.parametrize(
    "config",
    [
        {"method": "weighted_sum", "weights": {"a": 3}},
        {"method": {"name": "weighted_sum", "weights": {"a": 3}}},
    ],
)
def test_weights_in_either_place(config: dict[str, object]) -> None:
    fused = Parallel(config).fuse(POOL)
    np.testing.assert_array_equal(fused.scores, [0 + 0, 3 + 0, 3 / 4 + 1, 3 + 1])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"weights": {"a": 1}, "method": {"name": "rrf", "weights": {"a": 1}}}, "one place"),
        ({"models": ["a"], "weights": {"b": 1}}, "weights of the models it merges: a, got 'b'"),
        ({"models": ["a"], "weights": {"a": 0}}, "a weight above 0"),
        ({"models": ["a", "a"]}, "'a' more than once"),
        ({"models": []}, "at least one model"),
    ],
)
def test_configs_that_contradict_themselves(config: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Parallel(config)


@pytest.mark.parametrize(
    "config", [{"models": ["a", "c"]}, {"weights": {"c": 2}}, {"weights": {"a": 0, "b": 0}}]
)
def test_configs_that_do_not_fit_the_engine(config: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="fusion mine: expected"):
        Parallel(config, name="mine").uses(("a", "b"))
