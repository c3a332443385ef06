from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fusion.ragged import Ragged, segment_rank, spans

lists = st.lists(st.lists(st.integers(0, 50), max_size=6), max_size=8)


def test_spans_are_consecutive_numbers_from_each_start() -> None:
    assert spans(np.array([5, 0, 9]), np.array([2, 0, 1])).tolist() == [5, 6, 9]


@given(lists)
def test_rows_come_back_as_they_went_in(rows: list[list[int]]) -> None:
    ragged = Ragged.of(rows)
    assert [row.tolist() for row in ragged] == rows
    assert ragged.lengths.tolist() == [len(row) for row in rows]


@given(lists, st.randoms(use_true_random=False))
def test_take_reorders_lists(rows: list[list[int]], random: object) -> None:
    which = list(range(len(rows)))
    random.shuffle(which)  # type: ignore[attr-defined]
    taken = Ragged.of(rows).take(np.array(which, dtype=np.int64))
    assert [row.tolist() for row in taken] == [rows[i] for i in which]


@given(lists, lists)
def test_concatenate_is_list_addition(one: list[list[int]], two: list[list[int]]) -> None:
    both = Ragged.concatenate([Ragged.of(one), Ragged.of(two)])
    assert [row.tolist() for row in both] == one + two


def test_segment_rank_breaks_ties_by_the_earlier_key() -> None:
    offsets = np.array([0, 3, 3, 5])
    items = np.array([9, 2, 5, 1, 0])
    scores = np.array([1.0, 3.0, 3.0, np.nan, 0.5])
    order, rank = segment_rank(offsets, (items, -scores))
    assert rank.tolist() == [3, 1, 2, 2, 1]  # 2 before 5 at score 3; NaN last
    assert order.tolist() == [1, 2, 0, 4, 3]
