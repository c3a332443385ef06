from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse

from fusion import Dataset, Queries
from fusion.errors import ConfigError, DataError
from fusion.protocols import FitContext
from fusion.ragged import Ragged
from fusion.testing import RetrieverContract, all_items
from retrievers import ease, linear
from retrievers.ease import Ease, ease_weights


class TestEase(RetrieverContract):
    plugin = Ease
    options: ClassVar = {"reg": 3.0}

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, tiny):
        return tiny


def closed_form(binary: np.ndarray, reg: float) -> np.ndarray:
    """Steck 2019, equation 8, in float64 and without any trick."""
    x = binary.astype(np.float64)
    precision = np.linalg.inv(x.T @ x + reg * np.eye(x.shape[1]))
    weights = precision / -np.diag(precision)
    np.fill_diagonal(weights, 0.0)
    return weights


@pytest.mark.parametrize("users", [20, 400], ids=["few users: Woodbury", "many users: Cholesky"])
@pytest.mark.parametrize("reg", [0.5, 50.0])
def test_weights_are_the_closed_form(users, reg, monkeypatch):
    monkeypatch.setattr(linear, "SCRATCH", 16 * 90 * 7)  # strips of 7 rows
    binary = (np.random.default_rng(1).random((users, 90)) < 0.15).astype(np.float32)
    found = ease_weights(scipy.sparse.csr_array(binary), reg)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, closed_form(binary, reg), atol=2e-5)


def test_two_items_by_hand():
    # X'X = [[2, 1], [1, 1]], reg 1: P = 1/5 [[2, -1], [-1, 3]]; B = -P / diag: B01 = 1/3, B10 = 1/2
    found = ease_weights(scipy.sparse.csr_array(np.array([[1, 1], [1, 0]], np.float32)), 1.0)
    np.testing.assert_allclose(found, [[0, 1 / 3], [1 / 2, 0]], rtol=1e-6)


@pytest.mark.parametrize("reg", [1e-3, 1e-1])
def test_an_ill_conditioned_system_is_solved_in_float64(reg):
    # two items that all of 10,000 users met: with n = 10,000, B01 = B10 = n / (n + reg)
    both = scipy.sparse.csr_array(np.ones((10_000, 2), np.float32))
    expected = 10_000 / (10_000 + reg)
    found = ease_weights(both, reg)
    np.testing.assert_allclose(found, [[0, expected], [expected, 0]], rtol=1e-6)


def test_a_singular_system_is_a_config_error():
    same = scipy.sparse.csr_array(np.ones((40, 3), np.float32))
    with pytest.raises(ConfigError, match="raise it"):
        ease_weights(same, 1e-300)


@pytest.fixture(scope="module")
def chain() -> Dataset:
    # a before b by everybody, c rare, d never met
    return Dataset.from_frames(
        pa.table(
            {
                "user_id": ["u", "u", "v", "v", "w", "w"],
                "item_id": ["a", "b", "a", "b", "a", "c"],
                "timestamp": [1, 2, 1, 2, 1, 2],
            }
        ),
        pa.table({"item_id": list("abcd")}),
    )


def test_a_score_is_the_weighted_sum_over_the_history(chain):
    model = Ease({"reg": 1.0, "half_life": 2.0})
    model.fit(chain, FitContext())
    index = chain.catalog.vocabulary.index
    a, b, c, d = (index(name) for name in "abcd")
    binary = np.zeros((3, 4))
    for user, item in zip(chain.interactions.users, chain.interactions.items, strict=True):
        binary[user, item] = 1
    met = sorted({a, b, c})
    weights = np.zeros((4, 4))
    weights[np.ix_(met, met)] = closed_form(binary[:, met], 1.0)
    queries = Queries.from_history(Ragged.of([[a, d, c]]), exclude_seen=False)
    found = model.score(queries, all_items(queries, 4)).values
    # a was two steps ago (half), d counts as a step, c was the last
    assert found[b] == pytest.approx(0.5 * weights[a, b] + weights[c, b], abs=1e-6)
    assert np.isnan(found[d])


def test_reg_by_default_is_twice_the_mean_of_events_but_at_least_50(chain, monkeypatch):
    asked = []
    monkeypatch.setattr(ease, "ease_weights", lambda x, reg: asked.append(reg) or x.toarray())
    Ease().fit(chain, FitContext())  # 6 events of 3 items
    crowd = Dataset.from_frames(
        pa.table({"user_id": [f"u{i}" for i in range(100)], "item_id": ["a"] * 60 + ["b"] * 40})
    )
    Ease().fit(crowd, FitContext())
    assert asked == [50.0, 2 * 100 / 2]


def test_max_items_keeps_the_most_popular_and_says_so(chain, caplog):
    model = Ease({"max_items": 2})
    model.fit(chain, FitContext())
    assert "2 most popular of 3" in caplog.text
    queries = chain.queries(exclude_seen=False)
    scores = model.score(queries, all_items(queries, 4)).values.reshape(3, 4)
    warm = ~np.isnan(scores).all(axis=0)
    assert {chain.catalog.ids[i] for i in np.flatnonzero(warm)} == {"a", "b"}


def test_no_events_is_a_data_error(chain):
    with pytest.raises(DataError, match="at least one interaction"):
        Ease().fit(chain.where(np.zeros(len(chain), bool)), FitContext())
