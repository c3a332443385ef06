from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of
from pydantic import ValidationError

from fusion.candidates import Missing
from fusion.methods.weighted_sum import WeightedSum

SILENT = {"timed_out": "nan", "filtered": "nan"}
GONE, COLD, LATE, CUT = (
    Missing.NOT_RETRIEVED,
    Missing.COLD,
    Missing.TIMED_OUT,
    Missing.FILTERED,
)


def test_arithmetic() -> None:
    lists = candidates_of([{1: (2, 10), 2: (3, 20), 3: (6, 30)}])
    np.testing.assert_array_equal(
        WeightedSum().contributions(lists, np.array([1.0, 4.0])),
        [[0, 0], [1 / 4, 4 * 1 / 2], [1, 4]],
    )


@pytest.mark.parametrize("reason", [GONE, LATE, CUT])
def test_a_censored_score_is_the_lowest_given_and_a_cold_one_is_none(reason: Missing) -> None:
    lists = candidates_of([{1: (2,), 2: (6,), 3: (reason,), 4: (COLD,)}])
    z = WeightedSum({"normalization": "z_score"}).contributions(lists, np.array([10.0]))
    np.testing.assert_array_equal(z.ravel(), [-10, 10, -10, 0])
    rank = WeightedSum({"normalization": "rank"}).contributions(lists, np.ones(1))
    np.testing.assert_array_equal(rank.ravel(), [1 / 2, 1, 1 / 2, 0])


def test_omit_adds_nothing() -> None:
    lists = candidates_of([{1: (2,), 2: (6,), 3: (GONE,)}])
    omit = WeightedSum({"normalization": "z_score", "missing": SILENT})
    np.testing.assert_array_equal(omit.contributions(lists, np.ones(1)).ravel(), [-1, 1, 0])


def test_a_list_of_one_item_says_that_it_listed_it() -> None:
    lists = candidates_of([{1: (9,), 2: (GONE,)}, {1: (GONE,)}, {}])
    for normalization in ("min_max", "rank"):
        method = WeightedSum({"normalization": normalization})
        np.testing.assert_array_equal(method.contributions(lists, np.ones(1)).ravel(), [1, 0, 0])


@pytest.mark.parametrize(
    ("bad", "where"),
    [
        ({"normalization": "minmax"}, ("normalization",)),
        ({"normalization": {"name": "minmax"}}, ("normalization", "name")),
        ({"normalization": {"name": "min_max", "power": 2}}, ("normalization", "power")),
        ({"missing": {"cold": "zero"}}, ("missing", "cold")),
        ({"weights": {}}, ("weights",)),
    ],
)
def test_a_fault_is_told_at_its_place(bad: dict[str, object], where: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as told:
        WeightedSum(bad)
    assert [error["loc"] for error in told.value.errors()] == [where]


def test_the_nearest_name() -> None:
    with pytest.raises(ValidationError, match="did you mean 'min_max'"):
        WeightedSum({"normalization": "minmax"})
