from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pools import EVERYTHING, PAST, MemoryPool, candidates_of, pool_of, window_of

from fusion.candidates import Candidates, Missing, Scores
from fusion.errors import ConfigError, DataError, LeakageError, NotFittedError
from fusion.protocols import FitContext, Fused, Labelled
from fusion.queries import Queries
from fusion.ragged import Ragged, segment_rank
from fusion.strategies.learned import Learned
from fusion.strategies.parallel import Parallel

QUICK = {
    "n_estimators": 15,
    "early_stopping": 5,
    "folds": 2,
    "learning_rate": 0.2,
    "num_threads": 1,
}
CONTEXT = FitContext(seed=3)


def stacked(**config: Any) -> dict[str, Any]:
    """The settings of `Learned` where they belong, all others in its blend."""
    own = {key: config.pop(key) for key in [*config] if key in Learned.Config.model_fields}
    return {**own, "stacker": {"name": "blend", **QUICK, **config}}


def learned(*windows: Labelled, **config: Any) -> Learned:
    strategy = Learned(stacked(**config), name="learned")
    strategy.fit(windows, CONTEXT)
    return strategy


def ndcg(fused: Fused, targets: np.ndarray) -> np.ndarray:
    """(Q,) NDCG@10 with one target a query."""
    candidates = fused.candidates
    _, rank = segment_rank(candidates.offsets, (candidates.items, -fused.scores))
    hit = (candidates.items == targets[candidates.rows]) & (rank <= 10)
    out = np.zeros(candidates.n_queries)
    out[candidates.rows[hit]] = 1 / np.log2(rank[hit] + 1)
    return out


def with_column(window: Labelled, model: str, values: np.ndarray, seen: Any = PAST) -> Labelled:
    assert isinstance(window.pool, MemoryPool)
    union = window.pool.union.with_scores(model, Scores.of(values))
    return replace(
        window,
        pool=window.pool.with_union(union),
        provenance={**window.provenance, model: seen},
    )


@pytest.fixture(scope="module")
def window() -> Labelled:
    return window_of(120)


@pytest.fixture(scope="module")
def fitted(window: Labelled) -> Learned:
    return learned(window)


BLENDS = pytest.mark.parametrize("blend", [0.0, 0.5, 1.0])


@BLENDS
def test_it_learns_whom_to_believe(window: Labelled, blend: float) -> None:
    strategy = learned(window, blend=blend)
    later = window_of(300, seed=1)
    targets = later.targets
    ours = ndcg(strategy.fuse(later.pool), targets)
    equal = ndcg(Parallel().fuse(later.pool), targets)
    difference = ours - equal
    assert difference.mean() > 3 * difference.std() / np.sqrt(len(difference))


@BLENDS
def test_contributions_sum_to_the_score(window: Labelled, blend: float) -> None:
    fused = learned(window, blend=blend).fuse(window_of(20, seed=1).pool)
    assert fused.parts == ("strong", "weak", "context", "baseline")
    np.testing.assert_allclose(fused.contributions.sum(axis=1), fused.scores, rtol=1e-6, atol=1e-9)
    strong, weak = fused.contributions[:, :2].std(axis=0)
    assert strong > 2 * weak  # who was believed more
    assert len(set(fused.contributions[:, 3].tolist())) == 1


def test_batch_equals_single(fitted: Learned) -> None:
    pool = window_of(8, seed=1).pool
    assert isinstance(pool, MemoryPool)
    batch = fitted.fuse(pool)
    alone = [fitted.fuse(pool.take(np.array([q]))) for q in range(8)]
    np.testing.assert_array_equal(batch.scores, np.concatenate([one.scores for one in alone]))


def test_the_order_of_candidates_changes_nothing(fitted: Learned) -> None:
    pool = window_of(1, seed=1).pool
    assert isinstance(pool, MemoryPool)
    union, back = pool.union, np.arange(len(pool.union))[::-1]
    turned = replace(union, items=union.items[back], scores=union.scores[back], why=union.why[back])
    before = fitted.fuse(pool).scores
    after = fitted.fuse(pool.with_union(turned)).scores[back]
    np.testing.assert_allclose(after, before, rtol=1e-5)  # float32 features of a float sum


