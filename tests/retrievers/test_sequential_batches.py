from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion import Queries
from fusion.ragged import Ragged
from retrievers.sequential_batches import GAP_BUCKETS, Windows, gap_buckets, padded, recent


def windows(lengths, *, length=4, batch_events=12, times=None, ties=True) -> Windows:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    columns = np.arange(offsets[-1])
    when = columns.astype(float) if times is None else np.asarray(times, float)
    return Windows(columns, when, offsets, length, batch_events, ties, seed=5)


def test_gaps_are_powers_of_two_and_bounded():
    times = np.array([0.0, 0.0, 1.0, 3.0, 3.5, 3.5 + 2.0**40])
    found = gap_buckets(times, np.array([0, 6]))
    assert found.tolist() == [0, 1, 2, 3, 1, GAP_BUCKETS - 1]


def test_each_sequence_begins_with_an_unknown_gap():
    times = np.array([0.0, 8.0, 8.0, 16.0])
    assert gap_buckets(times, np.array([0, 2, 2, 4, 4])).tolist() == [0, 5, 0, 5]


def test_padded_runs():
    found = padded(np.array([1, 2, 3, 4]), np.array([0, 3]), np.array([3, 1]))
    assert found.tolist() == [[1, 2, 3], [4, 0, 0]]


def test_bounds_written_out():
    # 6 events, at most 4 known: the newest window has 5, the older one ends with its first
    starts, ends = windows([6, 1, 2]).bounds()
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == [(1, 6), (0, 2), (7, 9)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 15), min_size=1, max_size=8), st.integers(1, 6), st.integers(1, 30))
def test_every_event_but_a_users_first_is_foretold_once(lengths, length, batch_events):
    made = windows(lengths, length=length, batch_events=batch_events)
    foretold = [
        item
        for batch in made.epoch(3)
        for row, k in zip(batch.items, batch.lengths, strict=True)
        for item in row[1:k]
    ]
    first = set(made.offsets[:-1].tolist())
    assert sorted(foretold) == [i for i in range(len(made.columns)) if i not in first]
    for batch in made.epoch(3):
        rows, width = batch.items.shape
        assert rows == 1 or rows * (width - 1) <= batch_events
        assert width - 1 <= length
        assert batch.mask.sum() == batch.lengths.sum()
    assert made.batches() == len(list(made.epoch(9)))


def test_an_epoch_is_the_same_whenever_asked_and_differs_from_the_next():
    made = windows([9, 9, 9], times=np.zeros(27))

    def items(epoch):
        return [batch.items.tolist() for batch in made.epoch(epoch)]

    assert items(2) == items(2)
    assert items(2) != items(3)


def test_only_ties_change_their_order():
    times = [0, 1, 1, 1, 2, 0, 0, 5]
    made = windows([5, 3], length=9, batch_events=5, times=times)
    seen = set()
    for epoch in range(40):
        rows = sorted(
            tuple(row[:k])
            for b in made.epoch(epoch)
            for row, k in zip(b.items, b.lengths, strict=True)
        )
        first, second = rows if rows[0][0] == 0 else rows[::-1]
        assert first[0] == 0
        assert first[4] == 4
        assert second[2] == 7
        seen.add(first[1:4])
    assert len(seen) == 6  # each order of the three
    still = windows([5, 3], length=9, times=times, ties=False)
    assert {
        tuple(r[:k]) for b in still.epoch(1) for r, k in zip(b.items, b.lengths, strict=True)
    } == {
        (0, 1, 2, 3, 4),
        (5, 6, 7),
    }


def test_recent_leaves_unknown_items_out_and_bridges_their_gap():
    queries = Queries.from_history(Ragged.of([[3, 1, 4], [4, 2]]))
    queries.times[:] = [0.0, 7.0, 8.0, 0.0, 2.0]
    known = np.array([True, False, True, True, True])
    found = recent(queries, known, length=2)
    assert found.items.tolist() == [[3, 4], [4, 2]]
    assert found.gaps.tolist() == [[0, 2 + 3], [0, 2 + 1]]  # 8 seconds, 2 seconds
    assert recent(queries, known, length=1).items.tolist() == [[4], [2]]
    assert recent(queries, known, length=1).gaps.tolist() == [[5], [3]]


def test_anonymous_histories_have_unknown_gaps():
    queries = Queries.from_history(Ragged.of([[0, 1]]))
    assert recent(queries, np.ones(2, bool), 5).gaps.tolist() == [[0, 0]]


@pytest.mark.parametrize("length", [1, 2])
def test_a_window_too_long_for_a_batch_stands_alone(length):
    made = windows([3, 3], length=length, batch_events=1)
    assert all(len(batch.items) == 1 for batch in made.epoch(0))
