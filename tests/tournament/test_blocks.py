from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import DataError
from fusion.queries import Queries
from fusion.ragged import Ragged
from fusion.tournament.blocks import cut_folds


def queries(now: list[float], users: list[int] | None = None) -> Queries:
    n = len(now)
    return replace(
        Queries.from_history(Ragged.empty(n)),
        now=np.array(now, np.float64),
        users=np.array(range(n) if users is None else users, np.int32),
    )


def test_blocks_by_hand() -> None:
    folds = cut_folds(queries([30, 10, 20, 60, 50, 40]), 2)
    assert folds.in_time
    assert len(folds) == 2
    assert folds.order.tolist() == [1, 2, 0, 5, 4, 3]
    assert folds.past(0).tolist() == [1, 2]
    assert folds.judged(0).tolist() == [0, 5]
    assert folds.past(1).tolist() == [1, 2, 0, 5]
    assert folds.judged(1).tolist() == [4, 3]
    assert folds.all_judged.tolist() == [0, 5, 4, 3]
    assert folds.fold_of.tolist() == [0, 0, 1, 1]


@given(st.integers(0, 1000), st.integers(2, 6), st.integers(20, 60))
@settings(deadline=None, max_examples=25)
def test_all_that_is_learnt_from_is_older(seed: int, folds: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    asked = queries(list(rng.integers(0, 30, n).astype(float)))
    cut = cut_folds(asked, folds)
    for fold in range(folds):
        past, judged = cut.past(fold), cut.judged(fold)
        assert asked.now[past].max() <= asked.now[judged].min()
        assert not set(past) & set(judged)
    assert sorted([*cut.past(0), *cut.all_judged]) == list(range(n))


def test_without_time_no_user_is_on_both_sides() -> None:
    users = [q % 17 for q in range(100)]
    cut = cut_folds(queries([np.nan] * 100, users), 4)
    assert not cut.in_time
    who = np.array(users)
    for fold in range(4):
        assert not set(who[cut.past(fold)]) & set(who[cut.judged(fold)])
    # a hash, so the order is neither that of users nor that of queries
    assert who[cut.order].tolist() not in (sorted(users), users)


def test_one_unknown_time_is_no_order_in_time() -> None:
    assert not cut_folds(queries([1.0, 2.0, np.nan, 4.0, 5.0, 6.0]), 2).in_time


def test_who_has_no_user_is_alone() -> None:
    assert len(cut_folds(queries([np.nan] * 12, [-1] * 12), 3)) == 3


def test_too_few() -> None:
    with pytest.raises(DataError, match="queries for 4 blocks, got 3 queries"):
        cut_folds(queries([1.0, 2.0, 3.0]), 3)
    with pytest.raises(DataError, match="users for 3 blocks, got 1 users"):
        cut_folds(queries([np.nan] * 9, [5] * 9), 2)
