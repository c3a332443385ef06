from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pools import EVERYTHING, PAST, candidates_of, pool_of, random_candidates, window_of
from pydantic import ValidationError

from fusion.candidates import Missing
from fusion.errors import ConfigError, LeakageError
from fusion.protocols import FitContext, Fused
from fusion.strategies.parallel import Parallel
from fusion.strategies.serial import Serial, _cascade

WSUM = "weighted_sum"


def order(fused: Fused, query: int = 0) -> list[int]:
    one = fused.candidates.offsets[query : query + 2]
    inside = slice(int(one[0]), int(one[1]))
    items, scores = fused.candidates.items[inside], fused.scores[inside]
    return items[np.lexsort((items, -scores))].tolist()


# a orders 1 2 3 4 5, b orders 5 4 3 2 1, c orders 2 1 ...
LISTS = candidates_of(
    [{i: (6 - i, i, {1: 4, 2: 9}.get(i, 0)) for i in range(1, 6)}, {}, {7: (1, 1, 1)}]
)
CASCADE = {
    "stages": [
        {"models": ["a"], "keep": 4},
        {"models": ["b"], "keep": 3},
        {"models": ["a", "c"], "method": WSUM},
    ]
}


def test_each_stage_orders_what_it_cut_below_what_went_on() -> None:
    # a keeps 1 2 3 4; b keeps 4 3 2; a + c order those: 2 (1 + 1), 3 (1/2 + 0), 4 (0 + 0)
    assert order(Serial(CASCADE).fuse(pool_of(LISTS))) == [2, 3, 4, 1, 5]
    two = {"stages": [{"models": ["a"], "keep": 2}, {"models": ["b"]}]}
    assert order(Serial(two).fuse(pool_of(LISTS))) == [2, 1, 3, 4, 5]


def test_a_model_is_asked_once_and_only_for_the_survivors() -> None:
    pool = pool_of(LISTS)
    fused = Serial(CASCADE).fuse(pool)
    assert pool.asked == [(("a",), 6), (("b",), 5), (("c",), 4)]
    cut = fused.candidates.items[:5] == 5
    assert fused.candidates.models == ("a", "b", "c")
    assert fused.candidates.why[:5][cut].tolist() == [[0, Missing.FILTERED, Missing.FILTERED]]
    fused.candidates.checked()


def test_the_cascade_is_an_explicit_part() -> None:
    fused = Serial(CASCADE).fuse(pool_of(LISTS))
    assert fused.parts == ("a", "b", "c", "cascade")
    np.testing.assert_allclose(fused.contributions.sum(axis=1), fused.scores, rtol=1e-12)
    by_item = dict(zip(fused.candidates.items.tolist(), fused.contributions, strict=True))
    np.testing.assert_array_equal(by_item[2], [1, 0, 1, 0])
    np.testing.assert_array_equal(by_item[7], [1, 0, 1, 0])
    # item 1 was cut by b, whose fourth it was: 1 below the worst of the rest, item 4 with 0
    np.testing.assert_allclose(by_item[1], [0, 1 / 64, 0, -1 - 1 / 64], rtol=1e-8)
    np.testing.assert_allclose(by_item[5], [1 / 65, 0, 0, -2 - 1 / 65], rtol=1e-8)


def test_one_stage_is_parallel() -> None:
    pool = pool_of(random_candidates(np.random.default_rng(1)))
    one = Serial({"stages": [{"models": ["a", "b", "c"], "method": WSUM}]}).fuse(pool)
    parallel = Parallel({"method": WSUM}).fuse(pool)
    np.testing.assert_array_equal(one.scores, parallel.scores)


def test_keep_in_the_last_stage_moves_nothing() -> None:
    pool = pool_of(random_candidates(np.random.default_rng(1)))
    stages = [{"models": ["a"], "keep": 9}, {"models": ["b", "c"]}]
    free = Serial({"stages": stages}).fuse(pool)
    kept = Serial({"stages": [stages[0], {**stages[1], "keep": 3}]}).fuse(pool)
    for query in range(pool.union.n_queries):
        assert order(free, query) == order(kept, query)


