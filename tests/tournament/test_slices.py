from __future__ import annotations

import numpy as np
from synthetic import window

from fusion.tournament.slices import head_items, slices_of


def test_head_items_by_hand() -> None:
    popularity = np.array([0.1, 0.4, 0.2, 0.3, 0.0])
    assert head_items(popularity, 0.4).tolist() == [False, True, False, False, False]
    assert head_items(popularity, 0.5).tolist() == [False, True, False, True, False]
    assert head_items(popularity, 0.95).tolist() == [True, True, True, True, False]


def test_every_query_is_in_one_of_each_pair() -> None:
    one = window(100)
    head, tail, cold, warm = slices_of(one, head_share=0.5, cold_share=0.25)
    assert (head.mask ^ tail.mask).all()
    assert (cold.mask ^ warm.mask).all()
    popularity, lengths = one.pool.popularity, one.pool.queries.history.lengths
    assert popularity[one.targets[head.mask]].min() >= popularity[one.targets[tail.mask]].max()
    assert lengths[cold.mask].max() < lengths[warm.mask].min()
    assert f"at most {lengths[cold.mask].max()} events" in cold.rule


def test_equal_histories_are_all_cold() -> None:
    one = window(20)
    equal = one.take(np.flatnonzero(one.pool.queries.history.lengths == 3))
    _, _, cold, warm = slices_of(equal, head_share=0.5, cold_share=0.25)
    assert cold.mask.all()
    assert not warm.mask.any()
