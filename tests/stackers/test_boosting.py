from __future__ import annotations

from dataclasses import replace

import lightgbm
import numpy as np
import pytest
from fusion_layer.pools import window_of
from lessons import lesson_of, stacker_of, view_of

from fusion.stackers.boosting import TreeStacker
from fusion.stackers.features import tree_features

OBJECTIVES = {
    "lambdamart": "lambdarank",
    "lightgbm_binary": "binary",
    "lightgbm_regression": "regression",
}
EACH = pytest.mark.parametrize("name", OBJECTIVES)


@EACH
def test_it_is_lightgbm_with_these_parameters(name: str) -> None:
    window = window_of(60)
    stacker = stacker_of(name, folds=0, n_estimators=6)
    stacker.fit(lesson_of(window), np.random.default_rng(4))
    view = view_of(window)
    features, layout = tree_features(view)
    peer = lightgbm.train(
        {
            "objective": OBJECTIVES[name],
            "num_leaves": 7,
            "learning_rate": 0.2,
            "min_data_in_leaf": 40,
            "lambda_l2": 10.0,
            "feature_fraction": 0.8,
            "monotone_constraints": list(layout.directions),
            "seed": int(np.random.default_rng(4).integers(2**31)),
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "verbosity": -1,
        },
        lightgbm.Dataset(features, window.labels(view.candidates), group=view.candidates.lengths),
        6,
    )
    np.testing.assert_array_equal(stacker.scores(view), peer.predict(features, raw_score=True))


@EACH
def test_early_stopping_on_ndcg_chooses_the_number_of_trees(name: str) -> None:
    stacker = stacker_of(name, n_estimators=60, early_stopping=4, learning_rate=0.5)
    stacker.fit(lesson_of(window_of(80)), np.random.default_rng(0))
    assert isinstance(stacker, TreeStacker)
    assert 4 <= stacker.trees.rounds < 60


@EACH
def test_unconstrained_when_asked(name: str) -> None:
    """A model whose praise is a warning: believed backwards only without the constraint."""
    window = window_of(80, noise={"wrong": 0.5})
    view = view_of(window)
    view.candidates.scores[:] *= -1
    lowered = {}
    for monotone in (True, False):
        stacker = stacker_of(name, monotone=monotone)
        stacker.fit(lesson_of(window), np.random.default_rng(0))
        before, found = stacker.scores(view), 0
        for row in range(0, 3200, 100):
            scores = view.candidates.scores.copy()
            scores[row] += 4
            raised = replace(view, candidates=replace(view.candidates, scores=scores))
            found += bool(stacker.scores(raised)[row] < before[row] - 1e-9)
        lowered[monotone] = found
    assert lowered[True] == 0
    assert lowered[False] > 2


@pytest.mark.parametrize("name", ["lambdamart", "lightgbm_regression"])
def test_grades_order_more_than_hit_and_miss(name: str) -> None:
    """An item of grade 2 stands above one of grade 1, and that above the rest."""
    window = window_of(100, noise={"model": 0.1})
    lesson = lesson_of(window)
    view = lesson.views[0]
    second = view.candidates.offsets[:-1] + 5
    labels = lesson.labels * 2
    labels[second] = np.where(labels[second] > 0, 2, 1)
    view.candidates.scores[:, 0] = labels + np.random.default_rng(0).normal(size=4000) * 0.1
    stacker = stacker_of(name)
    stacker.fit(replace(lesson, labels=labels), np.random.default_rng(0))
    scores = stacker.scores(view)
    assert scores[labels == 2].mean() > scores[labels == 1].mean() > scores[labels == 0].mean()


def test_the_binary_score_is_a_log_odds() -> None:
    window = window_of(150)
    stacker = stacker_of("lightgbm_binary", n_estimators=40)
    stacker.fit(lesson_of(window), np.random.default_rng(0))
    share = 1 / (1 + np.exp(-stacker.scores(view_of(window))))
    assert share.mean() == pytest.approx(1 / 40, rel=0.05)  # one target among 40


@EACH
def test_importance_names_the_features(name: str) -> None:
    stacker = stacker_of(name)
    lesson = lesson_of(window_of(60))
    stacker.fit(lesson, np.random.default_rng(0))
    names = tree_features(lesson.views[0])[1].names
    found = stacker.importance()
    assert set(found) == {"gain", "mean_abs_shap"}
    assert all(tuple(values) == names for values in found.values())
    given = stacker.contributions(lesson.views[0], np.arange(len(lesson.labels)))
    # SHAP of a part's features may cancel, so the parts' mean is no more than the features'
    strong = sum(v for k, v in found["mean_abs_shap"].items() if k.startswith("strong"))
    assert 0 < np.abs(given[:, 0]).mean() < strong * 1.2
