from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from pools import candidates_of, random_candidates

from fusion.candidates import Candidates, Missing
from fusion.errors import NotFittedError
from fusion.methods.base import WorthMethod, chunks, fill_lowest
from fusion.methods.comb_sum import CombSUM
from fusion.methods.rrf import RRF
from fusion.normalizations.segments import FloatArray

NAN = float("nan")
GONE, COLD, LATE = Missing.NOT_RETRIEVED, Missing.COLD, Missing.TIMED_OUT
LABELS = np.array([1, 0, 0, 1, 0], np.float32)
LISTS = candidates_of([{1: (9, 1), 2: (5, COLD), 3: (1, 3)}, {4: (7, COLD), 5: (3, 3)}])


class AsItIs(WorthMethod):
    """The least that a method is: what a score is worth."""

    def worth(self, candidates: Candidates) -> FloatArray:
        return candidates.scores.T.astype(np.float64)


def test_a_worth_is_a_method() -> None:
    weights = np.array([2.0, 0.5])
    expected = [[18, 0.5], [10, 0], [2, 1.5], [14, 0], [6, 1.5]]
    assert AsItIs().contributions(LISTS, weights).tolist() == expected
    assert AsItIs().fused(LISTS, weights).tolist() == [18.5, 10, 3.5, 14, 7.5]
    assert not AsItIs.by_rank
    assert not AsItIs.monotone


def test_the_candidates_stay_as_they_are() -> None:
    before = LISTS.scores.copy()
    policy = {"missing": {"cold": "lowest"}}
    for method in (AsItIs(policy), RRF(policy), CombSUM(policy)):
        method.fused(LISTS, np.array([2.0, 0.5]))
        method.contributions(LISTS, np.array([2.0, 0.5]))
    np.testing.assert_array_equal(LISTS.scores, before)


def test_priors_are_learnt_kept_and_restored() -> None:
    # b is right in (1 + 2/5) / 2 at 1 and (0 + 2/5) / 3 at 3, made monotone less than a half;
    # where it is cold, (1 + 2/5) / 3: never reached, so its best worth, 3
    method = AsItIs({"missing": {"cold": "prior"}})
    assert method.learns
    with pytest.raises(NotFittedError, match="fit"):
        method.fused(LISTS, np.ones(2))
    method.fit(LISTS, LABELS)
    state = json.loads(json.dumps(method.state(), allow_nan=False))
    assert list(state) == ["priors"]
    again = AsItIs({"missing": {"cold": "prior"}})
    again.restore(state)
    fused = method.fused(LISTS, np.ones(2))
    assert fused.tolist() == [9 + 1, 5 + 3, 1 + 3, 7 + 3, 3 + 3]
    np.testing.assert_array_equal(again.fused(LISTS, np.ones(2)), fused)
    # known by the model's name: another order, or fewer models, changes nothing
    turned = method.fused(LISTS.only(("b", "a")), np.ones(2))
    np.testing.assert_array_equal(turned, fused)
    stranger = replace(LISTS, models=("a", "z"))
    with pytest.raises(NotFittedError, match="fitted on the scores of 'z', got a, b"):
        method.fused(stranger, np.ones(2))


def test_what_does_not_learn_has_no_state() -> None:
    assert AsItIs().state() == {}
    assert CombSUM().state() == {}
    assert not CombSUM().learns


def test_lowest_fills_what_is_censored_and_only_that() -> None:
    lists = candidates_of(
        [
            {1: (2, 4, GONE), 2: (GONE, COLD, GONE), 3: (5, 6, GONE)},
            {1: (7, -7, 1), 2: (GONE, GONE, LATE)},
        ]
    )
    worth = np.ascontiguousarray(lists.scores.T, np.float64)
    fill_lowest(worth, lists, (GONE,))
    np.testing.assert_array_equal(
        worth,
        [
            [2, 2, 5, 7, 0],  # one number alone tells listed from not listed: 0
            [4, NAN, 6, -7, -7],  # or that number, if it is lower
            [NAN, NAN, NAN, 1, NAN],  # no number in the query, another reason
        ],
    )


@pytest.mark.parametrize("rows", [1, 7, 30, 10**6])
def test_chunks_are_whole_queries_in_order(rows: int) -> None:
    lists = random_candidates(np.random.default_rng(0))
    ranges = list(chunks(lists, rows))
    assert [query for start, stop in ranges for query in range(start, stop)] == list(range(20))
    for start, stop in ranges:
        n = int(lists.offsets[stop] - lists.offsets[start])
        assert n <= rows or stop == start + 1


def test_no_queries_no_chunks() -> None:
    assert list(chunks(LISTS.take(np.empty(0, np.int64)))) == []
