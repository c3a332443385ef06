import numpy as np
import pytest

from fusion.queries import Queries
from fusion.ragged import Ragged
from retrievers.history import decayed, history_matrix


def test_an_event_counts_half_after_a_half_life():
    np.testing.assert_allclose(decayed(np.array([0, 3, 6, 1]), 3.0), [1, 0.5, 0.25, 0.5 ** (1 / 3)])


def test_without_a_half_life_every_event_counts_one():
    assert decayed(np.array([0, 100]), None).tolist() == [1.0, 1.0]


def test_rows_hold_the_weights_of_known_items():
    # item 9 is unknown: it pushes item 4 one step back, and adds nothing
    columns = np.full(10, -1, np.int32)
    columns[[2, 4]] = [0, 1]
    queries = Queries.from_history(Ragged.of([[2, 4, 9], [], [9], [4, 2]]))
    matrix = history_matrix(queries, columns, 2, half_life=1.0)
    assert matrix.dtype == np.float32
    assert matrix.toarray().tolist() == [[0.25, 0.5], [0, 0], [0, 0], [1.0, 0.5]]


def test_newest_cuts_by_position_in_the_whole_history():
    columns = np.array([0, 1, -1], np.int32)
    queries = Queries.from_history(Ragged.of([[0, 1, 2]]))
    matrix = history_matrix(queries, columns, 2, half_life=None, newest=2)
    assert matrix.toarray().tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("half_life", [None, 2.0])
def test_batch_equals_single(half_life):
    queries = Queries.from_history(Ragged.of([[0, 1], [2], [1, 2, 0]]))
    columns = np.arange(3, dtype=np.int32)
    together = history_matrix(queries, columns, 3, half_life=half_life).toarray()
    for q in range(3):
        alone = history_matrix(queries.take(np.array([q])), columns, 3, half_life=half_life)
        assert alone.toarray().tolist() == [together[q].tolist()]
