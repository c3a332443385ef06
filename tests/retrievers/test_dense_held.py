import numpy as np
import pytest

from retrievers.dense_held import Held, hold_out, pool_ndcg


def readable(data, *, but=()):
    out = np.ones(data.n_items, bool)
    out[list(but)] = False
    return out


def test_the_newest_event_is_held_out_of_training(tiny):
    held = hold_out(tiny, readable(tiny), 10, 20, np.random.default_rng(0))
    assert len(held.users) == 10
    for user, target in zip(held.users, held.targets, strict=True):
        assert tiny.histories[user][-1] == target
        assert held.train.histories[user].tolist() == tiny.histories[user][:-1].tolist()
    assert len(held.train) == len(tiny) - 10
    assert set(held.targets) <= set(held.pool)
    assert len(held.pool) == len(set(held.pool.tolist())) >= 20


def test_nobody_is_held_out_without_need(tiny):
    rng = np.random.default_rng(0)
    assert hold_out(tiny, readable(tiny), 0, 20, rng) is None
    assert hold_out(tiny, np.zeros(tiny.n_items, bool), 10, 20, rng) is None


def test_ndcg_is_the_discount_of_the_rank_among_what_was_not_met(tiny):
    users = np.array([0, 1, 2])
    before = [tiny.histories[u][:-1] for u in users]
    targets = np.array([tiny.histories[u][-1] for u in users], np.int32)
    pool = np.arange(tiny.n_items, dtype=np.int32)
    keep = np.ones(len(tiny), bool)
    keep[tiny.offsets[users + 1] - 1] = False
    held = Held(tiny.where(keep), users, targets, pool)
    scores = np.zeros((3, tiny.n_items), np.float32)
    scores[np.arange(3), targets] = 0.5
    for user, met in enumerate(before):
        scores[user, met] = 1.0  # left out, so they do no harm
    other = next(i for i in pool if i not in before[1] and i != targets[1])
    scores[1, other] = 0.9  # one before the target: rank 2
    known = np.array([True, True, False])
    vectors = np.eye(tiny.n_items, dtype=np.float32)  # a user's vector is then its scores
    found = pool_ndcg(scores, known, vectors, pool, held)
    assert found == pytest.approx((1 + 1 / np.log2(3) + 0) / 3)
