from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import DataError
from fusion.evaluation.significance import holm, paired_difference
from fusion.tournament.family import against_all, step_down

Values = npt.NDArray[np.float64]


def by_enumeration(differences: Values) -> list[float]:
    """Westfall and Young's algorithm 4.1, word for word, over every pattern of signs."""
    norm = np.sqrt((differences**2).sum(axis=1))
    t = differences.sum(axis=1) / norm
    order = np.argsort(-t)
    counts = np.zeros(len(t))
    patterns = list(product([-1.0, 1.0], repeat=differences.shape[1]))
    for signs in patterns:
        drawn = (differences * signs).sum(axis=1) / norm
        for place, e in enumerate(order):
            counts[place] += max(drawn[order[place:]]) >= t[e] - 1e-9
    p = np.maximum.accumulate(counts / len(patterns))
    out = np.empty(len(t))
    out[order] = p
    return out.tolist()


def test_the_draws_come_near_the_enumeration() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(0.4, 1, (4, 9))
    found = step_down(differences, permutations=40_000)
    np.testing.assert_allclose(found, by_enumeration(differences), atol=0.01)


def test_one_comparison_is_the_paired_randomisation_test() -> None:
    rng = np.random.default_rng(3)
    a, b, users = rng.random(80) + 0.06, rng.random(80), np.arange(80)
    two_sided = paired_difference(a, b, users, permutations=40_000).p
    found = against_all(a[None], b[None], users, permutations=40_000)[0]
    assert found == pytest.approx(two_sided / 2, abs=0.01)


def test_equal_fusions_cost_nothing_where_holm_pays_for_each() -> None:
    rng = np.random.default_rng(4)
    own = rng.normal(0.35, 1, 60)
    alone = step_down(own[None], permutations=9_999)[0]
    many = step_down(np.tile(own, (50, 1)), permutations=9_999)
    assert many.max() == pytest.approx(alone, abs=0.003)
    assert min(holm([alone] * 50)) == pytest.approx(min(50 * alone, 1), abs=0.01)


def test_nothing_differs() -> None:
    assert step_down(np.zeros((3, 20)), permutations=99).tolist() == [1, 1, 1]


def test_a_fusion_must_beat_every_model() -> None:
    rng = np.random.default_rng(5)
    users = np.arange(200)
    weak, strong = rng.random(200), rng.random(200) + 0.5
    fusion = np.stack([weak + 0.3 + 0.1 * rng.random(200), strong + 0.1 * rng.random(200)])
    over_weak = against_all(fusion, weak[None], users, permutations=999)
    over_both = against_all(fusion, np.stack([weak, strong]), users, permutations=999)
    assert over_weak.max() < 0.01
    assert over_both[0] > 0.9  # better than the weak one only
    assert over_both[1] < 0.01


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=15)
def test_the_order_of_fusions_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    differences = rng.normal(0.2, 1, (5, 12))
    order = rng.permutation(5)
    found = step_down(differences, permutations=199)
    np.testing.assert_allclose(step_down(differences[order], permutations=199), found[order])


def ndcg_like(rng: np.random.Generator, shape: tuple[int, ...], hits: float) -> Values:
    """Most queries are misses, the others have the gain of a rank from 1 to 10."""
    return (rng.random(shape) < hits) / np.log2(1 + rng.integers(1, 11, shape))


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_the_chance_of_any_false_claim_is_at_most_alpha(share: float) -> None:
    """30 fusions, none better than the best of two models, in 200 worlds.

    A fusion's list is the best model's in most queries, and as good and not better in the others.
    """
    alpha, worlds, claims, without = 0.1, 200, 0, 0
    rng, users = np.random.default_rng(6), np.arange(200)
    for _ in range(worlds):
        best = ndcg_like(rng, (200,), 0.15)
        other = ndcg_like(rng, (30, 200), 0.15)
        fusions = np.where(rng.random((30, 200)) < share, other, best)
        singles = np.stack([best, 0.9 * best])
        p = against_all(fusions, singles, users, permutations=199, rng=rng)
        claims += bool((p < alpha).any())
        few = (against_all(one[None], singles, users, permutations=199, rng=rng) for one in fusions)
        without += any(p[0] < alpha for p in few)
    assert claims / worlds < alpha + 2 * np.sqrt(alpha * (1 - alpha) / worlds)
    assert without / worlds > 3 * alpha  # the worlds are full of luck that must be paid for


def test_a_true_gain_is_found() -> None:
    rng = np.random.default_rng(7)
    single = rng.random(300)
    fusions = single + rng.normal(0, 0.3, (100, 300))
    fusions[40] += 0.12
    p = against_all(fusions, single[None], np.arange(300), permutations=999)
    assert p.argmin() == 40
    assert p[40] < 0.01
    assert np.delete(p, 40).min() > 0.01


def test_bad_input() -> None:
    with pytest.raises(DataError, match="finite"):
        step_down(np.array([[np.nan, 1.0]]))
    with pytest.raises(DataError, match="at least one user"):
        step_down(np.empty((2, 0)))
    with pytest.raises(DataError, match="at least one single model"):
        against_all(np.ones((1, 3)), np.empty((0, 3)), np.arange(3))
    assert len(against_all(np.empty((0, 3)), np.ones((1, 3)), np.arange(3))) == 0
