from __future__ import annotations

import numpy as np

from fusion.candidates import Candidates
from fusion.protocols import Fused
from fusion.topk import Top, top_of


def fused(lengths: list[int], items: list[int], scores: list[float], part: str = "a") -> Fused:
    offsets = np.cumsum([0, *lengths]).astype(np.int64)
    values = np.array(scores, dtype=np.float64)
    candidates = Candidates.bare(offsets, np.array(items, np.int32))
    return Fused.of(candidates, values, (part,), values[:, None])


def test_best_first_ties_by_item_short_lists_stay_short() -> None:
    top = top_of(fused([3, 1, 0], [4, 2, 9, 7], [1.0, 1.0, 5.0, 0.5]), 2)
    assert top.items.tolist() == [9, 2, 7]
    assert top.ranks.tolist() == [1, 2, 1]
    assert top.offsets.tolist() == [0, 2, 3, 3]
    assert top.matrix(2).tolist() == [[9, 2], [7, -1], [-1, -1]]


def test_interleave_puts_each_query_back_in_its_place() -> None:
    known = top_of(fused([1, 1], [5, 6], [1.0, 2.0], "ease"), 3)
    unknown = top_of(fused([2], [8, 9], [4.0, 3.0], "popularity"), 3)
    both = Top.interleave([known, unknown], [np.array([0, 2]), np.array([1])])
    assert both.matrix(2).tolist() == [[5, -1], [8, 9], [6, -1]]
    assert both.parts == ("ease", "popularity")
    assert both.contributions.tolist() == [[1.0, 0.0], [0.0, 4.0], [0.0, 3.0], [2.0, 0.0]]
    assert both.contributions.sum(axis=1).tolist() == both.scores.tolist()