def test_batch_equals_single() -> None:
    pool = pool_of(random_candidates(np.random.default_rng(2), longest=15, levels=4))
    strategy = Serial(CASCADE)
    batch = strategy.fuse(pool)
    alone = [strategy.fuse(pool.take(np.array([q]))) for q in range(pool.union.n_queries)]
    np.testing.assert_array_equal(batch.scores, np.concatenate([one.scores for one in alone]))
    np.testing.assert_array_equal(
        batch.contributions, np.concatenate([one.contributions for one in alone])
    )


GONE, COLD = Missing.NOT_RETRIEVED, Missing.COLD


def test_a_stage_may_hold_another_fusion_and_what_it_is_is_what_it_says() -> None:
    pool = pool_of(random_candidates(np.random.default_rng(3), missing=0))
    plain = [{"models": ["a"], "keep": 9}, {"models": ["b", "c"], "method": WSUM}]
    held = [
        {"fusion": {"models": ["a"]}, "keep": 9},
        {"fusion": {"models": ["b", "c"], "method": WSUM}},
    ]
    one, other = Serial({"stages": plain}).fuse(pool), Serial({"stages": held}).fuse(pool)
    np.testing.assert_array_equal(one.scores, other.scores)
    np.testing.assert_array_equal(one.contributions, other.contributions)
    assert one.parts == other.parts


def test_cascades_in_series_are_one_cascade() -> None:
    pool = pool_of(random_candidates(np.random.default_rng(4), longest=25, levels=5))
    a, b, c = {"models": ["a"], "keep": 12}, {"models": ["b"], "keep": 5}, {"models": ["c"]}
    flat = Serial({"stages": [a, b, c]}).fuse(pool)
    left = [{"fusion": {"mode": "serial", "stages": [a, {"models": ["b"]}]}, "keep": 5}, c]
    right = [a, {"fusion": {"mode": "serial", "stages": [b, c]}}]
    for nested in (left, right):
        fused = Serial({"stages": nested}).fuse(pool)
        assert [order(fused, q) for q in range(20)] == [order(flat, q) for q in range(20)]
        np.testing.assert_allclose(fused.contributions.sum(axis=1), fused.scores, rtol=1e-9)


def test_a_cutoff_of_the_fusion_is_the_stage_s_and_drops_the_rest() -> None:
    stages = [{"fusion": {"models": ["a"], "keep": 3}}, {"models": ["b"]}]
    # a keeps 1 2 3, and b turns them round; 4 and 5 are gone, not behind
    assert order(Serial({"stages": stages}).fuse(pool_of(LISTS))) == [3, 2, 1]
    with pytest.raises(ValidationError, match="at most the 3"):
        Serial({"stages": [stages[0], {"models": ["b"], "keep": 4}]})


def test_scores_that_hardly_differ_keep_their_order_behind_the_cut() -> None:
    """0.1 + 0.2 is above 0.3 by 6e-17, which adding the offset of a cut alone would round away."""
    scores = np.array([0.3, 0.1 + 0.2, 9.0, 0.3, 0.1 + 0.2, 1e6])
    level, seen = np.array([1, 1, 2, 1, 1, 1]), np.ones(6, bool)
    offsets = np.array([0, 3, 6])
    whole = scores + _cascade(scores, level, seen, offsets)
    assert whole[2] == 9
    assert whole[2] - 1 >= whole[1] > whole[0]
    np.testing.assert_array_equal(whole[3:], scores[3:])  # nothing of query 1 was cut
    level[5] = 2
    whole = scores + _cascade(scores, level, seen, offsets)
    assert whole[5] - 1 >= whole[4] > whole[3]
    np.testing.assert_allclose(whole[3:5], 1e6 - 1, rtol=1e-8)


def test_who_has_no_word_from_a_fusion_stands_behind_those_it_cut() -> None:
    lists = candidates_of([{1: (9, COLD), 2: (8, 1), 3: (7, 3), 4: (6, 2)}])
    stages = [
        {"models": ["a"], "keep": 4},
        {"fusion": {"mode": "single", "model": "b"}, "keep": 1},
        {"models": ["a"]},
    ]
    assert order(Serial({"stages": stages}).fuse(pool_of(lists))) == [3, 4, 2, 1]


