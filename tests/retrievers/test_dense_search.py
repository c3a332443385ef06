import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.queries import Queries
from fusion.ragged import Ragged
from retrievers.dense_search import cosines, nearest
from retrievers.dense_store import VectorStore
from retrievers.faiss_index import FaissIndex, IndexSettings
from retrievers.linear import WarmItems

pytest.importorskip("faiss")
rng = np.random.default_rng(0)


def unit(shape: tuple[int, int]) -> np.ndarray:
    points = rng.normal(size=shape)
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


VECTORS = unit((60, 8))
VECTORS[30:34] = VECTORS[10]  # five equal items: ties
WARM = WarmItems.of(np.arange(0, 120, 2, dtype=np.int32), 120)  # odd items are cold
INDEX = FaissIndex.build(VECTORS, IndexSettings())


def reference(user: np.ndarray, excluded: set[int], n: int) -> list[int]:
    """Item indices of the n highest cosines, by item index; equal ones by item index."""
    scores = np.einsum("d,wd->w", user, VECTORS)
    order = [c for c in np.argsort(-scores, kind="stable") if int(WARM.items[c]) not in excluded]
    return sorted(int(WARM.items[c]) for c in order[:n])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sets(st.integers(0, 119), max_size=60), min_size=1, max_size=5),
    st.integers(1, 70),
)
def test_seen_items_never_shorten_a_list(excluded, n):
    users = unit((len(excluded), 8))
    queries = Queries.from_history(Ragged.of([sorted(e) for e in excluded]))
    known = np.ones(len(excluded), bool)
    found = nearest("m", INDEX, WARM, queries, users, known, n).checked()
    for q, barred in enumerate(excluded):
        items = found.items[found.offsets[q] : found.offsets[q + 1]].tolist()
        assert items == reference(users[q], barred, n)


def test_equal_items_are_ordered_by_index():
    queries = Queries.from_history(Ragged.empty(1))
    user = VECTORS[10:11]
    found = nearest("m", INDEX, WARM, queries, user, np.array([True]), 3)
    assert found.items.tolist() == [20, 60, 62]  # columns 10, 30, 31


def test_a_search_wider_than_the_index_takes_is_exact(monkeypatch):
    monkeypatch.setattr(FaissIndex, "most", property(lambda self: 16))
    users = unit((3, 8))
    excluded = [set(range(60)), set(), set(range(40, 120))]
    queries = Queries.from_history(Ragged.of([sorted(e) for e in excluded]))
    found = nearest("m", INDEX, WARM, queries, users, np.ones(3, bool), 5)
    for q, barred in enumerate(excluded):
        items = found.items[found.offsets[q] : found.offsets[q + 1]].tolist()
        assert items == reference(users[q], barred, 5)


def test_unknown_queries_have_empty_lists():
    queries = Queries.from_history(Ragged.empty(2))
    known = np.array([False, True])
    found = nearest("m", INDEX, WARM, queries, unit((2, 8)), known, 4)
    assert found.lengths.tolist() == [0, 4]


def test_cosines_are_inner_products_pair_by_pair():
    users = np.array([[1, 0], [0.6, 0.8]], np.float32)
    items = np.array([[0, 1], [1, 0], [0.8, 0.6]], np.float32)
    found = cosines(users, VectorStore(items), np.array([0, 1, 1]), np.array([2, 0, 2]))
    np.testing.assert_allclose(found, [0.8, 0.8, 0.6 * 0.8 + 0.8 * 0.6])
