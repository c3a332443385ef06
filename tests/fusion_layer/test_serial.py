from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of, pool_of, random_candidates
from pydantic import ValidationError

from fusion.candidates import Missing
from fusion.errors import ConfigError
from fusion.protocols import Fused
from fusion.strategies.parallel import Parallel
from fusion.strategies.serial import Serial

WSUM = "weighted_sum"


def order(fused: Fused, query: int = 0) -> list[int]:
    one = fused.candidates.offsets[query : query + 2]
    inside = slice(int(one[0]), int(one[1]))
    items, scores = fused.candidates.items[inside], fused.scores[inside]
    return items[np.lexsort((items, -scores))].tolist()


# a orders 1 2 3 4 5, b orders 5 4 3 2 1, c orders 2 1 ...
LISTS = candidates_of(
    [{i: (6 - i, i, {1: 4, 2: 9}.get(i, 0)) for i in range(1, 6)}, {}, {7: (1, 1, 1)}]
)
CASCADE = {
    "stages": [
        {"models": ["a"], "keep": 4},
        {"models": ["b"], "keep": 3},
        {"models": ["a", "c"], "method": WSUM},
    ]
}


def test_each_stage_orders_what_it_cut_below_what_went_on() -> None:
    # a keeps 1 2 3 4; b keeps 4 3 2; a + c order those: 2 (1 + 1), 3 (1/2 + 0), 4 (0 + 0)
    assert order(Serial(CASCADE).fuse(pool_of(LISTS))) == [2, 3, 4, 1, 5]
    two = {"stages": [{"models": ["a"], "keep": 2}, {"models": ["b"]}]}
    assert order(Serial(two).fuse(pool_of(LISTS))) == [2, 1, 3, 4, 5]


def test_a_model_is_asked_once_and_only_for_the_survivors() -> None:
    pool = pool_of(LISTS)
    fused = Serial(CASCADE).fuse(pool)
    assert pool.asked == [(("a",), 6), (("b",), 5), (("c",), 4)]
    cut = fused.candidates.items[:5] == 5
    assert fused.candidates.models == ("a", "b", "c")
    assert fused.candidates.why[:5][cut].tolist() == [[0, Missing.FILTERED, Missing.FILTERED]]
    fused.candidates.checked()


def test_the_cascade_is_an_explicit_part() -> None:
    fused = Serial(CASCADE).fuse(pool_of(LISTS))
    assert fused.parts == ("a", "b", "c", "cascade")
    np.testing.assert_allclose(fused.contributions.sum(axis=1), fused.scores, rtol=1e-12)
    by_item = dict(zip(fused.candidates.items.tolist(), fused.contributions, strict=True))
    np.testing.assert_array_equal(by_item[2], [1, 0, 1, 0])
    np.testing.assert_array_equal(by_item[7], [1, 0, 1, 0])
    # item 1 was cut by b, whose fourth it was: 1 below the worst of the rest, item 4 with 0
    np.testing.assert_allclose(by_item[1], [0, 1 / 64, 0, -1 - 1 / 64], rtol=1e-8)
    np.testing.assert_allclose(by_item[5], [1 / 65, 0, 0, -2 - 1 / 65], rtol=1e-8)


def test_one_stage_is_parallel() -> None:
    pool = pool_of(random_candidates(np.random.default_rng(1)))
    one = Serial({"stages": [{"models": ["a", "b", "c"], "method": WSUM}]}).fuse(pool)
    parallel = Parallel({"method": WSUM}).fuse(pool)
    np.testing.assert_array_equal(one.scores, parallel.scores)


def test_keep_in_the_last_stage_moves_nothing() -> None:
    pool = pool_of(random_candidates(np.random.default_rng(1)))
    stages = [{"models": ["a"], "keep": 9}, {"models": ["b", "c"]}]
    free = Serial({"stages": stages}).fuse(pool)
    kept = Serial({"stages": [stages[0], {**stages[1], "keep": 3}]}).fuse(pool)
    for query in range(pool.union.n_queries):
        assert order(free, query) == order(kept, query)


def test_batch_equals_single() -> None:
    pool = pool_of(random_candidates(np.random.default_rng(2), longest=15, levels=4))
    strategy = Serial(CASCADE)
    batch = strategy.fuse(pool)
    alone = [strategy.fuse(pool.take(np.array([q]))) for q in range(pool.union.n_queries)]
    np.testing.assert_array_equal(batch.scores, np.concatenate([one.scores for one in alone]))
    np.testing.assert_array_equal(
        batch.contributions, np.concatenate([one.contributions for one in alone])
    )


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "at least 1"),
        ([{"models": ["a"]}, {"models": ["b"]}], "stage 1: expected how many"),
        ([{"models": ["a"], "keep": 2}, {"models": ["b"], "keep": 3}], "stage 2: .* at most the 2"),
        ([{"models": []}], "at least one model"),
        ([{"models": ["a"], "weights": {"b": 1}}], "got 'b'"),
        ([{"models": ["a"], "keep": 0}], "greater than or equal to 1"),
    ],
)
def test_bad_configs(stages: list[object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Serial({"stages": stages})


def test_unknown_model() -> None:
    with pytest.raises(ConfigError, match="did you mean 'c'"):
        Serial({"stages": [{"models": ["cc"]}]}).uses(("b", "c"))
