from __future__ import annotations

import numpy as np
import pytest

from fusion.strategies.trees import Trees, user_folds


def folds_of(users: list[int], n: int) -> list[tuple[list[int], list[int]]]:
    """Of queries of two rows each."""
    offsets = np.arange(len(users) + 1) * 2
    rng = np.random.default_rng(0)
    found = user_folds(np.array(users, np.int32), offsets, n, rng)
    return [(learn.tolist(), judge.tolist()) for learn, judge in found]


def test_no_user_stands_on_both_sides_and_every_row_is_judged_once() -> None:
    users = [3, 3, 5, 7, 3, 9, 9, 11]
    found = folds_of(users, 3)
    assert len(found) == 3
    judged = [row for _, judge in found for row in judge]
    assert sorted(judged) == list(range(16))
    for learn, judge in found:
        assert sorted(learn + judge) == list(range(16))
        assert not {users[row // 2] for row in learn} & {users[row // 2] for row in judge}


def test_strangers_are_different_people() -> None:
    assert len(folds_of([-1, -1, -1, -1], 4)) == 4


@pytest.mark.parametrize(("users", "n"), [([4, 4, 4], 5), ([1, 2], 1), ([1, 2], 0)])
def test_one_user_or_one_fold_is_none(users: list[int], n: int) -> None:
    assert folds_of(users, n) == []


def test_fewer_users_than_folds() -> None:
    assert len(folds_of([1, 2, 2], 5)) == 2


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