def test_missing_policies_hold_in_every_stage() -> None:
    lists = candidates_of([{1: (9, 5), 2: (8, COLD), 3: (GONE, 7)}])
    a_only = {"name": "rrf", "missing": {"not_retrieved": "exclude"}}
    first = Serial({"stages": [{"models": ["a"], "method": a_only}]}).fuse(pool_of(lists))
    assert order(first) == [1, 2]
    cold = {"name": "rrf", "missing": {"cold": "exclude"}}
    stages = [{"models": ["a"], "keep": 3}, {"models": ["b"], "method": cold}]
    fused = Serial({"stages": stages}).fuse(pool_of(lists))
    assert order(fused) == [3, 1]
    np.testing.assert_allclose(fused.contributions.sum(axis=1), fused.scores, rtol=1e-9)


def test_a_later_stage_completes_what_an_earlier_one_took_as_listed() -> None:
    pool = pool_of(LISTS)
    as_listed = {"name": "rrf", "missing": {"not_retrieved": "nan"}}
    stages = [{"models": ["a"], "method": as_listed, "keep": 4}, {"models": ["a", "b"]}]
    Serial({"stages": stages}).fuse(pool)
    assert [asked for asked in pool.asked if asked[0]] == [(("a", "b"), 5)]


def test_a_method_that_learns_learns_from_what_reaches_its_stage(tmp_path: Path) -> None:
    prior = {"name": "comb_sum", "missing": {"filtered": "prior", "cold": "prior"}}
    fusion = {"stages": [{"models": ["strong"], "keep": 10}, {"models": ["weak"], "method": prior}]}
    window = window_of(40)
    serial = Serial(fusion)
    assert serial.learns
    assert not Serial({"stages": [{"models": ["weak"]}]}).learns
    serial.fit([window], FitContext())
    fused = serial.fuse(window.pool)
    (tmp_path / "s").mkdir()
    serial.save(tmp_path / "s")
    again = Serial(fusion)
    again.load(tmp_path / "s")
    np.testing.assert_array_equal(again.fuse(window.pool).scores, fused.scores)


@pytest.mark.parametrize("seer", ["strong", "weak"])
def test_a_leak_in_any_stage_is_refused(seer: str) -> None:
    """Whoever saw the label keeps it, so a stage that learns nothing leaks too."""
    prior = {"name": "comb_sum", "missing": {"cold": "prior"}}
    fusion = {"stages": [{"models": ["strong"], "keep": 10}, {"models": ["weak"], "method": prior}]}
    provenance = {"strong": PAST, "weak": PAST, seer: EVERYTHING}
    with pytest.raises(LeakageError, match=f"model '{seer}'"):
        Serial(fusion).fit([replace(window_of(40), provenance=provenance)], FitContext())


def test_a_stage_shows_the_keys_of_its_own_form_only() -> None:
    stages = [{"models": ["a"], "keep": 3}, {"fusion": {"mode": "parallel"}}]
    shown = Serial({"stages": stages}).config.model_dump(mode="json")["stages"]
    assert [sorted(stage) for stage in shown] == [
        ["keep", "method", "models", "weights"],
        ["fusion", "keep"],
    ]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "at least 1"),
        ([{"models": ["a"]}, {"models": ["b"]}], "stage 1: expected how many"),
        ([{"models": ["a"], "keep": 2}, {"models": ["b"], "keep": 3}], "stage 2: .* at most the 2"),
        ([{"models": []}], "at least one model"),
        ([{"models": ["a"], "weights": {"b": 1}}], "got 'b'"),
        ([{"models": ["a"], "keep": 0}], "greater than or equal to 1"),
    ],
)
def test_bad_configs(stages: list[object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Serial({"stages": stages})


def test_unknown_model() -> None:
    with pytest.raises(ConfigError, match="did you mean 'c'"):
        Serial({"stages": [{"models": ["cc"]}]}).uses(("b", "c"))
