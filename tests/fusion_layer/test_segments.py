from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import random_candidates

from fusion.candidates import Candidates
from fusion.normalizations.segments import extremes, ranks, reduce, sums


def test_an_empty_query_is_not_given_the_next_ones_rows() -> None:
    column = np.array([3.0, np.nan, 1.0, 5.0])
    offsets = np.array([0, 0, 3, 3, 4, 4])
    low, high = extremes(column, offsets)
    np.testing.assert_array_equal(low, [np.nan, 1, np.nan, 5, np.nan])
    np.testing.assert_array_equal(high, [np.nan, 3, np.nan, 5, np.nan])
    np.testing.assert_array_equal(sums(column, offsets), [0, 3 + 1, 0, 5, 0])


def test_a_query_of_nan_only_has_no_extremes_and_the_sum_0() -> None:
    column, offsets = np.array([np.nan, np.nan, 2.0]), np.array([0, 2, 3])
    np.testing.assert_array_equal(extremes(column, offsets)[0], [np.nan, 2])
    np.testing.assert_array_equal(sums(column, offsets), [0, 2])


@pytest.mark.parametrize("offsets", [[0], [0, 0], [0, 0, 0]])
def test_no_rows_at_all(offsets: list[int]) -> None:
    found = reduce(np.add.reduceat, np.empty(0), np.array(offsets))
    np.testing.assert_array_equal(found, np.full(len(offsets) - 1, np.nan))


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    levels=st.sampled_from([0, 1, 3]),
    longest=st.sampled_from([0, 1, 2, 9, 60]),
    missing=st.sampled_from([0.0, 0.4, 1.0]),
)
def test_ranks_are_those_of_candidates(
    seed: int, levels: int, longest: int, missing: float
) -> None:
    rng = np.random.default_rng(seed)
    candidates = random_candidates(rng, longest=longest, levels=levels, missing=missing)
    np.testing.assert_array_equal(ranks(candidates), candidates.ranks())


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("width", [1, 2, 7])
def test_queries_of_one_length(width: int, in_order: bool, missing: float) -> None:
    """They are worked on as a matrix: the same numbers as beside a longer query."""
    rng = np.random.default_rng(0)
    some = random_candidates(rng, 40, longest=30, levels=3, missing=missing)
    alike = some.take(np.flatnonzero(some.lengths >= width))
    head = alike.where(np.arange(len(alike)) - alike.offsets[alike.rows] < width)
    if in_order:
        order = np.lexsort((head.items, head.rows))
        head = replace(
            head, items=head.items[order], scores=head.scores[order], why=head.why[order]
        )
    assert set(head.lengths.tolist()) == {width}
    np.testing.assert_array_equal(ranks(head), head.ranks())
    mixed = Candidates.concatenate([head, some])
    column, more = head.scores[:, 0], mixed.scores[:, 0]
    for few, many in zip(
        extremes(column, head.offsets), extremes(more, mixed.offsets), strict=True
    ):
        np.testing.assert_array_equal(few, many[: head.n_queries])


def test_ranks_of_the_extremes_of_float32() -> None:
    rng = np.random.default_rng(0)
    candidates = random_candidates(rng, n_queries=1, n_items=400, longest=400, missing=0.0)
    edges = np.array([0.0, -0.0, 1e-45, -1e-45, 1e-38, 3.4e38, -3.4e38, 1.0, -1.0], np.float32)
    candidates.scores[:] = rng.choice(edges, candidates.scores.shape)
    np.testing.assert_array_equal(ranks(candidates), candidates.ranks())
