from typing import ClassVar

import numpy as np
import pytest
import scipy.sparse

from fusion import Queries
from fusion.protocols import FitContext
from fusion.ragged import Ragged
from fusion.testing import RetrieverContract, all_items
from retrievers import linear
from retrievers.item_knn import ItemKnn, neighbour_matrix


class TestItemKnn(RetrieverContract):
    plugin = ItemKnn
    options: ClassVar = {"k": 10}

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, tiny):
        return tiny


# item 0: users 0 1 2; item 1: users 0 1; item 2: user 2; item 3: user 3
BINARY = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]], np.float32)


@pytest.mark.parametrize("scratch", [1, 2**20])
def test_shrunk_cosines_by_hand(monkeypatch, scratch):
    monkeypatch.setattr(linear, "SCRATCH", scratch)
    found = neighbour_matrix(scipy.sparse.csr_array(BINARY), k=3, shrink=1.0).toarray()
    assert found[0, 1] == pytest.approx(2 / ((3 * 2) ** 0.5 + 1))
    assert found[0, 2] == pytest.approx(1 / (3**0.5 + 1))
    np.testing.assert_allclose(found, found.T)
    assert found.diagonal().tolist() == [0, 0, 0, 0]
    assert found[3].tolist() == [0, 0, 0, 0]


def test_without_shrinking_they_are_those_of_scikit_learn():
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    binary = (np.random.default_rng(0).random((50, 12)) < 0.3).astype(np.float32)
    expected = pairwise.cosine_similarity(binary.T)
    np.fill_diagonal(expected, 0)
    found = neighbour_matrix(scipy.sparse.csr_array(binary), k=12, shrink=0.0)
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-6)


def test_only_the_nearest_are_kept():
    found = neighbour_matrix(scipy.sparse.csr_array(BINARY), k=1, shrink=0.0).toarray()
    assert np.flatnonzero(found[0]).tolist() == [1]  # 2/sqrt(6) > 1/sqrt(3)
    assert np.flatnonzero(found[2]).tolist() == [0]


def test_of_equal_neighbours_the_first_stand():
    binary = np.array([[1, 1, 1, 1]], np.float32)
    found = neighbour_matrix(scipy.sparse.csr_array(binary), k=2, shrink=0.0).toarray()
    assert [np.flatnonzero(row).tolist() for row in found] == [[1, 2], [0, 2], [0, 1], [0, 1]]


def test_the_history_decays(tiny):
    model = ItemKnn({"k": 1000, "half_life": 1.0})
    model.fit(tiny, FitContext())
    pair = Queries.from_history(Ragged.of([[3], [5], [3, 5]]), exclude_seen=False)
    old, new, both = model.score(pair, all_items(pair, tiny.n_items)).values.reshape(3, -1)
    np.testing.assert_allclose(both, 0.5 * old + new, atol=1e-6)
