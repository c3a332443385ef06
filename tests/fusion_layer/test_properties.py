"""What every method and strategy that learns nothing promises, on random candidates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import pool_of, random_candidates

from fusion.candidates import Candidates
from fusion.protocols import Fused, Strategy
from fusion.strategies.parallel import Parallel
from fusion.strategies.serial import Serial

SILENT = {"timed_out": "nan", "filtered": "nan"}
METHODS: dict[str, Any] = {
    "rrf": "rrf",
    "rrf_7": {"name": "rrf", "k": 7},
    "comb_mnz": "comb_mnz",
    "comb_mnz_rank": {"name": "comb_mnz", "normalization": "rank"},
    "wsum": "weighted_sum",
    "wsum_z": {"name": "weighted_sum", "normalization": "z_score"},
    "wsum_rank": {"name": "weighted_sum", "normalization": "rank"},
    "wsum_omit": {"name": "weighted_sum", "missing": SILENT},
}
STRATEGIES: dict[str, Strategy] = {
    name: Parallel({"method": method}) for name, method in METHODS.items()
}
STRATEGIES["serial"] = Serial(
    {
        "stages": [
            {"models": ["a", "b"], "keep": 9},
            {"models": ["b", "c"], "method": "weighted_sum", "keep": 4},
            {"models": ["c", "a"], "method": "comb_mnz"},
        ]
    }
)
#: raising one model's score of an item never lowers the item
MONOTONE = ("rrf", "rrf_7", "wsum", "wsum_rank", "wsum_omit")

examples = settings(deadline=None, max_examples=20)
seeds = st.integers(0, 2**32 - 1)
all_strategies = pytest.mark.parametrize("name", STRATEGIES)


def lists(seed: int, levels: int | None = None) -> Candidates:
    rng = np.random.default_rng(seed)
    levels = int(rng.integers(0, 5)) if levels is None else levels
    return random_candidates(
        rng, n_queries=6, n_items=20, longest=15, levels=levels, missing=rng.choice([0, 0.3, 0.8])
    )


def by_key(fused: Fused) -> dict[tuple[int, int], float]:
    rows, items = fused.candidates.rows.tolist(), fused.candidates.items.tolist()
    return dict(zip(zip(rows, items, strict=True), fused.scores.tolist(), strict=True))


@all_strategies
@examples
@given(seed=seeds)
def test_contributions_sum_to_finite_scores(name: str, seed: int) -> None:
    fused = STRATEGIES[name].fuse(pool_of(lists(seed)))
    assert np.isfinite(fused.scores).all()
    assert fused.contributions.shape == (len(fused.scores), len(fused.parts))
    np.testing.assert_allclose(fused.contributions.sum(axis=1), fused.scores, atol=1e-12)


@all_strategies
@examples
@given(seed=seeds)
def test_the_order_of_candidates_and_of_models_changes_nothing(name: str, seed: int) -> None:
    candidates = lists(seed)
    rng = np.random.default_rng(seed + 1)
    shuffle = np.concatenate(
        [
            start + rng.permutation(n)
            for start, n in zip(candidates.offsets, candidates.lengths, strict=False)
        ]
    ).astype(np.int64)
    shuffled = replace(
        candidates,
        items=candidates.items[shuffle],
        scores=candidates.scores[shuffle],
        why=candidates.why[shuffle],
    ).only(tuple(rng.permutation(candidates.models).tolist()))
    before = by_key(STRATEGIES[name].fuse(pool_of(candidates)))
    after = by_key(STRATEGIES[name].fuse(pool_of(shuffled)))
    if name == "wsum_z":  # a sum over the list enters, and floats do not add associatively
        assert after == pytest.approx(before, abs=1e-12)
    else:
        assert after == before


@all_strategies
@examples
@given(seed=seeds)
def test_batch_equals_single(name: str, seed: int) -> None:
    pool, strategy = pool_of(lists(seed)), STRATEGIES[name]
    batch = strategy.fuse(pool)
    alone = [strategy.fuse(pool.take(np.array([q]))) for q in range(pool.union.n_queries)]
    np.testing.assert_array_equal(batch.scores, np.concatenate([one.scores for one in alone]))


@pytest.mark.parametrize("name", ["rrf", "comb_mnz_rank", "wsum_rank"])
@examples
@given(seed=seeds)
def test_a_monotone_rescaling_leaves_rank_methods_alone(name: str, seed: int) -> None:
    candidates = lists(seed)
    warped = replace(candidates, scores=np.sinh(candidates.scores * 2 - 3))
    before = STRATEGIES[name].fuse(pool_of(candidates)).scores
    np.testing.assert_array_equal(STRATEGIES[name].fuse(pool_of(warped)).scores, before)


@pytest.mark.parametrize("name", ["wsum", "wsum_z", "comb_mnz"])
@examples
@given(seed=seeds)
def test_an_affine_rescaling_leaves_normalised_scores_alone(name: str, seed: int) -> None:
    candidates = lists(seed)
    warped = replace(candidates, scores=candidates.scores * np.float32([2, 8, 0.5]) + np.float32(1))
    before = STRATEGIES[name].fuse(pool_of(candidates)).scores
    after = STRATEGIES[name].fuse(pool_of(warped)).scores
    np.testing.assert_allclose(after, before, atol=1e-4)  # float32 rounded the sum


@pytest.mark.parametrize("name", MONOTONE)
@settings(deadline=None, max_examples=40)
@given(seed=seeds)
def test_raising_a_score_never_lowers_the_item(name: str, seed: int) -> None:
    candidates = lists(seed)
    rng = np.random.default_rng(seed + 1)
    present = np.argwhere(~np.isnan(candidates.scores))
    if not len(present):
        return
    row, model = rng.choice(present)
    scores = candidates.scores.copy()
    scores[row, model] += np.float32(rng.choice([0.1, 1, 2, 5]))
    before = STRATEGIES[name].fuse(pool_of(candidates)).scores
    after = STRATEGIES[name].fuse(pool_of(replace(candidates, scores=scores))).scores
    same_query = candidates.rows == candidates.rows[row]
    assert after[row] >= before[row] - 1e-12
    # whom it stood before or beside, it does not fall behind
    behind = same_query & (before <= before[row])
    assert (after[behind] <= after[row] + 1e-12).all()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("model", ["a", "b", "c"])
def test_every_weight_changes_the_output(name: str, model: str) -> None:
    pool = pool_of(lists(11, levels=0))
    plain = Parallel({"method": METHODS[name]}).fuse(pool)
    weighted = Parallel({"method": METHODS[name], "weights": {model: 2.5}}).fuse(pool)
    column = plain.parts.index(model)
    np.testing.assert_allclose(
        weighted.contributions[:, column], 2.5 * plain.contributions[:, column], rtol=1e-12
    )
    others = [m for m in range(3) if m != column]
    np.testing.assert_array_equal(weighted.contributions[:, others], plain.contributions[:, others])
    assert (weighted.scores != plain.scores).any()


@pytest.mark.parametrize("name", METHODS)
def test_a_weight_of_0_is_a_model_that_is_not_there(name: str) -> None:
    pool = pool_of(lists(11, levels=0))
    without = Parallel({"method": METHODS[name], "models": ["a", "c"]}).fuse(pool)
    muted = Parallel({"method": METHODS[name], "weights": {"b": 0}}).fuse(pool)
    np.testing.assert_array_equal(muted.scores, without.scores)


@all_strategies
def test_no_queries_and_no_candidates(name: str) -> None:
    nothing = lists(0).where(np.zeros(len(lists(0)), bool))
    assert STRATEGIES[name].fuse(pool_of(nothing)).scores.shape == (0,)
    nobody = nothing.take(np.empty(0, np.int64))
    assert STRATEGIES[name].fuse(pool_of(nobody)).candidates.n_queries == 0
