from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fusion.candidates import Candidates, Missing, Scores
from fusion.errors import ModelError
from fusion.queries import Queries
from fusion.ragged import Ragged
from fusion.serving.checks import checked_list, checked_scores

ROWS = Candidates.bare(np.array([0, 3]), np.array([0, 1, 2], np.int32))
QUERIES = Queries.from_history(Ragged.of([[4], [5]]))


def column(values: Any, why: Any = None) -> Scores:
    values = np.asarray(values)
    if why is None:
        why = np.zeros(values.shape, np.uint8)
    return Scores(values, np.asarray(why))


def lists(offsets: list[int], items: Any, scores: Any = None, model: str = "m") -> Candidates:
    items = np.asarray(items)
    scores = np.zeros(len(items), np.float32) if scores is None else np.asarray(scores)
    why = np.zeros((len(items), 1), np.uint8)
    return Candidates(np.array(offsets), items, scores.reshape(-1, 1), (model,), why)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint16"])
def test_numbers_become_float32(dtype: str) -> None:
    got = checked_scores("m", column(np.array([1, 2, 3], dtype)), ROWS)
    assert got.values.dtype == np.float32
    assert got.values.tolist() == [1, 2, 3]


def test_a_column_of_nan_only_is_an_answer() -> None:
    got = checked_scores("m", Scores.missing(3, Missing.COLD), ROWS)
    assert np.isnan(got.values).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "Scores from `score`, got NoneType"),
        ([1.0, 2.0, 3.0], "got list"),
        (column([1.0, 2.0]), "3 scores"),
        (column([[1.0, 2.0, 3.0]]), r"shape \(1, 3\)"),
        (column(["1", "2", "3"]), "numbers"),
        (column([1j, 2j, 3j]), "complex128"),
        (column([True, False, True]), "bool"),
        (column(np.array([1, None, 2], object)), "object"),
        (column([1.0, np.inf, 2.0]), "1 infinities"),
        (column([1.0, 1e300, -1e300]), "2 infinities"),  # too large for float32
        (column([1.0, np.nan, 2.0]), "a reason exactly where"),
        (column([1.0, 2.0, 3.0], [0, 2, 0]), "a reason exactly where"),
        (column([1.0, 2.0, 3.0], [0, 0]), "3 reasons"),
        (column([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]), "3 reasons"),
    ],
)
def test_what_cannot_be_scores_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        checked_scores("m", given, ROWS)
    assert caught.value.model == "m"
    assert "model 'm'" in str(caught.value)
    assert "on_model_error: skip" in str(caught.value)


def test_a_list_of_other_integers_is_converted() -> None:
    got = checked_list("m", lists([0, 1, 2], np.array([7, 7], np.int64), [1, 2]), QUERIES, 10)
    assert got.items.dtype == np.int32
    assert got.scores.dtype == np.float32
    assert got.offsets.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "Candidates from `retrieve`, got NoneType"),
        (lists([0, 1, 2], [1, 2], model="other"), "one column called 'm'"),
        (lists([0, 2], [1, 2]), "lists of 2 queries"),
        (lists([0, 1, 3], [1, 2]), "Candidates as documented"),
        (lists([0, 1, 2], [1.0, 2.0]), "item indices"),
        (lists([0, 1, 2], [1, 10]), r"0\.\.9, got 10"),
        (lists([0, 1, 2], [-1, 2]), r"0\.\.9, got -1"),
        (lists([0, 2, 2], [3, 3]), "unique inside a query"),
        (lists([0, 1, 2], [1, 2], [1.0, np.inf]), "1 infinities"),
        (lists([0, 1, 2], [1, 2], ["a", "b"]), "numbers"),
        (lists([0, 1, 2], [1, 2], [1.0, 2.0, 3.0]), "2 scores"),
        (lists([0, 1, 2], [1, 5]), "none of the excluded items"),
    ],
)
def test_what_cannot_be_a_list_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        checked_list("m", given, QUERIES, 10)


def test_an_item_that_another_query_excludes_is_fine() -> None:
    got = checked_list("m", lists([0, 1, 2], [5, 4]), QUERIES, 10)
    assert got.items.tolist() == [5, 4]
    assert replace(QUERIES, excluded=Ragged.empty(2)).excluded.lengths.tolist() == [0, 0]
