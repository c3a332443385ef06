"""Filter, quota, boost and pin, by hand."""

import numpy as np
import pytest
from after_lists import catalog_of, falling, fused_of, items_of, queries_of, show
from pydantic import ValidationError

from fusion.after.pipeline import After
from fusion.errors import ConfigError

CATALOG = catalog_of(
    8,
    price=[5, 10, 15, 20, 25, 30, 35, None],
    categories=[["war"], ["war"], ["war"], ["space"], ["war", "space"], ["music"], [], None],
)
LIST = fused_of(falling(0, 1, 2, 3, 4, 5, 6, 7))  # scores 8, 7, ..., 1


def test_deny_takes_out_and_says_so():
    shown = show([{"name": "filter", "deny": ["i1", "i6"]}], LIST, CATALOG)
    assert items_of(shown) == [0, 2, 3]
    assert shown.removed == {"filter: denied": [1]}  # i6 would not have been shown anyway
    assert [r.queries.tolist() for r in shown.removals] == [[0]]


def test_allow_lets_nothing_else_through():
    shown = show([{"name": "filter", "allow": ["i7", "i3"]}], LIST, CATALOG)
    assert items_of(shown) == [3, 7]
    # seven places down only one allowed item stands above, so all of these would have been shown
    assert shown.removed == {"filter: not in the allow list": [0, 1, 2, 4, 5, 6]}


def test_keep_and_drop_by_fields_the_first_rule_is_the_reason():
    step = {
        "name": "filter",
        "deny": ["i0"],
        "keep": [{"field": "price", "min": 8}],
        "drop": [{"field": "categories", "contains": "space"}],
    }
    shown = show([step], LIST, CATALOG)
    assert items_of(shown) == [1, 2, 5]
    assert shown.removed == {
        "filter: denied": [0],
        "filter: categories contains space": [3, 4],
    }
    assert items_of(show([step], LIST, CATALOG, k=8)) == [1, 2, 5, 6]  # i7 has no price


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"name": "filter", "deny": ["i11"]}, "filter.*'i11'.*nearest"),
        ({"name": "filter", "keep": [{"field": "prize", "min": 1}]}, "did you mean 'price'"),
        ({"name": "quota", "field": "genre", "at_most": 1}, "categories, price.*'genre'"),
        (
            {"name": "quota", "field": "categories", "at_most": 1, "values": ["wars"]},
            "'wars'; nearest: 'war'",
        ),
        ({"name": "pin", "items": [{"item": "x", "position": 1}]}, "pin.*'x'"),
        ({"name": "boost", "where": [{"field": "x", "min": 1}], "add": 1}, "boost.*'x'"),
    ],
)
def test_what_is_not_there_is_an_error_when_bound(step, message):
    with pytest.raises(ConfigError, match=message):
        After([step]).bind(CATALOG)


def test_unknown_ids_may_be_passed_over():
    step = {"name": "filter", "deny": ["i99", "i0"], "unknown_ids": "ignore"}
    assert items_of(show([step], LIST, CATALOG)) == [1, 2, 3]


def test_at_most_skips_and_goes_on_down_the_list():
    shown = show([{"name": "quota", "field": "categories", "at_most": 1}], LIST, CATALOG, k=4)
    # i0 war; i1, i2 are war again; i3 space; i4 has both; i5 music; i6 has none
    assert items_of(shown) == [0, 3, 5, 6]
    assert shown.removed == {"quota: at most 1 of one categories": [1, 2, 4]}


def test_a_strict_cap_leaves_the_list_short():
    step = {"name": "quota", "field": "categories", "at_most": 1, "pool": 3}
    assert items_of(show([step], LIST, CATALOG)) == [0]


def test_at_least_brings_the_best_of_its_value():
    step = {"name": "quota", "field": "categories", "at_least": 1, "values": ["space", "music"]}
    shown = show([step], LIST, CATALOG)
    assert items_of(shown) == [0, 3, 5]  # the free place goes to the top, the order stays
    note = ("quota: at least 1 of its categories",)
    assert shown.notes == ((), note, note)
    assert shown.removed == {}


def test_at_least_and_at_most_together():
    step = {
        "name": "quota",
        "field": "categories",
        "at_least": 1,
        "at_most": 2,
        "values": ["war", "space"],
    }
    assert items_of(show([step], LIST, CATALOG, k=5)) == [0, 1, 3, 5, 6]


def test_quotas_hold_whatever_diversity_comes_after():
    quota = {"name": "quota", "field": "categories", "at_most": 1}
    shown = show([quota, {"name": "mmr", "trade_off": 0}], LIST, CATALOG, k=4)
    assert sorted(items_of(shown)) == [0, 3, 5, 6]


