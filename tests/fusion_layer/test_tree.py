"""Fusions over fusions."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pools import EVERYTHING, PAST, pool_of, random_candidates, window_of

from fusion.config_components import filled_component, make, with_mode
from fusion.errors import ConfigError, LeakageError
from fusion.protocols import FitContext, Fused, Strategy
from fusion.strategies.tree import Tree

LINEAR = {"mode": "learned", "stacker": "linear", "min_queries": 5}
CHEAP = {"models": ["a", "b"], "method": "weighted_sum"}


def built(fusion: dict[str, Any]) -> Strategy:
    strategy = make("fusion", "whole", filled_component("fusion", with_mode(fusion)))
    assert isinstance(strategy, Strategy)
    return strategy


def order(fused: Fused) -> list[list[int]]:
    offsets, items = fused.candidates.offsets, fused.candidates.items
    at = np.lexsort((items, -fused.scores, fused.candidates.rows))
    return [items[at[s:e]].tolist() for s, e in pairwise(offsets)]


def pool() -> Any:
    return pool_of(random_candidates(np.random.default_rng(5), longest=20, missing=0))


def test_a_fusion_without_the_keys_is_no_tree() -> None:
    assert not isinstance(built(CHEAP), Tree)
    assert not isinstance(built({**CHEAP, "fusions": {}, "keep": None}), Tree)


def test_one_fusion_below_another_keeps_its_order() -> None:
    tree = built({"models": ["cheap"], "fusions": {"cheap": CHEAP}})
    assert order(tree.fuse(pool())) == order(built(CHEAP).fuse(pool()))


def test_parallel_of_parallel_is_arithmetic_on_its_columns() -> None:
    tree = built(
        {
            "models": ["cheap", "c"],
            "method": {"name": "weighted_sum", "normalization": "rank"},
            "weights": {"cheap": 3},
            "fusions": {"cheap": CHEAP},
        }
    )
    p = pool()
    fused = tree.fuse(p)
    assert fused.parts == ("cheap", "c")
    below = built(CHEAP).fuse(p)
    for query, items in enumerate(order(below)):
        n = len(items)
        rows = np.flatnonzero(fused.candidates.rows == query)
        mine = dict(zip(fused.candidates.items[rows].tolist(), rows, strict=True))
        for place, item in enumerate(items):
            given = fused.contributions[mine[item], 0]
            assert given == pytest.approx(3 * (1 - place / n))
    np.testing.assert_allclose(fused.contributions.sum(axis=1), fused.scores, rtol=1e-12)


def test_models_that_nobody_names_are_the_sub_fusions() -> None:
    tree = built({"fusions": {"x": {"models": ["a"]}, "y": {"models": ["c"]}}})
    assert tree.fuse(pool()).parts == ("x", "y")
    assert tree.uses(("a", "b", "c")) == ("a", "c")


def test_keep_cuts_the_list_and_a_second_cut_the_shorter_one() -> None:
    whole, cut = built(CHEAP).fuse(pool()), built({**CHEAP, "keep": 4}).fuse(pool())
    assert order(cut) == [items[:4] for items in order(whole)]
    np.testing.assert_allclose(cut.contributions.sum(axis=1), cut.scores, rtol=1e-12)
    twice = built({"models": ["x"], "fusions": {"x": {**CHEAP, "keep": 4}}, "keep": 7})
    assert order(twice.fuse(pool())) == order(cut)


def test_a_union_holds_what_its_parts_kept_and_nothing_else() -> None:
    parts = {name: {"mode": "single", "model": name[0], "keep": 4} for name in ("a4", "b4")}
    both = order(built({"fusions": parts}).fuse(pool()))
    a, b = (order(built(part).fuse(pool())) for part in parts.values())
    assert [set(items) for items in both] == [
        {*one, *other} for one, other in zip(a, b, strict=True)
    ]
    fused = built({"fusions": parts, "models": ["a4", "b4", "c"]}).fuse(pool())
    assert order(fused) != both  # c has a word for all of them
    assert len(fused.scores) == len(pool().union)


def test_any_depth_of_any_mode() -> None:
    deep = {
        "mode": "serial",
        "fusions": {"cheap": {**CHEAP, "fusions": {}, "keep": 15}},
        "stages": [
            {"models": ["cheap"], "keep": 9},
            {
                "fusion": {
                    "models": ["two", "a"],
                    "fusions": {
                        "two": {"mode": "serial", "stages": [{"models": ["c"]}]},
                    },
                },
                "keep": 5,
            },
            {"fusion": {"mode": "single", "model": "b"}},
        ],
    }
    strategy = built(deep)
    fused = strategy.fuse(pool())
    assert strategy.uses(("a", "b", "c")) == ("a", "b", "c")
    np.testing.assert_allclose(fused.contributions.sum(axis=1), fused.scores, atol=1e-9)
    batch = [strategy.fuse(pool().take(np.array([q]))) for q in range(20)]
    np.testing.assert_array_equal(fused.scores, np.concatenate([one.scores for one in batch]))


@pytest.mark.parametrize(
    ("fusion", "message"),
    [
        ({"fusions": {"a": {"models": ["b"]}}}, "named unlike the models, got 'a' as both"),
        ({"models": ["a"], "fusions": {"x": CHEAP}}, "'x' unused"),
        ({"models": ["y", "x"], "fusions": {"x": CHEAP}}, "got 'y'"),
        ({"models": ["x"], "fusions": {"x": {"models": ["d"]}}}, "one of the models a, b, c"),
    ],
)
def test_names_that_do_not_fit(fusion: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        built(fusion).uses(("a", "b", "c"))


# learning ----------------------------------------------------------------------------------------

NOISY = {"strong": 0.5, "weak": 1.5, "third": 1.0}


def test_a_stacker_on_top_of_a_stacker_learns_and_is_kept(tmp_path: Path) -> None:
    fusion = {**LINEAR, "models": ["inner", "third"], "fusions": {"inner": {**LINEAR}}}
    window, test = window_of(100, noise=NOISY), window_of(100, seed=9, noise=NOISY)
    strategy = built(fusion)
    assert strategy.learns
    strategy.fit([window], FitContext(seed=1))
    fused = strategy.fuse(test.pool)
    assert fused.parts[:2] == ("inner", "third")
    strategy.save(tmp_path)
    other = built(fusion)
    other.load(tmp_path)
    np.testing.assert_array_equal(other.fuse(test.pool).scores, fused.scores)


class Memory(Strategy):
    """Learns the targets by heart: perfect where it was taught, ignorant elsewhere."""

    learns = True

    def __init__(self, config: object = None, *, name: str | None = None) -> None:
        super().__init__(config, name=name)  # type: ignore[arg-type]
        self.known: dict[int, int] = {}

    def uses(self, models: tuple[str, ...]) -> tuple[str, ...]:
        return models

    def fit(self, windows: Any, context: FitContext) -> None:
        for window in windows:
            pairs = zip(window.pool.queries.users, window.targets, strict=True)
            self.known.update({int(user): int(item) for user, item in pairs})

    def fuse(self, pool: Any) -> Fused:
        union = pool.candidates()
        users = pool.queries.users[union.rows]
        hits = [self.known.get(int(u)) == i for u, i in zip(users, union.items, strict=True)]
        scores = np.array(hits, np.float64)
        return Fused.of(union, scores, ("memory",), scores[:, None])


def test_the_stacker_on_top_does_not_mistake_memory_for_skill() -> None:
    """In sample the child is perfect; a stacker that saw that would follow it into the dark."""
    memory = f"{Memory.__module__}:Memory"
    fusion = {**LINEAR, "models": ["memory", "strong"], "fusions": {"memory": {"mode": memory}}}
    strategy = built(fusion)
    window = window_of(150, noise={"strong": 0.5})
    strategy.fit([window], FitContext(seed=1))
    test = window_of(150, seed=4, noise={"strong": 0.5})
    fused = strategy.fuse(test.pool)
    alone = test.pool.candidates().scores[:, 0]
    hits = test.labels(fused.candidates) > 0
    assert fused.scores[hits].mean() > fused.scores[~hits].mean()
    assert np.corrcoef(fused.scores, alone)[0, 1] > 0.8
    given = np.abs(fused.contributions).mean(axis=0)  # memory and strong first
    assert fused.parts[:2] == ("memory", "strong")
    taught = strategy.fuse(window.pool)
    assert np.abs(taught.contributions[:, 0]).max() < np.abs(taught.contributions[:, 1]).max()
    assert given[0] < 0.2 * given[1]


def test_a_leak_below_is_a_leak_on_top() -> None:
    window = replace(
        window_of(noise=NOISY), provenance={"strong": PAST, "weak": EVERYTHING, "third": PAST}
    )
    below = {"models": ["strong", "weak"]}
    strategy = built({**LINEAR, "models": ["sub", "third"], "fusions": {"sub": below}})
    with pytest.raises(LeakageError, match="model 'sub'"):
        strategy.fit([window], FitContext())


def test_stages_that_learn_learn_from_what_goes_on() -> None:
    fusion = {
        "mode": "serial",
        "stages": [
            {"fusion": {**LINEAR, "models": ["strong", "weak"]}, "keep": 12},
            {"fusion": {**LINEAR, "models": ["strong", "third"]}},
        ],
    }
    strategy = built(fusion)
    strategy.fit([window_of(120, noise=NOISY)], FitContext(seed=2))
    test = window_of(120, seed=8, noise=NOISY)
    fused = strategy.fuse(test.pool)
    np.testing.assert_allclose(fused.contributions.sum(axis=1), fused.scores, atol=1e-8)
    first = order(fused)
    hits = np.mean([test.targets[q] in items[:5] for q, items in enumerate(first)])
    alone = order(built({"mode": "single", "model": "weak"}).fuse(test.pool))
    assert hits > np.mean([test.targets[q] in items[:5] for q, items in enumerate(alone)])
