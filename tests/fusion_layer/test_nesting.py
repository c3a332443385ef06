"""Pools inside pools."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import EVERYTHING, PAST, candidates_of, pool_of, random_candidates, window_of

from fusion.candidates import Candidates, Missing
from fusion.errors import DataError
from fusion.protocols import FitContext
from fusion.queries import Queries
from fusion.ragged import Ragged
from fusion.stackers.spec import StackerSpec
from fusion.strategies.learned import Learned
from fusion.strategies.nesting import (
    FOLDS,
    CrossFitted,
    NestedPool,
    Within,
    copy_of,
    float32_in_order,
    folds_of,
    nested_windows,
    rows_in,
)
from fusion.strategies.parallel import Parallel
from fusion.strategies.single import Single

GONE = Missing.NOT_RETRIEVED
LISTS = candidates_of([{1: (3, 1), 2: (2, GONE), 5: (1, 9)}, {4: (1, 1)}])
SMALL = Learned({"stacker": {"name": "linear"}, "min_queries": 5})


def test_rows_are_found_by_query_and_item() -> None:
    part = Candidates.bare(np.array([0, 2, 3]), np.array([5, 1, 4], np.int32))
    assert rows_in(LISTS, part).tolist() == [2, 0, 3]
    with pytest.raises(DataError, match="rows of its own candidates"):
        rows_in(LISTS, Candidates.bare(np.array([0, 1, 1]), np.array([4], np.int32)))


def test_within_asks_only_about_what_is_left_and_nothing_twice() -> None:
    pool = pool_of(LISTS)
    left = LISTS.only(["a"]).where(np.array([True, False, True, True]))
    within = Within(pool, left)
    assert within.candidates().items.tolist() == [1, 5, 4]
    np.testing.assert_array_equal(within.candidates().scores, LISTS.scores[[0, 2, 3]])
    found = within.complete(within.candidates(), ("b", "a"))
    assert pool.asked == [(("b",), 3)]
    assert found.models == ("b", "a")
    np.testing.assert_array_equal(found.scores, [[1, 3], [9, 1], [1, 1]])


def test_a_fusion_is_a_column_and_what_it_drops_is_filtered() -> None:
    children = {"one": Single({"model": "b"}), "sum": Parallel({"method": "weighted_sum"})}
    pool = NestedPool(pool_of(LISTS), children, ("one", "sum", "a", "b"))
    found = pool.complete(LISTS, ("sum", "a", "one"))
    np.testing.assert_array_equal(found.scores[:, 0], np.float32([1 + 0, 0.5, 0 + 1, 1 + 1]))
    np.testing.assert_array_equal(found.scores[:, 1], LISTS.scores[:, 0])
    np.testing.assert_array_equal(found.scores[:, 2], np.float32([1, np.nan, 9, 1]))
    assert found.why[:, 2].tolist() == [0, Missing.FILTERED, 0, 0]
    found.checked()
    taken = pool.take(np.array([1])).complete(LISTS.take(np.array([1])), ("sum",))
    assert taken.scores.tolist() == [[2]]


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-12, 1.0, 1e6]))
def test_float32_keeps_every_order(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    lists = random_candidates(rng, n_queries=5, longest=30)
    # a base with tiny differences that float32 cannot hold, ties, and both signs
    scores = rng.choice([-3.0, 0.0, 1.0], len(lists)) + scale * 1e-9 * rng.integers(
        0, 5, len(lists)
    )
    found = float32_in_order(scores, lists)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, scores, rtol=1e-5, atol=1e-30)
    same = lists.rows[:, None] == lists.rows[None, :]
    above = (scores[:, None] > scores[None, :]) & same
    tied = (scores[:, None] == scores[None, :]) & same
    assert (found[:, None] > found[None, :])[above].all()
    assert (found[:, None] == found[None, :])[tied].all()


def test_float32_leaves_alone_what_it_can_hold() -> None:
    lists = candidates_of([{1: (0,), 2: (0,)}, {1: (0,), 2: (0,)}])
    given = np.array([-0.5, 2.25, 7.0, 7.0])
    assert float32_in_order(given, lists).tolist() == given.tolist()


def test_folds_are_of_users_and_do_not_depend_on_the_batch() -> None:
    window = window_of(n_queries=200)
    queries = replace(window.pool.queries, users=np.repeat(np.arange(100, dtype=np.int32), 2))
    folds = folds_of(queries)
    np.testing.assert_array_equal(folds[::2], folds[1::2])
    some = np.array([7, 3, 150])
    np.testing.assert_array_equal(folds_of(queries.take(some)), folds[some])
    assert np.bincount(folds, minlength=FOLDS).min() >= 20  # of 40 expected
    nobody = Queries.from_history(Ragged.of([[i] for i in range(200)]))
    assert np.bincount(folds_of(nobody), minlength=FOLDS).min() >= 20


def test_cross_fitted_copies_never_saw_the_users_they_judge() -> None:
    window = window_of(n_queries=100)
    crossed = CrossFitted.of(SMALL, [window], FitContext(seed=3))
    union = window.pool.candidates()
    pool = NestedPool(window.pool, {"stack": crossed}, ("stack",))
    column = pool.complete(union, ("stack",)).scores[:, 0]
    folds = folds_of(window.pool.queries)
    for fold in range(FOLDS):
        own, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        alone = copy_of(SMALL)
        alone.fit([window.take(rest)], FitContext(seed=3))
        expected = alone.fuse(window.take(own).pool).scores
        rows = np.isin(union.rows, own)
        np.testing.assert_allclose(column[rows], expected, rtol=1e-5)


def test_one_user_alone_cannot_be_cross_fitted() -> None:
    window = window_of(n_queries=9)
    users = np.zeros(9, np.int32)
    one = replace(window.pool, queries=replace(window.pool.queries, users=users))
    with pytest.raises(DataError, match="events of several users"):
        CrossFitted.of(SMALL, [replace(window, pool=one)], FitContext())


def test_a_column_has_seen_what_its_models_had_seen() -> None:
    window = replace(window_of(), provenance={"strong": PAST, "weak": EVERYTHING})
    children = {"fine": Single({"model": "strong"}), "leaky": Parallel()}
    (nested,) = nested_windows([window], children, children, ("fine", "leaky"))
    assert nested.provenance["fine"] == PAST
    assert nested.provenance["leaky"] == EVERYTHING
    assert StackerSpec.group == "stackers"
