"""Exploration: logged propensities against counted frequencies, and the reproducible chance."""

from collections import Counter

import numpy as np
import pytest
from after_lists import catalog_of, falling, fused_of, items_of, queries_of, random_lists, show

from fusion.after.epsilon import Epsilon
from fusion.after.scale import z_score
from fusion.after.thompson import Thompson, chance_of_best

CATALOG = catalog_of(10)
KINDS = [
    Epsilon({"epsilon": 0.4}),
    Thompson({"noise": "gumbel", "scale": 1.5}),
    Thompson({"noise": "gaussian", "scale": 1.5}),
]


def test_epsilon_propensities_by_hand():
    scores = np.array([3.0, 2.0, 1.0])
    rng = np.random.default_rng(0)
    for _ in range(50):
        places, chances = Epsilon({"epsilon": 0.3}).draw(scores, 2, rng)
        first = 0.7 + 0.3 / 3 if places[0] == 0 else 0.3 / 3
        best_left = min({0, 1, 2} - {int(places[0])})
        second = 0.7 + 0.3 / 2 if places[1] == best_left else 0.3 / 2
        assert chances.tolist() == pytest.approx([first, second])


def test_gumbel_propensities_are_plackett_luce():
    scores = np.array([3.0, 2.0, 2.0, -1.0])
    worth = np.exp(z_score(scores) / 0.5)
    places, chances = Thompson({"scale": 0.5}).draw(scores, 4, np.random.default_rng(1))
    left = worth.sum()
    for place, chance in zip(places, chances, strict=True):
        assert chance == pytest.approx(worth[place] / left)
        left -= worth[place]
    assert chances[-1] == pytest.approx(1)


def test_chance_of_best():
    assert chance_of_best(np.array([0.3]), 0) == pytest.approx(1)
    # two normals: Phi(difference / sqrt 2)
    from scipy.special import ndtr

    assert chance_of_best(np.array([1.0, 0.0]), 0) == pytest.approx(ndtr(1 / np.sqrt(2)), abs=1e-9)
    means = np.random.default_rng(2).normal(size=60) * 3
    assert sum(chance_of_best(means, i) for i in range(60)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("step", KINDS, ids=lambda s: f"{s.name}-{getattr(s.config, 'noise', '')}")
def test_what_is_logged_is_how_often_it_happens(step):
    scores = np.array([2.0, 1.5, 1.0, 0.0])
    rng, n = np.random.default_rng(7), 8000
    seen: Counter = Counter()
    logged: dict = {}
    for _ in range(n):
        places, chances = step.draw(scores, 2, rng)
        key = tuple(places.tolist())
        seen[key] += 1
        logged[key] = float(np.prod(chances))
    assert len(logged) == 12  # every ordered pair of four
    assert sum(logged.values()) == pytest.approx(1, abs=1e-9)
    for key, chance in logged.items():
        assert seen[key] / n == pytest.approx(chance, abs=4 * np.sqrt(chance * (1 - chance) / n))


@pytest.mark.parametrize("name", ["epsilon", "thompson"])
def test_batch_equals_single_and_requests_differ(name):
    fused, queries, catalog = random_lists(np.random.default_rng(3), n_queries=6)
    steps = [{"name": name, **({"epsilon": 0.8} if name == "epsilon" else {"scale": 2.0})}]
    shown = show(steps, fused, catalog, k=6, queries=queries, seed=5)
    for q in range(6):
        one = np.array([q])
        rows = slice(fused.candidates.offsets[q], fused.candidates.offsets[q + 1])
        alone = type(fused).of(
            fused.candidates.take(one), fused.scores[rows], fused.parts, fused.contributions[rows]
        )
        single = show(steps, alone, catalog, k=6, queries=queries.take(one), seed=5)
        assert items_of(single) == items_of(shown, q)
        own = slice(shown.top.offsets[q], shown.top.offsets[q + 1])
        np.testing.assert_array_equal(single.propensities, shown.propensities[own])
    other = show(steps, fused, catalog, k=6, queries=queries, seed=6)
    assert other.top.items.tolist() != shown.top.items.tolist()


def test_first_places_may_be_kept():
    fused = fused_of(falling(*range(10)))
    for seed in range(20):
        step = {"name": "epsilon", "epsilon": 1.0, "keep": 2}
        shown = show([step], fused, CATALOG, k=4, seed=seed)
        assert items_of(shown)[:2] == [0, 1]
        assert shown.propensities.tolist() == pytest.approx([1, 1, 1 / 8, 1 / 7])


def test_nothing_is_left_to_chance_at_the_ends():
    fused = fused_of(falling(*range(10)))
    for step in ({"name": "epsilon", "epsilon": 0}, {"name": "thompson", "scale": 1e-6}):
        shown = show([step], fused, CATALOG)
        assert items_of(shown) == [0, 1, 2]
        assert shown.propensities.tolist() == [1, 1, 1]
    assert show(["epsilon"], fused_of({}, {4: 1.0}), CATALOG).propensities.tolist() == [1]


def test_a_pin_after_exploration_is_certain():
    pin = {"name": "pin", "items": [{"item": "i9", "position": 2}]}
    step = {"name": "epsilon", "epsilon": 1.0, "pool": 10}
    shown = show([step, pin], fused_of(falling(*range(10))), CATALOG, seed=2)
    assert items_of(shown)[1] == 9
    assert shown.propensities[1] == 1
    assert (shown.propensities[[0, 2]] < 1).all()


def test_the_pool_bounds_what_is_drawn():
    fused = fused_of(falling(*range(10)))
    step = {"name": "epsilon", "epsilon": 1.0, "pool": 4}
    drawn = {i for seed in range(30) for i in items_of(show([step], fused, CATALOG, seed=seed))}
    assert drawn == {0, 1, 2, 3}


def test_equal_queries_of_one_request_draw_alike():
    twice = fused_of(falling(*range(10)), falling(*range(10)), falling(*range(10)))
    asked = queries_of([3], [3], [4], exclude_seen=False)
    shown = show([{"name": "thompson", "scale": 5}], twice, CATALOG, k=8, queries=asked)
    assert items_of(shown, 0) == items_of(shown, 1) != items_of(shown, 2)
