from __future__ import annotations

import itertools

import numpy as np
import pytest
from fusion_layer.pools import window_of
from lessons import learned, lesson_of, pool_of_window, stacker_of, view_of, with_union

from fusion.stackers.greedy import Greedy, Selection

# two queries of three candidates; the target is the first row of each
COLUMNS = np.array(
    [
        # a, b: alone each errs in one query, their sum in none
        [2.0, 1.0],
        [0.0, 3.0],
        [1.0, -4.0],
        [1.0, 3.0],
        [2.0, 0.0],
        [-3.0, 0.0],
    ]
)
ITEMS = np.array([5, 1, 2, 5, 1, 2], np.int32)
LABELS = np.array([1, 0, 0, 1, 0, 0], np.float32)
SELECTION = Selection(COLUMNS, ITEMS, LABELS, np.array([0, 3, 6]), 10)
SECOND = 1 / np.log2(3)


def test_ndcg_of_counts() -> None:
    np.testing.assert_allclose(SELECTION.ndcg((1, 0)), [1, SECOND])
    np.testing.assert_allclose(SELECTION.ndcg((0, 1)), [SECOND, 1])
    # a + b: 3 against 3 (item 1 stands before item 5) and -3; then 4 against 2 and -3
    np.testing.assert_allclose(SELECTION.ndcg((1, 1)), [SECOND, 1])
    # 2 a + b: 5 against 3; 5 against 4
    np.testing.assert_allclose(SELECTION.ndcg((2, 1)), [1, 1])


def test_ndcg_is_cut_at_k() -> None:
    selection = Selection(COLUMNS, ITEMS, LABELS, np.array([0, 3, 6]), 1)
    np.testing.assert_array_equal(selection.ndcg((1, 0)), [1, 0])


def test_selection_with_replacement_finds_two_to_one() -> None:
    every = np.arange(2)
    # starts with a (first of the equal best), then a or b: 2a = a, a + b = no better, so a; then b
    found = SELECTION.run(every, np.ones(2), initial=1, steps=3)
    np.testing.assert_array_equal(found, [2, 1])


def test_the_best_prefix_is_kept_not_the_last() -> None:
    found = SELECTION.run(np.arange(2), np.ones(2), initial=1, steps=2)
    np.testing.assert_array_equal(found, [1, 0])  # nothing better in two steps
    np.testing.assert_array_equal(SELECTION.run(np.array([1]), np.ones(2), 1, 5), [0, 1])


def test_sorted_initialisation_starts_from_the_best() -> None:
    window = window_of(80, noise={"good": 0.3, "fair": 0.8, "noise": 9.0})
    stacker = stacker_of("greedy", initial=2, steps=2, bags=1)
    stacker.fit(lesson_of(window), np.random.default_rng(0))
    assert isinstance(stacker, Greedy)
    assert stacker.counts == {"fair": 1, "good": 1, "noise": 0}


def test_it_is_as_good_as_the_best_of_all_small_counts() -> None:
    """On three models every combination can be tried; greedy steps lose little."""
    window = window_of(60, noise={"a": 0.6, "b": 0.7, "c": 1.5})
    view = view_of(window)
    stacker = stacker_of("greedy", bags=1, steps=6)
    stacker.fit(lesson_of(window), np.random.default_rng(0))
    assert isinstance(stacker, Greedy)
    z = (view.candidates.scores - 0).astype(np.float64)
    z = z.reshape(60, 40, 3)
    z = ((z - z.mean(axis=1, keepdims=True)) / z.std(axis=1, keepdims=True)).reshape(-1, 3)
    selection = Selection(
        z, view.candidates.items, window.labels(view.candidates), view.candidates.offsets, 10
    )
    every = [c for c in itertools.product(range(5), repeat=3) if 0 < sum(c) <= 6]
    best = max(selection.ndcg(counts).mean() for counts in every)
    ours = selection.ndcg(tuple(stacker.counts[m] for m in "abc")).mean()
    assert ours > best - 0.01
    assert ours >= max(selection.ndcg(c).mean() for c in [(1, 0, 0), (0, 1, 0), (0, 0, 1)])


def test_the_score_is_the_mean_of_z_scores_by_counts() -> None:
    stacker = Greedy()
    stacker.restore({"counts": {"strong": 3, "weak": 1}})
    view = view_of(window_of(1))
    raw = view.candidates.scores.astype(np.float64)
    z = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    np.testing.assert_allclose(stacker.scores(view), z @ [0.75, 0.25], rtol=1e-5)
    given = stacker.contributions(view, np.array([7, 0]))
    np.testing.assert_allclose(given[:, :2], z[[7, 0]] * [0.75, 0.25], rtol=1e-5)
    assert stacker.importance() == {"weight": {"strong": 0.75, "weak": 0.25}}


def test_bags_differ_by_the_seed_and_models_may_be_left_out_of_a_bag() -> None:
    window = window_of(40, noise={"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0})
    runs = []
    for seed in (0, 0, 1):
        stacker = stacker_of("greedy", bags=5, bag_models=0.5, steps=4)
        stacker.fit(lesson_of(window), np.random.default_rng(seed))
        assert isinstance(stacker, Greedy)
        runs.append(dict(stacker.counts))
    assert runs[0] == runs[1] != runs[2]


def test_the_order_of_the_columns_does_not_matter() -> None:
    window = window_of(60, noise={"a": 0.8, "b": 0.9, "c": 1.5})
    turned = with_union(window, pool_of_window(window).union.only(("c", "a", "b")))
    one, other = learned("greedy", window), learned("greedy", turned)
    assert one.stacker.state() == other.stacker.state()
    np.testing.assert_array_equal(one.fuse(window.pool).scores, other.fuse(turned.pool).scores)


@pytest.mark.parametrize("bad", [{"steps": 0}, {"bags": 0}, {"bag_models": 0}, {"initial": 0}])
def test_bad_settings(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Greedy(bad)
