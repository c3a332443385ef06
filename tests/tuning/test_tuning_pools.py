from __future__ import annotations

import numpy as np
import pytest
from fusion_layer.pools import MemoryPool, pool_of, random_candidates
from tuning_cases import window_of

from fusion.protocols import Pool
from fusion.strategies.serial import Serial
from fusion.tuning.pools import MemoPool, PartOfPool

CASCADE = Serial({"stages": [{"models": ["strong"], "keep": 7}, {"models": ["weak"]}]})


def memory() -> MemoryPool:
    pool = window_of(12).pool
    assert isinstance(pool, MemoryPool)
    return pool


def same(one: Pool, other: Pool) -> None:
    left, right = CASCADE.fuse(one), CASCADE.fuse(other)
    np.testing.assert_array_equal(left.scores, right.scores)
    np.testing.assert_array_equal(left.candidates.items, right.candidates.items)
    np.testing.assert_array_equal(left.candidates.offsets, right.candidates.offsets)


def test_it_asks_once_for_the_same_rows() -> None:
    pool = memory()
    memo = MemoPool(pool)
    same(memo, pool.with_union(pool.union))
    asked = list(pool.asked)
    same(memo, pool.with_union(pool.union))
    assert pool.asked == asked == [(("strong",), 12 * 40), (("weak",), 12 * 7)]


def test_it_forgets_in_the_end() -> None:
    pool = memory()
    memo = MemoPool(pool)
    for keep in range(1, 20):
        Serial({"stages": [{"models": ["strong"], "keep": keep}, {"models": ["weak"]}]}).fuse(memo)
    assert len(memo._memo) == 16


def test_what_was_taken_of_it_is_the_same() -> None:
    pool, which = memory(), np.array([7, 2, 3])
    same(MemoPool(pool).take(which), pool.take(which))


@pytest.mark.parametrize("which", [[0, 5, 11], [4], [], list(range(12))])
def test_a_part_is_what_taking_it_gives(which: list[int]) -> None:
    pool, at = memory(), np.array(which, np.int64)
    part = PartOfPool(pool, at)
    same(part, pool.take(at))
    assert part.models == pool.models
    np.testing.assert_array_equal(part.queries.users, pool.queries.users[at])


def test_a_part_asks_the_whole_which_remembers() -> None:
    pool = memory()
    CASCADE.fuse(PartOfPool(pool, np.array([0, 1])))
    assert pool.asked == [(("strong",), 2 * 40), (("weak",), 2 * 7)]


def test_a_part_of_a_part() -> None:
    pool = memory()
    part = PartOfPool(pool, np.array([1, 4, 6, 9]))
    same(part.take(np.array([1, 3])), pool.take(np.array([4, 9])))
    same(part.take(np.array([3, 1])), pool.take(np.array([9, 4])))


def test_queries_without_candidates() -> None:
    lists = random_candidates(np.random.default_rng(0), n_queries=9, models=("strong", "weak"))
    pool, at = pool_of(lists), np.array([0, 3, 8])
    same(PartOfPool(pool, at), pool.take(at))
