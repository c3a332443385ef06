import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fusion.queries import Queries
from fusion.ragged import Ragged
from retrievers import linear
from retrievers.linear import WarmItems, batches, gram_rows, retrieve_blocks, top_n

small_blocks = arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 7)),
    elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0]),
)


@given(small_blocks, st.integers(1, 8))
def test_top_n_is_the_head_of_a_stable_sort(block, n):
    rows, columns = top_n(block.copy(), n)
    for row in range(len(block)):
        order = sorted(range(block.shape[1]), key=lambda c: (-block[row, c], c))
        expected = [c for c in order if block[row, c] > -np.inf][:n]
        assert columns[rows == row].tolist() == sorted(expected)


def test_batches_cover_everything_once_within_the_scratch(monkeypatch):
    monkeypatch.setattr(linear, "SCRATCH", 16 * 100)
    runs = list(batches(25, 10))  # 100 cells: 10 queries of 10 columns
    assert [len(run) for run in runs] == [10, 10, 5]
    assert np.concatenate(runs).tolist() == list(range(25))
    assert [len(run) for run in batches(2, 10_000)] == [1, 1]  # never less than one query


def test_gram_rows_are_the_product(monkeypatch):
    monkeypatch.setattr(linear, "SCRATCH", 16 * 4 * 3)  # 3 rows of 4 columns at a time
    dense = (np.random.default_rng(0).random((6, 4)) < 0.5).astype(np.float32)
    parts = list(gram_rows(scipy.sparse.csr_array(dense)))
    assert [first for first, _ in parts] == [0, 3]
    np.testing.assert_array_equal(
        np.concatenate([rows.toarray() for _, rows in parts]), dense.T @ dense
    )


@pytest.mark.parametrize("scratch", [1, 2**20])
def test_retrieve_leaves_out_zeros_excluded_and_unknown_queries(monkeypatch, scratch):
    monkeypatch.setattr(linear, "SCRATCH", scratch)
    warm = WarmItems.of(np.array([1, 3, 4, 7], np.int32), 8)
    table = np.array([[0.5, 0.0, -2.0, 3.0], [9, 9, 9, 9], [1.0, 1.0, 1.0, 4.0]], np.float32)
    queries = Queries.from_history(Ragged.of([[7, 0], [1], []]))
    known = np.array([True, False, True])
    # the users column says which row of the table a query is, in whatever batch it comes
    queries = Queries(
        queries.history,
        queries.times,
        queries.ratings,
        np.arange(3, dtype=np.int32),
        queries.now,
        queries.excluded,
    )
    found = retrieve_blocks("m", warm, queries, 2, lambda q: table[q.users].copy(), known).checked()
    assert found.offsets.tolist() == [0, 2, 2, 4]
    assert found.items.tolist() == [1, 4, 1, 7]  # 7 is seen by query 0; ties go to the lower index
    assert found.column("m").tolist() == [0.5, -2.0, 1.0, 4.0]