@BLENDS
def test_raising_a_score_never_lowers_it(window: Labelled, blend: float) -> None:
    strategy = learned(window, blend=blend)
    pool = window_of(10, seed=1).pool
    assert isinstance(pool, MemoryPool)
    rng = np.random.default_rng(0)
    before = strategy.fuse(pool).scores
    for row in rng.choice(len(pool.union), 30, replace=False):
        scores = pool.union.scores.copy()
        scores[row, rng.integers(2)] += np.float32(rng.choice([0.1, 1, 4]))
        after = strategy.fuse(pool.with_union(replace(pool.union, scores=scores))).scores
        assert after[row] >= before[row] - 1e-9
        if blend == 0:  # the trees see ranks and min-max: nobody else's can rise
            behind = (pool.union.rows == pool.union.rows[row]) & (before <= before[row])
            assert (after[behind] <= after[row] + 1e-9).all()


@pytest.mark.parametrize("blend", [0.0, 1.0])
def test_a_model_that_is_mostly_wrong_is_not_believed_backwards(blend: float) -> None:
    """What it likes is rarely the target; without the constraint its praise would sink an item."""
    window = window_of(120, noise={"strong": 0.5, "wrong": 0.5})
    assert isinstance(window.pool, MemoryPool)
    pool = window.pool
    pool.union.scores[:, 1] *= -1

    def lowered(monotone: bool) -> int:
        strategy = learned(window, blend=blend, monotone=monotone)
        before, found = strategy.fuse(pool).scores, 0
        for row in range(40):
            scores = pool.union.scores.copy()
            scores[row, 1] += 4
            after = strategy.fuse(pool.with_union(replace(pool.union, scores=scores))).scores
            found += bool(after[row] < before[row] - 1e-9)
        return found

    assert lowered(monotone=True) == 0
    assert lowered(monotone=False) > 5