def test_boost_by_standard_deviations():
    step = {"name": "boost", "where": [{"field": "price", "min": 30}], "add": 2, "pool": 7}
    shown = show([step], LIST, CATALOG, k=3)
    sd = np.std([8, 7, 6, 5, 4, 3, 2])  # 2
    assert sd == 2
    # i5: 3 + 4 = 7 ties with i1 (item index decides), i6: 2 + 4 = 6 ties with i2
    assert items_of(shown) == [0, 1, 5]
    top = shown.top
    assert top.parts == ("a", "b", "boost")
    assert top.scores.tolist() == [8, 7, 7]
    assert top.contributions[2].tolist() == [3 * 0.25, 3 * 0.75, 2 * sd]
    np.testing.assert_allclose(top.contributions.sum(axis=1), top.scores)
    assert shown.notes[2] == ("boost: price min 30",)


def test_boost_by_a_factor_counts_from_the_lowest_of_the_pool():
    step = {"name": "boost", "where": [{"field": "price", "equals": 20}], "multiply": 3, "pool": 6}
    shown = show([step], LIST, CATALOG, k=2)
    assert items_of(shown) == [3, 0]
    assert shown.top.scores[0] == 3 + (5 - 3) * 3


@pytest.mark.parametrize(("scale", "shift"), [(1000.0, 0.0), (0.001, -5.0)])
@pytest.mark.parametrize("amount", [{"add": -1.5}, {"multiply": 4}])
def test_a_boost_means_the_same_for_any_fusion(scale, shift, amount):
    step = {"name": "boost", "where": [{"field": "categories", "contains": "space"}], **amount}
    other = fused_of({i: s * scale + shift for i, s in falling(*range(8)).items()})
    first, second = show([step], LIST, CATALOG, k=8), show([step], other, CATALOG, k=8)
    assert items_of(first) == items_of(second) != list(range(8))


def test_a_boost_among_equal_scores_still_counts():
    level = fused_of(dict.fromkeys(range(4), 1.0))
    step = {"name": "boost", "where": [{"field": "price", "equals": 20}], "add": 1}
    assert items_of(show([step], level, CATALOG)) == [3, 0, 1]


def test_pins_move_and_insert():
    short = fused_of(falling(0, 1, 2, 3))
    pins = [{"item": "i3", "position": 1}, {"item": "i6", "position": 3}]
    shown = show([{"name": "pin", "items": pins}], short, CATALOG, k=4)
    assert items_of(shown) == [3, 0, 6, 1]
    assert shown.top.scores.tolist()[:2] == [1, 4]
    assert np.isnan(shown.top.scores[2])  # no model spoke of it
    assert shown.top.contributions.tolist()[2] == [0, 0]
    assert shown.top.ranks.tolist() == [1, 2, 3, 4]
    assert shown.notes == (("pin: place 1",), (), ("pin: place 3",), ())


def test_what_is_seen_or_filtered_is_not_pinned():
    pins = [{"item": "i6", "position": 1}, {"item": "i7", "position": 2}]
    steps = [{"name": "filter", "deny": ["i7"]}, {"name": "pin", "items": pins}]
    two = fused_of(falling(0, 1, 2), falling(0, 1, 2))
    asked = queries_of([6], [5])
    shown = show(steps, two, CATALOG, queries=asked)
    assert [items_of(shown, q) for q in (0, 1)] == [[0, 1, 2], [6, 0, 1]]
    assert shown.removed == {
        "pin: pinned, but already seen": [6],
        "pin: pinned, but filtered": [7, 7],
    }
    again = show(steps, two, CATALOG, queries=queries_of([6], [5], exclude_seen=False))
    assert items_of(again, 0) == [6, 0, 1]


def test_pins_in_an_empty_list_and_beyond_k():
    pins = [{"item": "i5", "position": 2}, {"item": "i6", "position": 9}]
    assert items_of(show([{"name": "pin", "items": pins}], fused_of({}), CATALOG)) == [5]


@pytest.mark.parametrize(
    "step",
    [
        {"name": "quota", "field": "x"},
        {"name": "quota", "field": "x", "at_least": 1},
        {"name": "quota", "field": "x", "at_least": 3, "at_most": 2, "values": ["y"]},
        {"name": "boost", "where": [{"field": "x", "min": 1}]},
        {"name": "boost", "where": [{"field": "x", "min": 1}], "add": 1, "multiply": 2},
        {"name": "boost", "where": [], "add": 1},
        {"name": "pin", "items": [{"item": "a", "position": 1}, {"item": "b", "position": 1}]},
        {"name": "pin", "items": [{"item": "a", "position": 1}, {"item": "a", "position": 2}]},
        {"name": "pin", "items": [{"item": "a", "position": 0}]},
        {"name": "filter", "dany": ["a"]},
        {"name": "no_such_step"},
    ],
)
def test_settings_that_make_no_sense(step):
    with pytest.raises((ValidationError, ConfigError)):
        After([step])
