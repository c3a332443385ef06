from __future__ import annotations

import numpy as np
import pytest

from fusion.stackers.folds import user_folds
from fusion.stackers.trees import Trees


def test_at_least_patience_trees_though_nothing_can_be_learnt() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 2)).astype(np.float32)
    labels = (np.arange(200) % 10 == 0).astype(np.float32)
    lengths, offsets = np.full(20, 10), np.arange(21) * 10
    params = {"objective": "lambdarank", "metric": "ndcg", "eval_at": [10], "verbosity": -1}
    params |= {"min_data_in_leaf": 5, "num_threads": 1}
    users = np.arange(20, dtype=np.int32)
    folds = list(user_folds(users, offsets, 2, np.random.default_rng(0)))
    for rounds, patience in ((50, 7), (4, 7)):
        trees = Trees.fit(
            features, labels, lengths, params, rounds=rounds, patience=patience, folds=folds
        )
        assert min(rounds, patience) <= trees.rounds < 30
    assert trees.rounds == 4


@pytest.mark.parametrize("objective", ["lambdarank", "binary", "regression"])
def test_scores_are_before_any_link_and_shap_sums_to_them(objective: str) -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(400, 3)).astype(np.float32)
    labels = (features[:, 0] > 1).astype(np.float32)
    params = {"objective": objective, "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5}
    lengths = np.full(40, 10)
    trees = Trees.fit(features, labels, lengths, params, rounds=5, patience=5, folds=[])
    given = trees.contributions(features)
    np.testing.assert_allclose(given.sum(axis=1), trees.scores(features), rtol=1e-6, atol=1e-9)
    if objective == "binary":  # log-odds: a rare class is below 0
        assert trees.scores(features)[labels == 0].max() < 0
    assert trees.gains.argmax() == 0
    again = Trees.from_text(trees.text)
    np.testing.assert_array_equal(again.scores(features), trees.scores(features))
    assert trees.scores(features[:0]).shape == (0,)
    assert trees.contributions(features[:0]).shape == (0, 4)
