from __future__ import annotations

import numpy as np
import pytest

from fusion.candidates import Candidates, Missing, Scores
from fusion.errors import DataError


def one(model: str, lists: list[dict[int, float]]) -> Candidates:
    offsets = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    items = np.array([i for row in lists for i in row], np.int32)
    scores = np.array([s for row in lists for s in row.values()], np.float32)
    return Candidates.single(model, offsets, items, scores)


def test_union_keeps_every_row_and_says_what_was_not_retrieved() -> None:
    union = Candidates.union([one("a", [{3: 0.5, 1: 0.2}, {}]), one("b", [{3: 7.0}, {2: 1.0}])])
    assert union.offsets.tolist() == [0, 2, 3]
    assert union.items.tolist() == [1, 3, 2]
    np.testing.assert_array_equal(
        union.scores, np.array([[0.2, np.nan], [0.5, 7.0], [np.nan, 1.0]], np.float32)
    )
    missing = Missing.NOT_RETRIEVED
    assert union.why.tolist() == [[0, missing], [0, 0], [missing, 0]]
    union.checked()


def test_union_does_not_depend_on_the_order_of_lists() -> None:
    a, b = one("a", [{3: 0.5, 1: 0.2}]), one("b", [{3: 7.0, 0: 2.0}])
    ab, ba = Candidates.union([a, b]), Candidates.union([b, a])
    assert ab.items.tolist() == ba.items.tolist()
    np.testing.assert_array_equal(ab.column("a"), ba.column("a"))


def test_ranks_start_at_one_and_ties_go_by_item() -> None:
    ranks = one("a", [{5: 1.0, 2: 1.0, 9: 3.0}, {7: -1.0}]).ranks()[:, 0]
    assert ranks.tolist() == [3.0, 2.0, 1.0, 1.0]


def test_a_missing_score_has_no_rank() -> None:
    c = Candidates.bare(np.array([0, 2]), np.array([1, 2], np.int32))
    ranks = c.with_scores("a", Scores.of([np.nan, 1.0])).ranks()[:, 0]
    assert np.isnan(ranks[0])
    assert ranks[1] == 1


def test_where_and_take_keep_rows_together() -> None:
    c = one("a", [{1: 0.1, 2: 0.2}, {3: 0.3}])
    kept = c.where(np.array([False, True, True]))
    assert (kept.offsets.tolist(), kept.items.tolist()) == ([0, 1, 2], [2, 3])
    back = c.take(np.array([1, 0]))
    assert (back.offsets.tolist(), back.items.tolist()) == ([0, 1, 3], [3, 1, 2])


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([np.inf, 1.0], "infinities"),
        ([1.0], "2 scores"),
    ],
)
def test_bad_columns_are_refused(scores: list[float], message: str) -> None:
    c = Candidates.bare(np.array([0, 2]), np.array([1, 2], np.int32))
    with pytest.raises(DataError, match=message):
        c.with_scores("a", Scores.of(scores)).checked()


def test_a_repeated_item_and_a_wordless_nan_are_refused() -> None:
    repeated = Candidates.bare(np.array([0, 2]), np.array([1, 1], np.int32))
    with pytest.raises(DataError, match="repeated item"):
        repeated.checked()
    c = Candidates.bare(np.array([0, 1]), np.array([1], np.int32))
    silent = Scores(np.array([np.nan], np.float32), np.zeros(1, np.uint8))
    with pytest.raises(DataError, match="reason"):
        c.with_scores("a", silent).checked()


def test_an_unknown_column_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"\('a',\).*'b'"):
        one("a", [{1: 1.0}]).column("b")
