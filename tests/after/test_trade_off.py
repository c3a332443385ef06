import numpy as np
import pytest
from after_lists import catalog_of, falling, fused_of, queries_of

from fusion.after.trade_off import trade_off
from fusion.errors import ConfigError, DataError

CATALOG = catalog_of(8, categories=[["war"], ["war"], ["war"], ["space"], ["music"], [], [], None])
FUSED = fused_of(falling(0, 1, 2, 3, 4), falling(1, 0, 2, 4))
TARGETS = np.array([1, 1], np.int32)


def curve(**options):
    settings = [{"name": "mmr", "trade_off": x} for x in (1.0, 0.5)]
    return trade_off(
        FUSED, TARGETS, settings, queries=queries_of([5], [6]), catalog=CATALOG, k=2, **options
    )


def test_the_curve_by_hand():
    plain, same, diverse = curve()
    assert (plain.label, same.label) == ("as fused", "mmr trade_off=1.0")
    # lists 0 1 and 1 0: the target at ranks 2 and 1; two items of one category; 2 of 8 items
    assert plain.ndcg == pytest.approx((1 / np.log2(3) + 1) / 2)
    assert plain.diversity == pytest.approx(0)
    assert plain.coverage == 2 / 8
    assert (same.ndcg, same.diversity, same.coverage) == (
        plain.ndcg,
        plain.diversity,
        plain.coverage,
    )
    # min-max of the first list 1 .75 .5 .25 0: i3 (.25 - 0) beats i1 (.75 - 1); of the second
    # 1 .667 .333 0: i4 (0 - 0) beats i0 (.667 - 1)
    assert diverse.ndcg == pytest.approx((0 + 1) / 2)
    assert diverse.diversity == pytest.approx(1)
    assert diverse.coverage == 4 / 8
    assert diverse.to_json()["steps"] == ({"name": "mmr", "trade_off": 0.5},)


def test_several_steps_make_one_setting():
    points = trade_off(
        FUSED,
        TARGETS,
        [[{"name": "filter", "deny": ["i1"]}, {"name": "mmr"}]],
        queries=queries_of([5], [6]),
        catalog=CATALOG,
        k=1,
    )
    assert points[1].label == 'filter deny=["i1"], mmr'
    assert points[1].ndcg == 0
    assert np.isnan(points[1].diversity)
    assert points[1].to_json()["diversity"] is None


def test_short_lists_are_not_padded_with_an_item():
    fused = fused_of(falling(0), falling(0, 3))
    asked = queries_of([5], [6])
    (plain,) = trade_off(fused, TARGETS, [], queries=asked, catalog=CATALOG, k=3)
    assert plain.diversity == pytest.approx(1)  # of the second list only; the first has no pair
    assert plain.coverage == 2 / 8


def test_what_cannot_be_measured():
    with pytest.raises(ConfigError, match=r"trade_off.*'genre'"):
        curve(field="genre")
    with pytest.raises(DataError, match="one target a query"):
        trade_off(FUSED, TARGETS[:1], [], queries=queries_of([], []), catalog=CATALOG)
