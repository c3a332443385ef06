"""What every fusion method promises, on random candidates: all that are registered, by their names.

Methods that learn are fitted on a synthetic window with the same models first.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import MemoryPool, pool_of, random_candidates, window_of

from fusion.candidates import Candidates, Missing
from fusion.errors import ConfigError
from fusion.pool import StoredPool
from fusion.protocols import FitContext, Fused, Pool, Strategy
from fusion.registry import known, resolve
from fusion.strategies.parallel import Parallel
from fusion.strategies.serial import Serial

SILENT = {"timed_out": "nan", "filtered": "nan"}
LOWEST = {"not_retrieved": "lowest", "cold": "lowest", "timed_out": "lowest", "filtered": "lowest"}
PRIOR = {"cold": "prior", "filtered": "prior", "timed_out": "lowest"}
#: more than the defaults of the registered names
VARIANTS: dict[str, Any] = {
    "rrf_7": {"name": "rrf", "k": 7},
    "rrf_prior": {"name": "rrf", "missing": PRIOR},
    "borda_lowest": {"name": "borda", "missing": LOWEST},
    "condorcet_lowest": {"name": "condorcet", "missing": LOWEST},
    "condorcet_prior": {"name": "condorcet", "missing": PRIOR},
    "comb_mnz_rank": {"name": "comb_mnz", "normalization": "rank"},
    "comb_med_z": {"name": "comb_med", "normalization": "z_score"},
    "comb_min_z": {"name": "comb_min", "normalization": "z_score"},
    "comb_gmnz_2": {"name": "comb_gmnz", "gamma": -2},
    "geometric": {"name": "power_mean", "p": 0, "normalization": "rank"},
    "harmonic": {"name": "power_mean", "p": -1, "normalization": "rank"},
    "quadratic": {"name": "power_mean", "p": 2},
    "wsum_z": {"name": "weighted_sum", "normalization": "z_score"},
    "wsum_rank": {"name": "weighted_sum", "normalization": "rank"},
    "wsum_omit": {"name": "weighted_sum", "missing": SILENT},
}
NAMES = [*known("methods"), *VARIANTS]
SERIAL = {
    "stages": [
        {"models": ["a", "b"], "keep": 9},
        {"models": ["b", "c"], "method": "weighted_sum", "keep": 4},
        {"models": ["c", "a"], "method": "comb_mnz"},
    ]
}
MODELS = ("a", "b", "c")
WINDOW = window_of(noise={"a": 0.5, "b": 1.0, "c": 1.5}, n_queries=40, width=20)


def spec(name: str) -> dict[str, Any]:
    made = VARIANTS.get(name, name)
    return {"name": made} if isinstance(made, str) else made


def class_of(name: str) -> Any:
    try:
        return resolve("methods", spec(name)["name"])
    except ConfigError as error:
        pytest.skip(str(error))


@cache
def strategy(name: str, models: tuple[str, ...] = MODELS, weights: str = "") -> Strategy:
    """The method over ``models``, fitted if it learns; ``weights`` as ``"a=2 b=0"``."""
    if name == "serial":
        return Serial(SERIAL)
    pairs = (pair.split("=") for pair in weights.split())
    made = Parallel(
        {
            "method": spec(name),
            "models": models,
            "weights": {model: float(weight) for model, weight in pairs},
        }
    )
    if made.learns:
        pool = WINDOW.pool
        assert isinstance(pool, MemoryPool)
        few = replace(WINDOW, pool=pool.with_union(pool.union.only(models)))
        made.fit([few], FitContext())
    return made


def fused(name: str, pool: Pool, models: tuple[str, ...] = MODELS, weights: str = "") -> Fused:
    if name != "serial":
        class_of(name)
    return strategy(name, models, weights).fuse(pool)


examples = settings(deadline=None, max_examples=10)
seeds = st.integers(0, 2**32 - 1)
all_methods = pytest.mark.parametrize("name", NAMES)
all_strategies = pytest.mark.parametrize("name", [*NAMES, "serial"])


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
@given(seed=seeds, weights=st.sampled_from(["", "b=0.25 c=3", "a=0"]))
def test_contributions_sum_to_finite_scores(name: str, seed: int, weights: str) -> None:
    found = fused(name, pool_of(lists(seed)), weights="" if name == "serial" else weights)
    assert np.isfinite(found.scores).all()
    assert np.isfinite(found.contributions).all()
    assert found.contributions.shape == (len(found.scores), len(found.parts))
    np.testing.assert_allclose(
        found.contributions.sum(axis=1), found.scores, rtol=1e-12, atol=1e-12
    )
    few = np.arange(len(found.scores))[::3]
    np.testing.assert_array_equal(found.explain(few), found.contributions[few])


@all_strategies
@examples
@given(seed=seeds, weights=st.sampled_from(["", "a=0.1 b=0.2 c=0.3", "a=0.37 b=1.9"]))
def test_the_order_of_candidates_and_of_models_changes_nothing(
    name: str, seed: int, weights: str
) -> None:
    candidates = lists(seed)
    rng = np.random.default_rng(seed + 1)
    shuffle = np.concatenate(
        [
            start + rng.permutation(n)
            for start, n in zip(candidates.offsets, candidates.lengths, strict=False)
        ]
    ).astype(np.int64)
    models = tuple(rng.permutation(candidates.models).tolist())
    shuffled = replace(
        candidates,
        items=candidates.items[shuffle],
        scores=candidates.scores[shuffle],
        why=candidates.why[shuffle],
    ).only(models)
    before = by_key(fused(name, pool_of(candidates), MODELS, weights))
    after = by_key(fused(name, pool_of(shuffled), models, weights))
    # a sum over the list enters, or over what was learnt, and floats do not add associatively
    rounds = name.endswith("_z") or name == "distribution_based" or strategy(name).learns
    assert after == (pytest.approx(before, rel=1e-9, abs=1e-12) if rounds else before)


@all_strategies
@examples
@given(seed=seeds, weights=st.sampled_from(["", "a=0.37 b=1.9"]))
def test_batch_equals_single(name: str, seed: int, weights: str) -> None:
    pool = pool_of(lists(seed))
    batch = fused(name, pool, weights=weights)
    alone = [
        fused(name, pool.take(np.array([q])), weights=weights) for q in range(pool.union.n_queries)
    ]
    np.testing.assert_array_equal(batch.scores, np.concatenate([one.scores for one in alone]))


@all_methods
@examples
@given(seed=seeds)
def test_a_monotone_rescaling_leaves_rank_methods_alone(name: str, seed: int) -> None:
    by_rank = class_of(name).by_rank or spec(name).get("normalization") == "rank"
    candidates = lists(seed)
    warped = replace(candidates, scores=np.sinh(candidates.scores * 2 - 3))
    before = fused(name, pool_of(candidates)).scores
    after = fused(name, pool_of(warped)).scores
    if by_rank:
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("name", ["wsum_z", "weighted_sum", "comb_mnz", "distribution_based"])
@examples
@given(seed=seeds)
def test_an_affine_rescaling_leaves_normalised_scores_alone(name: str, seed: int) -> None:
    candidates = lists(seed)
    warped = replace(candidates, scores=candidates.scores * np.float32([2, 8, 0.5]) + np.float32(1))
    before = fused(name, pool_of(candidates)).scores
    after = fused(name, pool_of(warped)).scores
    np.testing.assert_allclose(after, before, atol=1e-4)  # float32 rounded the sum


@all_methods
@settings(deadline=None, max_examples=25)
@given(seed=seeds, weights=st.sampled_from(["", "a=0.37 b=1.9"]))
def test_raising_a_score_never_lowers_the_item_where_promised(
    name: str, seed: int, weights: str
) -> None:
    if not class_of(name).monotone or name.endswith("_z"):
        return
    candidates = lists(seed)
    rng = np.random.default_rng(seed + 1)
    present = np.argwhere(~np.isnan(candidates.scores))
    if not len(present):
        return
    row, model = rng.choice(present)
    scores = candidates.scores.copy()
    scores[row, model] += np.float32(rng.choice([0.1, 1, 2, 5]))
    before = fused(name, pool_of(candidates), weights=weights).scores
    after = fused(name, pool_of(replace(candidates, scores=scores)), weights=weights).scores
    same_query = candidates.rows == candidates.rows[row]
    assert after[row] >= before[row] - 1e-12
    # whom it stood before or beside, it does not fall behind
    behind = same_query & (before <= before[row])
    assert (after[behind] <= after[row] + 1e-12).all()


def test_the_promise_can_be_broken() -> None:
    """A standard deviation grows with an outlier: why `distribution_based` does not promise."""
    assert not class_of("distribution_based").monotone
    rng = np.random.default_rng(0)
    candidates = random_candidates(rng, 1, 40, MODELS, 30, missing=0.0)
    scores = candidates.scores.copy()
    row = int(np.argmax(scores[:, 0]))
    scores[row, 0] += np.float32(1000)
    z = ("wsum_z", "distribution_based")
    before = [fused(name, pool_of(candidates)).scores for name in z]
    after = [fused(name, pool_of(replace(candidates, scores=scores))).scores for name in z]
    others = np.arange(len(scores)) != row
    for was, now in zip(before, after, strict=True):
        assert (now[others] > was[others]).any()  # who stood low gained


#: what a model gives is its weight times what it gave, and nobody else's part changes
SCALED = ("rrf", "isr", "log_isr", "logn_isr", "rbc", "borda", "comb_sum", "comb_mnz", "comb_gmnz")
SCALED += ("mixed", "weighted_sum", "weighted_borda", "distribution_based", "wsum_z", "rrf_7")


@all_methods
@pytest.mark.parametrize("model", MODELS)
def test_every_weight_changes_the_output(name: str, model: str) -> None:
    pool = pool_of(lists(11, levels=0))
    plain, weighted = fused(name, pool), fused(name, pool, weights=f"{model}=2.5")
    assert (weighted.scores != plain.scores).any()
    if name in SCALED:
        column = plain.parts.index(model)
        expected = plain.contributions.copy()
        expected[:, column] *= 2.5
        np.testing.assert_allclose(weighted.contributions, expected, rtol=1e-12)


@all_methods
@examples
@given(seed=seeds)
def test_a_weight_of_0_is_a_model_that_is_not_there(name: str, seed: int) -> None:
    pool = pool_of(lists(seed))
    without = fused(name, pool, models=("a", "c"))
    muted = fused(name, pool, weights="b=0")
    np.testing.assert_allclose(muted.scores, without.scores, rtol=1e-12)
    np.testing.assert_array_equal(muted.contributions[:, 1], 0)


@all_methods
@examples
@given(seed=seeds)
def test_how_deep_a_list_went_changes_nothing_once_scores_are_complete(
    name: str, seed: int
) -> None:
    """The same candidates, whoever listed them: a deeper list holds rows scored anyway."""
    complete = random_candidates(
        np.random.default_rng(seed), n_queries=6, n_items=20, longest=15, missing=0.0
    )
    rng = np.random.default_rng(seed + 1)
    queries = pool_of(complete).queries
    found = []
    for share in (0.2, 0.7):
        why = np.where(rng.random(complete.why.shape) < share, Missing.NOT_RETRIEVED, 0)
        union = replace(
            complete,
            scores=np.where(why > 0, np.float32(np.nan), complete.scores),
            why=why.astype(np.uint8),
        )
        found.append(fused(name, StoredPool(queries, union, complete, np.full(20, 0.05))))
    if class_of(name)(_settings(name)).missing.completes:
        np.testing.assert_array_equal(found[0].scores, found[1].scores)


def _settings(name: str) -> dict[str, Any]:
    return {key: value for key, value in spec(name).items() if key not in ("name", "weights")}


def test_without_completion_the_depth_matters() -> None:
    candidates = lists(3, levels=0)
    assert (fused("borda_lowest", pool_of(candidates)).scores != 0).any()
    deep = replace(candidates, scores=np.nan_to_num(candidates.scores, nan=-9.0))
    deep = replace(deep, why=np.zeros_like(candidates.why))
    before, after = (fused("borda_lowest", pool_of(c)).scores for c in (candidates, deep))
    assert (before != after).any()


@all_strategies
def test_no_queries_and_no_candidates(name: str) -> None:
    nothing = lists(0).where(np.zeros(len(lists(0)), bool))
    assert fused(name, pool_of(nothing)).scores.shape == (0,)
    nobody = nothing.take(np.empty(0, np.int64))
    assert fused(name, pool_of(nobody)).candidates.n_queries == 0


@all_methods
def test_models_that_say_nothing_at_all(name: str) -> None:
    candidates = lists(5)
    silent = replace(
        candidates,
        scores=np.full_like(candidates.scores, np.nan),
        why=np.full_like(candidates.why, Missing.COLD),
    )
    found = fused(name, pool_of(silent))
    assert np.isfinite(found.scores).all()
    for query in np.unique(candidates.rows):  # nobody is preferred
        assert len(set(found.scores[candidates.rows == query].tolist())) == 1
