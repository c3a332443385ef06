from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of, random_candidates

from fusion.candidates import Missing
from fusion.normalizations.rowwise import lists, rowwise


@pytest.mark.parametrize("lengths", [[2, 2, 2], [1, 3, 0, 2], [0, 0], [], [3], [0, 3, 3]])
def test_one_number_a_query(lengths: list[int]) -> None:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    column = np.arange(offsets[-1], dtype=np.float32)
    numbers = np.arange(len(lengths)) * 10.0 + 1
    out = np.empty(len(column))
    rowwise(np.subtract, column, numbers, offsets, out)
    expected = [c - numbers[np.searchsorted(offsets, i, "right") - 1] for i, c in enumerate(column)]
    np.testing.assert_array_equal(out, expected)


def test_in_place_and_in_float64() -> None:
    column = np.array([1.0, 2.0, 3.0, 4.0])
    rowwise(np.divide, column, np.array([2.0, 4.0]), np.array([0, 2, 4]), column)
    assert column.tolist() == [1 / 2, 2 / 2, 3 / 4, 4 / 4]
    top = np.finfo(np.float32).max
    wide = np.empty(2)
    rowwise(np.subtract, np.float32([top, -top]), np.array([-float(top)]), np.array([0, 2]), wide)
    assert wide.tolist() == [2 * float(top), 0]


def test_every_list_of_every_model() -> None:
    some = candidates_of([{1: (1, 10), 2: (2, Missing.COLD)}, {}, {7: (3, 30)}])
    scores, offsets = lists(some)
    np.testing.assert_array_equal(scores, np.float32([1, 2, 3, 10, np.nan, 30]))
    assert offsets.tolist() == [0, 2, 2, 3, 3 + 2, 3 + 2, 3 + 3]
    np.testing.assert_array_equal(scores.reshape(2, 3).T, some.scores)


def test_lists_of_nobody_and_of_nothing() -> None:
    some = random_candidates(np.random.default_rng(0), n_queries=3)
    scores, offsets = lists(some.only([]))
    assert (scores.shape, offsets.tolist()) == ((0,), [0])
    scores, offsets = lists(some.where(np.zeros(len(some), bool)))
    assert (scores.shape, offsets.tolist()) == ((0,), [0] * (3 * 3 + 1))


def test_what_is_read_stays_as_it_is() -> None:
    """With one model `lists` is a view of the candidates' own memory."""
    some = candidates_of([{1: (2,), 2: (4,)}])
    scores, offsets = lists(some)
    rowwise(np.divide, scores, np.array([4.0]), offsets, np.empty(2))
    assert some.scores.ravel().tolist() == [2, 4]