def test_what_is_saved_gives_the_same_scores(fitted: Learned, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == [
        "learned.json",
        "linear/stacker.json",
        "stacker.json",
        "trees/stacker.json",
        "trees/trees.txt",
    ]
    again = Learned(stacked())
    again.load(tmp_path)
    pool = window_of(20, seed=1).pool
    before, after = fitted.fuse(pool), again.fuse(pool)
    np.testing.assert_array_equal(after.scores, before.scores)
    np.testing.assert_array_equal(after.contributions, before.contributions)


def test_the_same_seed_and_any_number_of_threads_give_the_same(window: Labelled) -> None:
    pool = window_of(20, seed=1).pool
    quick = {"n_estimators": 3, "folds": 0}
    one, two = (learned(window, num_threads=n, **quick).fuse(pool) for n in (1, 2))
    np.testing.assert_array_equal(one.scores, two.scores)
    other = Learned(stacked(**quick))
    other.fit([window], FitContext(seed=4))
    assert (other.fuse(pool).scores != one.scores).any()


# --- leakage ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seen", [EVERYTHING, None])
def test_a_planted_target_is_refused(window: Labelled, seen: Any) -> None:
    assert isinstance(window.pool, MemoryPool)
    answer = window.labels(window.pool.union)
    planted = with_column(window, "oracle", answer, seen)
    with pytest.raises(LeakageError, match=r"model 'oracle'.* fitted on the window's past"):
        Learned(stacked()).fit([planted], CONTEXT)
    # not asked, it does no harm
    Learned(stacked(models=["strong", "weak"])).fit([planted], CONTEXT)


def test_a_planted_target_would_have_been_believed(window: Labelled) -> None:
    """Why the refusal matters: were the provenance forged, nothing else would be looked at."""
    assert isinstance(window.pool, MemoryPool)
    forged = with_column(window, "oracle", window.labels(window.pool.union), PAST)
    fused = learned(forged).fuse(forged.pool)
    spread = dict(zip(fused.parts, fused.contributions.std(axis=0), strict=True))
    assert spread["oracle"] > 5 * spread["strong"]


def test_a_model_without_provenance_is_refused(window: Labelled) -> None:
    with pytest.raises(LeakageError, match=r"'weak'.*no word"):
        Learned(stacked()).fit([replace(window, provenance={"strong": PAST})], CONTEXT)


def test_future_popularity_is_refused(window: Labelled) -> None:
    """All-time counts less counts so far are the future; such a column saw both sides of it."""
    assert isinstance(window.pool, MemoryPool)
    all_time = window.pool.popularity * 1000 + np.bincount(window.targets, minlength=200)
    column = all_time[window.pool.union.items]
    with pytest.raises(LeakageError, match="'all_time'"):
        Learned(stacked()).fit([with_column(window, "all_time", column, EVERYTHING)], CONTEXT)


@BLENDS
def test_popularity_comes_from_the_windows_pool_alone(window: Labelled, blend: float) -> None:
    """Whatever an item's later popularity is, it reaches the stacker by no other way."""
    assert isinstance(window.pool, MemoryPool)
    rng = np.random.default_rng(5)
    targets = rng.permutation(200)[:120].astype(np.int32)
    # every target is an item that nobody knew; in its pool it is the unpopular one that wins
    popularity = np.full(200, 1.0)
    popularity[targets] = 0.0
    union = window.pool.union
    items = union.items.copy()
    for q in range(120):
        inside = slice(int(union.offsets[q]), int(union.offsets[q + 1]))
        others = np.setdiff1d(np.arange(200), targets)
        items[inside] = np.sort(np.append(rng.choice(others, 39, replace=False), targets[q]))
    noise = rng.normal(size=union.scores.shape).astype(np.float32)
    pool = replace(
        window.pool,
        union=replace(union, items=items, scores=noise),
        popularity=popularity / popularity.sum(),
    )
    strategy = learned(replace(window, pool=pool, targets=targets), blend=blend)
    assert ndcg(strategy.fuse(pool), targets).mean() > 0.9
    even = replace(pool, popularity=np.full(200, 1 / 200))
    assert ndcg(strategy.fuse(even), targets).mean() < 0.3


@BLENDS
def test_with_shuffled_labels_it_is_no_better_than_chance(blend: float) -> None:
    width = 40
    chance = sum(1 / np.log2(rank + 1) for rank in range(1, 11)) / width

    def shuffled(n: int, seed: int) -> Labelled:
        window = window_of(n, seed=seed, width=width)
        assert isinstance(window.pool, MemoryPool)
        rng = np.random.default_rng(seed + 100)
        rows = window.pool.union.offsets[:-1] + rng.integers(0, width, n)
        return replace(window, targets=window.pool.union.items[rows])

    later = shuffled(600, seed=1)
    got = ndcg(learned(shuffled(120, seed=0), blend=blend).fuse(later.pool), later.targets)
    margin = 3 * got.std() / np.sqrt(len(got))
    assert abs(got.mean() - chance) < margin
    # the sentinel can see: with true labels the same stacker is far outside that interval
    true = window_of(600, seed=1, width=width)
    assert ndcg(learned(window_of(120), blend=blend).fuse(true.pool), true.targets).mean() > (
        chance + 5 * margin
    )


# --- small and odd windows -------------------------------------------------------------------


def test_too_few_queries_fall_back_to_rrf_and_say_so(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    window = window_of(19)
    with caplog.at_level(logging.WARNING):
        strategy = learned(window)
    assert "at least 20 queries" in caplog.text
    assert "19 of 19" in caplog.text
    assert strategy.fallback
    np.testing.assert_array_equal(
        strategy.fuse(window.pool).scores, Parallel().fuse(window.pool).scores
    )
    strategy.save(tmp_path)
    again = Learned()
    again.load(tmp_path)
    assert again.fallback


def test_too_few_queries_are_an_error_if_so_configured() -> None:
    with pytest.raises(DataError, match="19 of 19; hold back more events"):
        learned(window_of(19), too_few="error")


def test_only_queries_with_their_target_among_the_candidates_teach(window: Labelled) -> None:
    assert isinstance(window.pool, MemoryPool)
    targets = window.targets.copy()
    targets[:90] = 999  # never retrieved, and never added
    pool = window.pool.with_union(window.pool.union)
    strategy = learned(replace(window, pool=pool, targets=targets))
    assert not strategy.fallback
    assert pool.asked == [(("strong", "weak"), 30 * 40)]
    # those queries are as good as absent
    kept = np.arange(90, 120)
    alone = learned(
        replace(window, pool=window.pool.take(kept), targets=targets[kept]), hide_age=0, blend=1.0
    )
    both = learned(replace(window, pool=pool, targets=targets), hide_age=0, blend=1.0)
    later = window_of(10, seed=1).pool
    np.testing.assert_allclose(alone.fuse(later).scores, both.fuse(later).scores, rtol=1e-9)


def test_a_window_of_one_user_without_times(window: Labelled) -> None:
    assert isinstance(window.pool, MemoryPool)
    n = window.pool.union.n_queries
    queries = Queries.from_history(Ragged.empty(n))
    queries = replace(queries, users=np.zeros(n, np.int32))
    fused = learned(replace(window, pool=replace(window.pool, queries=queries))).fuse(window.pool)
    assert np.isfinite(fused.scores).all()


def test_columns_that_say_nothing() -> None:
    """One constant, one never there: nothing is learnt from them, and nothing breaks."""
    window = window_of(60)
    assert isinstance(window.pool, MemoryPool)
    n = len(window.pool.union)
    window = with_column(window, "constant", np.full(n, 7.0))
    window = with_column(window, "absent", np.full(n, np.nan))
    fused = learned(window).fuse(window.pool)
    given = dict(zip(fused.parts, fused.contributions.T, strict=True))
    np.testing.assert_allclose(fused.contributions.sum(axis=1), fused.scores, rtol=1e-6, atol=1e-9)
    # equal scores are ranked by item index: the constant may say that much, and no more
    assert given["constant"].std() < 0.2 * given["strong"].std()
    assert given["absent"].std() == 0


def test_missing_scores_and_empty_queries_at_serving(fitted: Learned) -> None:
    gone, cold = Missing.NOT_RETRIEVED, Missing.COLD
    lists = candidates_of([{1: (1, gone), 2: (cold, 3)}, {}, {7: (gone, gone)}])
    lists = replace(lists, models=("strong", "weak"))
    fused = fitted.fuse(pool_of(lists))
    assert np.isfinite(fused.scores).all()
    assert len(fused.scores) == 3
    nobody = lists.take(np.empty(0, np.int64))
    assert len(fitted.fuse(pool_of(nobody)).scores) == 0


def test_negatives_can_be_sampled(window: Labelled) -> None:
    """A few negatives a query teach something, and more than there are is all of them."""
    later = window_of(100, seed=1)
    few = learned(window, negatives=3, min_child_samples=5).fuse(later.pool)
    assert ndcg(few, later.targets).mean() > 0.4
    many = learned(window, negatives=1000, blend=1.0).fuse(later.pool)
    every = learned(window, blend=1.0).fuse(later.pool)
    np.testing.assert_array_equal(many.scores, every.scores)


def test_raw_scores_can_be_shown_to_the_trees(window: Labelled) -> None:
    pool = window_of(20, seed=1).pool
    raw = learned(window, raw_scores=True, blend=0.0).fuse(pool)
    assert (raw.scores != learned(window, blend=0.0).fuse(pool).scores).any()


# --- misuse ----------------------------------------------------------------------------------


def test_not_fitted(window: Labelled) -> None:
    with pytest.raises(NotFittedError, match="call fit first"):
        Learned().fuse(window.pool)


def test_other_models_than_it_learnt_from(fitted: Learned, window: Labelled) -> None:
    assert isinstance(window.pool, MemoryPool)
    more = with_column(window, "new", np.ones(len(window.pool.union)))
    with pytest.raises(NotFittedError, match="strong, weak, got strong, weak, new"):
        fitted.fuse(more.pool)


def test_unknown_model() -> None:
    with pytest.raises(ConfigError, match="did you mean 'ease'"):
        Learned({"models": ["eese"]}).uses(("ease", "bert"))


def test_a_window_of_other_models(window: Labelled) -> None:
    assert isinstance(window.pool, MemoryPool)
    renamed = replace(window.pool.union, models=("strong", "other"))
    fused_by = Learned(stacked(models=["weak"]))
    with pytest.raises(
        ConfigError, match="fusion Learned: expected one of the models strong, other"
    ):
        fused_by.fit([replace(window, pool=window.pool.with_union(renamed))], CONTEXT)
    assert isinstance(renamed, Candidates)


# --- what stands for missing scores ----------------------------------------------------------


def with_gaps(window: Labelled, reason: Missing, share: float = 0.3) -> Labelled:
    assert isinstance(window.pool, MemoryPool)
    union = window.pool.union
    gone = np.random.default_rng(1).random(union.scores.shape) < share
    scores = np.where(gone, np.nan, union.scores).astype(np.float32)
    why = np.where(gone, np.uint8(reason), np.uint8(0))
    return replace(window, pool=window.pool.with_union(replace(union, scores=scores, why=why)))


def test_by_default_every_model_is_asked_for_the_whole_union(window: Labelled) -> None:
    assert isinstance(window.pool, MemoryPool)
    later = window.pool.with_union(window.pool.union)
    learned(window).fuse(later)
    assert later.asked == [(("strong", "weak"), len(window.pool.union))]


def test_without_completion_retrievers_keep_the_scores_of_their_lists(window: Labelled) -> None:
    assert isinstance(window.pool, MemoryPool)
    later = window.pool.with_union(window.pool.union)
    learned(window, missing={"not_retrieved": "lowest"}).fuse(later)
    assert later.asked == [((), len(window.pool.union))]


@pytest.mark.parametrize("rule", ["nan", "lowest", "prior"])
@pytest.mark.parametrize("blend", [0.0, 1.0])
def test_each_rule_for_cold_scores(rule: str, blend: float, tmp_path: Path) -> None:
    window, later = with_gaps(window_of(80), Missing.COLD), with_gaps(window_of(40, seed=1), 2)
    strategy = learned(window, blend=blend, missing={"cold": rule})
    fused = strategy.fuse(later.pool)
    assert np.isfinite(fused.scores).all()
    assert ndcg(fused, later.targets).mean() > 0.3
    strategy.save(tmp_path)
    again = Learned(strategy.config)
    again.load(tmp_path)
    np.testing.assert_array_equal(again.fuse(later.pool).scores, fused.scores)
    plain = learned(window, blend=blend, missing={"cold": "nan"}).fuse(later.pool)
    assert (rule == "nan") == bool((plain.scores == fused.scores).all())


def test_excluded_items_are_not_recommended_and_do_not_teach() -> None:
    window = with_gaps(window_of(80), Missing.TIMED_OUT)
    assert isinstance(window.pool, MemoryPool)
    strategy = learned(window, missing={"timed_out": "exclude"})
    union = window.pool.union
    whole = (union.why == 0).all(axis=1)
    fused = strategy.fuse(window.pool)
    assert len(fused.candidates) == whole.sum()
    assert not fused.candidates.why.any()
    there = window.labels(union)[whole].sum()
    assert strategy.taught == (int(there),) < (80,)


# --- several windows -------------------------------------------------------------------------


def test_a_leak_in_any_window_is_refused(window: Labelled) -> None:
    older = replace(window_of(30, seed=4), provenance={"strong": PAST, "weak": EVERYTHING})
    with pytest.raises(LeakageError, match="'weak'"):
        learned(older, window)
    with pytest.raises(LeakageError, match="'weak'"):
        learned(window, older)


def test_the_least_number_of_queries_is_over_all_windows() -> None:
    one, other = window_of(12), window_of(13, seed=1)
    assert learned(one).fallback
    strategy = learned(one, other)
    assert not strategy.fallback
    assert strategy.taught == (12, 13)
    assert learned(one, min_queries=26).taught == (12,)


def test_a_window_where_nobody_teaches_changes_nothing(window: Labelled) -> None:
    silent = replace(window_of(10, seed=4), targets=np.full(10, 999, np.int32))
    strategy = learned(silent, window, blend=1.0)
    assert strategy.taught == (0, 120)
    later = window_of(10, seed=1).pool
    expected = learned(window, blend=1.0).fuse(later).scores
    np.testing.assert_array_equal(strategy.fuse(later).scores, expected)


@BLENDS
def test_each_window_has_its_own_popularity(blend: float) -> None:
    """An item is popular in one window and not in the other; only its own window's count counts."""
    rng, windows = np.random.default_rng(5), []
    for seed in (0, 1):
        window = window_of(60, seed=seed, noise={"strong": 50.0})
        assert isinstance(window.pool, MemoryPool)
        popularity = np.full(200, 1.0)
        popularity[window.targets] = 0.0  # whoever is nobody's yet, comes next
        items = window.pool.union.items.copy()
        for q in range(60):
            others = np.setdiff1d(np.arange(200), window.targets)
            mine = np.append(rng.choice(others, 39, replace=False), window.targets[q])
            items[q * 40 : q * 40 + 40] = np.sort(mine)
        union = replace(window.pool.union, items=items)
        pool = replace(window.pool, union=union, popularity=popularity / popularity.sum())
        windows.append(replace(window, pool=pool))
    strategy = learned(*windows, blend=blend)
    for window in windows:
        assert ndcg(strategy.fuse(window.pool), window.targets).mean() > 0.9


def test_no_window_at_all() -> None:
    with pytest.raises(DataError, match="a window to learn from"):
        Learned().fit([], CONTEXT)


def test_importance_and_stacker_after_a_fallback() -> None:
    strategy = learned(window_of(5))
    assert strategy.importance() == {}
    with pytest.raises(NotFittedError, match="fallback"):
        _ = strategy.stacker
