from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pools import EVERYTHING, PAST, MemoryPool, candidates_of, pool_of, window_of
from pydantic import ValidationError

from fusion.candidates import Candidates, Missing
from fusion.errors import ConfigError, LeakageError
from fusion.protocols import FitContext, Labelled
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


COLD = Missing.COLD


@dataclass(frozen=True)
class Completing(MemoryPool):
    """Says 5 wherever a score was not retrieved, as models do that are asked for it."""

    def complete(self, candidates: Candidates, models: tuple[str, ...]) -> Candidates:
        found = super().complete(candidates, models)
        gone = found.why == GONE
        return replace(
            found,
            scores=np.where(gone, np.float32(5), found.scores),
            why=np.where(gone, np.uint8(0), found.why),
        )


COMPLETING = Completing(POOL.queries, POOL.union, POOL.popularity)


def shown(config: dict[str, Any]) -> dict[int, float]:
    fused = Parallel({"method": {"name": "weighted_sum", **config}}).fuse(COMPLETING)
    return dict(zip(fused.candidates.items.tolist(), fused.scores.tolist(), strict=True))


def test_scores_are_completed_over_the_union_by_default() -> None:
    # b says 10, 5 and 20 of the items 1, 2 and 3
    assert shown({}) == {1: 0 + 5 / 15, 2: 1 + 0, 3: 1 / 4 + 1, 4: 1 + 1}


def test_without_completion_models_keep_to_their_own_lists() -> None:
    alone = {"missing": {"not_retrieved": "nan"}}
    assert shown(alone) == {1: 0 + 0, 2: 1, 3: 1 / 4 + 1, 4: 1 + 1}
    censored = {"normalization": "z_score", "missing": {"not_retrieved": "lowest"}}
    assert shown(censored)[2] == pytest.approx(
        (6 - 11 / 3) / np.std([2, 6, 3]) + (10 - 15) / np.std([10, 20])
    )


def test_an_item_that_a_model_does_not_list_can_be_excluded() -> None:
    assert sorted(shown({"missing": {"not_retrieved": "exclude"}})) == [1, 3, 4]


def test_contributions_are_those_of_the_rows_asked_for() -> None:
    fused = Parallel({"method": "weighted_sum"}).fuse(POOL)
    few = np.array([3, 1])
    np.testing.assert_array_equal(fused.explain(few), fused.contributions[few])


PRIOR = {"name": "weighted_sum", "missing": {"cold": "prior"}}


def test_a_method_that_learns_is_fitted_on_all_windows_and_kept(tmp_path: Path) -> None:
    first, second = window_of(seed=1), window_of(seed=2)
    fitted = Parallel({"method": PRIOR})
    assert fitted.learns
    fitted.fit([with_cold(first), with_cold(second)], FitContext())
    other = Parallel({"method": PRIOR})
    other.fit([with_cold(first)], FitContext())
    pool = with_cold(window_of(seed=3)).pool
    assert (fitted.fuse(pool).scores != other.fuse(pool).scores).any()
    fitted.save(tmp_path)
    other.load(tmp_path)
    np.testing.assert_array_equal(fitted.fuse(pool).scores, other.fuse(pool).scores)


def test_a_method_that_learns_refuses_a_model_that_saw_the_future() -> None:
    window = replace(window_of(), provenance={"strong": PAST, "weak": EVERYTHING})
    with pytest.raises(LeakageError, match="model 'weak'"):
        Parallel({"method": PRIOR}).fit([window], FitContext())


def with_cold(window: Labelled) -> Labelled:
    """Every third item is cold to the first model."""
    union = window.pool.candidates()
    scores, why = union.scores.copy(), union.why.copy()
    gone = union.items % 3 == 0
    scores[gone, 0], why[gone, 0] = np.nan, COLD
    return replace(window, pool=replace(window.pool, union=replace(union, scores=scores, why=why)))
