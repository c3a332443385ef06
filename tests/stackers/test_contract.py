"""What every registered stacker promises; a new one is held to it without a line here."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from fusion_layer.pools import EVERYTHING, PAST, candidates_of, pool_of, window_of
from lessons import (
    NAMES,
    learned,
    lesson_of,
    ndcg,
    pool_of_window,
    shuffled,
    stacker_of,
    view_of,
    with_column,
    with_union,
)

from fusion.candidates import Missing
from fusion.errors import LeakageError, NotFittedError
from fusion.protocols import Labelled
from fusion.registry import known
from fusion.stackers.base import Stacker
from fusion.strategies.learned import Learned
from fusion.strategies.parallel import Parallel

EACH = pytest.mark.parametrize("name", NAMES)
BUILT_IN = {
    "blend",
    "gated",
    "greedy",
    "lambdamart",
    "lightgbm_binary",
    "lightgbm_regression",
    "linear",
    "logistic",
}


@cache
def taught(n: int = 120) -> Labelled:
    return window_of(n)


@cache
def fitted(name: str) -> Learned:
    return learned(name, taught())


def test_these_are_built_in() -> None:
    ours = {n for n, point in known("stackers").items() if point.value.startswith("fusion.")}
    assert ours == BUILT_IN


@EACH
def test_it_learns_whom_to_believe(name: str) -> None:
    later = window_of(300, seed=1)
    ours = ndcg(fitted(name).fuse(later.pool), later.targets)
    difference = ours - ndcg(Parallel().fuse(later.pool), later.targets)
    assert difference.mean() > 3 * difference.std() / np.sqrt(len(difference))


@EACH
def test_contributions_sum_to_the_score(name: str) -> None:
    fused = fitted(name).fuse(window_of(20, seed=1).pool)
    assert fused.parts == ("strong", "weak", "context", "baseline")
    given = fused.contributions
    np.testing.assert_allclose(given.sum(axis=1), fused.scores, rtol=1e-6, atol=1e-9)
    assert given[:, 0].std() > 2 * given[:, 1].std()  # who was believed more
    assert len(set(given[:, 3].tolist())) == 1
    rows = np.array([799, 3, 3, 40])  # any rows, in any order, also twice
    np.testing.assert_allclose(fused.explain(rows), given[rows], rtol=1e-12, atol=1e-12)


@EACH
def test_only_the_rows_asked_for_are_explained(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = fitted(name)
    fused = strategy.fuse(window_of(20, seed=1).pool)
    asked: list[tuple[int, int]] = []
    plain = type(strategy.stacker).contributions

    def noting(self: Stacker, view, rows):  # type: ignore[no-untyped-def]
        asked.append((view.candidates.n_queries, len(rows)))
        return plain(self, view, rows)

    monkeypatch.setattr(type(strategy.stacker), "contributions", noting)
    fused.explain(np.array([0, 39, 401]))
    assert asked == [(2, 3)]  # rows 0 and 39 are of the first query, 401 of the eleventh


@EACH
def test_batch_equals_single(name: str) -> None:
    pool = pool_of_window(window_of(6, seed=1))
    batch = fitted(name).fuse(pool)
    alone = [fitted(name).fuse(pool.take(np.array([q]))) for q in range(6)]
    np.testing.assert_array_equal(batch.scores, np.concatenate([one.scores for one in alone]))


@EACH
def test_the_order_of_candidates_changes_nothing(name: str) -> None:
    pool = pool_of_window(window_of(1, seed=1))
    union, back = pool.union, np.arange(len(pool.union))[::-1]
    turned = replace(union, items=union.items[back], scores=union.scores[back], why=union.why[back])
    before = fitted(name).fuse(pool).scores
    after = fitted(name).fuse(pool.with_union(turned)).scores[back]
    np.testing.assert_allclose(after, before, rtol=1e-5)


@EACH
def test_raising_a_score_never_lowers_it(name: str) -> None:
    pool = pool_of_window(window_of(10, seed=1))
    rng = np.random.default_rng(0)
    before = fitted(name).fuse(pool).scores
    for row in rng.choice(len(pool.union), 40, replace=False):
        scores = pool.union.scores.copy()
        scores[row, rng.integers(2)] += np.float32(rng.choice([0.1, 1, 4, 100]))
        after = fitted(name).fuse(pool.with_union(replace(pool.union, scores=scores))).scores
        assert after[row] >= before[row] - 1e-9


@EACH
def test_a_model_that_is_mostly_wrong_is_not_believed_backwards(name: str) -> None:
    window = window_of(100, noise={"strong": 0.5, "wrong": 0.5})
    pool = pool_of_window(window)
    pool.union.scores[:, 1] *= -1
    strategy = learned(name, window)
    before = strategy.fuse(pool).scores
    for row in range(20):
        scores = pool.union.scores.copy()
        scores[row, 1] += 4
        after = strategy.fuse(pool.with_union(replace(pool.union, scores=scores))).scores
        assert after[row] >= before[row] - 1e-9


@EACH
def test_what_is_saved_gives_the_same(name: str, tmp_path: Path) -> None:
    strategy = fitted(name)
    strategy.save(tmp_path)
    assert {p.suffix for p in tmp_path.rglob("*") if p.is_file()} <= {".json", ".txt"}
    again = Learned(strategy.config)
    again.load(tmp_path)
    pool = window_of(20, seed=1).pool
    before, after = strategy.fuse(pool), again.fuse(pool)
    np.testing.assert_array_equal(after.scores, before.scores)
    np.testing.assert_array_equal(after.contributions, before.contributions)
    assert again.importance() == strategy.importance()
    assert again.taught == strategy.taught == (120,)


@EACH
def test_the_same_seed_and_any_number_of_threads_give_the_same(name: str) -> None:
    pool = window_of(20, seed=1).pool
    quick = {"n_estimators": 3, "folds": 0}
    one, two = (learned(name, taught(), num_threads=n, **quick).fuse(pool) for n in (1, 2))
    np.testing.assert_array_equal(one.scores, two.scores)


@EACH
def test_fitting_again_forgets(name: str) -> None:
    pool = window_of(20, seed=1).pool
    stacker, lesson = stacker_of(name), lesson_of(taught())
    stacker.fit(lesson_of(window_of(50, seed=7)), np.random.default_rng(0))
    stacker.fit(lesson, np.random.default_rng(1))
    fresh = stacker_of(name)
    fresh.fit(lesson, np.random.default_rng(1))
    view = view_of(window_of(20, seed=1))
    np.testing.assert_array_equal(stacker.scores(view), fresh.scores(view))
    assert len(pool.candidates()) == len(stacker.scores(view))


@EACH
def test_learning_says_the_scores_of_the_teaching_rows(name: str) -> None:
    stacker, lesson = stacker_of(name), lesson_of(taught())
    given = stacker.learn(lesson, np.random.default_rng(0))
    np.testing.assert_allclose(given, stacker.scores(view_of(taught())), rtol=1e-9, atol=1e-12)


@EACH
def test_importance(name: str) -> None:
    found = fitted(name).importance()
    assert found
    json.dumps(found, allow_nan=False)
    for kind, values in found.items():
        assert all(value >= 0 for value in values.values()), kind
        own = {m: max(v for k, v in values.items() if k.startswith(m)) for m in ("strong", "weak")}
        if kind not in ("weight_sd", "gate"):  # these say how weights vary, not who is believed
            assert own["strong"] > own["weak"], kind


# --- the two sentinels -----------------------------------------------------------------------


@EACH
def test_with_shuffled_labels_it_is_no_better_than_chance(name: str) -> None:
    chance = sum(1 / np.log2(rank + 1) for rank in range(1, 11)) / 40
    later = shuffled(600, seed=1)
    got = ndcg(learned(name, shuffled(120, seed=0)).fuse(later.pool), later.targets)
    margin = 3 * got.std() / np.sqrt(len(got))
    assert abs(got.mean() - chance) < margin
    # the sentinel can see: with true labels the same stacker is far outside that interval
    true = window_of(600, seed=1)
    assert ndcg(fitted(name).fuse(true.pool), true.targets).mean() > chance + 5 * margin


@EACH
def test_a_planted_target_is_refused_and_would_have_been_believed(name: str) -> None:
    window = taught()
    answer = window.labels(pool_of_window(window).union)
    for seen in (EVERYTHING, None):
        with pytest.raises(LeakageError, match="model 'oracle'"):
            learned(name, with_column(window, "oracle", answer, seen))
    # also in a window that is not the newest
    honest = with_column(window, "oracle", np.zeros_like(answer), PAST)
    with pytest.raises(LeakageError, match="model 'oracle'"):
        learned(name, with_column(window, "oracle", answer, EVERYTHING), honest)
    forged = with_column(window, "oracle", answer, PAST)
    fused = learned(name, forged).fuse(forged.pool)
    spread = dict(zip(fused.parts, fused.contributions.std(axis=0), strict=True))
    assert spread["oracle"] > 2 * spread["strong"]
    assert ndcg(fused, forged.targets).mean() > 0.95


# --- degenerate inputs -----------------------------------------------------------------------


@EACH
def test_columns_that_say_nothing(name: str) -> None:
    n = len(pool_of_window(taught()).union)
    window = with_column(taught(), "constant", np.full(n, 7.0), PAST)
    window = with_column(window, "absent", np.full(n, np.nan), PAST)
    fused = learned(name, window).fuse(window.pool)
    given = dict(zip(fused.parts, fused.contributions.T, strict=True))
    assert np.isfinite(fused.scores).all()
    np.testing.assert_allclose(fused.contributions.sum(axis=1), fused.scores, rtol=1e-6, atol=1e-9)
    # equal scores are ranked by item index: the constant may say that much, and no more
    assert given["constant"].std() < 0.2 * given["strong"].std()
    assert given["absent"].std() == 0


@EACH
@pytest.mark.parametrize("columns", ["one query", "all NaN", "all constant"])
def test_hardly_anything_to_learn_from(name: str, columns: str) -> None:
    window = window_of(1 if columns == "one query" else 5)
    union = pool_of_window(window).union
    if columns == "all NaN":
        why = np.full(union.scores.shape, Missing.COLD, np.uint8)
        union = replace(union, scores=np.full(union.scores.shape, np.nan, np.float32), why=why)
    if columns == "all constant":
        union = replace(union, scores=np.ones_like(union.scores))
    window = with_union(window, union)
    stacker = stacker_of(name)
    stacker.fit(lesson_of(window), np.random.default_rng(0))
    assert np.isfinite(stacker.scores(view_of(window))).all()
    assert np.isfinite(stacker.scores(view_of(window_of(5, seed=1)))).all()
    json.dumps([stacker.state(), stacker.importance()], allow_nan=False)


@EACH
def test_missing_scores_and_empty_queries_at_serving(name: str) -> None:
    gone, cold = Missing.NOT_RETRIEVED, Missing.COLD
    lists = candidates_of([{1: (1, gone), 2: (cold, 3)}, {}, {7: (gone, gone)}])
    lists = replace(lists, models=("strong", "weak"))
    fused = fitted(name).fuse(pool_of(lists))
    assert np.isfinite(fused.scores).all()
    assert fused.contributions.shape == (3, 4)
    nobody = fitted(name).fuse(pool_of(lists.take(np.empty(0, np.int64))))
    assert nobody.scores.shape == (0,)
    assert nobody.contributions.shape == (0, 4)


@EACH
def test_several_windows_teach_together(name: str) -> None:
    older, newer = window_of(40, seed=5), taught()
    strategy = learned(name, older, newer)
    assert strategy.taught == (40, 120)
    later = window_of(200, seed=1)
    assert ndcg(strategy.fuse(later.pool), later.targets).mean() > 0.8 * (
        ndcg(fitted(name).fuse(later.pool), later.targets).mean()
    )


@EACH
def test_negatives_can_be_sampled(name: str) -> None:
    later = window_of(100, seed=1)
    few = learned(name, taught(), negatives=5, min_child_samples=5).fuse(later.pool)
    assert ndcg(few, later.targets).mean() > 0.4
    many = learned(name, taught(), negatives=1000, folds=0).fuse(later.pool)
    assert np.isfinite(many.scores).all()


@EACH
def test_not_fitted(name: str) -> None:
    with pytest.raises(NotFittedError, match=f"stacker {name}"):
        stacker_of(name).scores(view_of(window_of(2)))


@EACH
def test_an_unknown_setting_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="depth"):
        Learned({"stacker": {"name": name, "depth": 3}})


def test_an_unknown_stacker_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'greedy'"):
        Learned({"stacker": "gredy"})
