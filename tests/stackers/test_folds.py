from __future__ import annotations

import numpy as np
import pytest

from fusion.stackers.folds import user_folds


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
