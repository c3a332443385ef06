import numpy as np
import pytest

from retrievers.dense_store import VectorStore
from retrievers.faiss_recall import Knobs, measure, mixed_users, nth_best, tune
from retrievers.faiss_settings import IndexSettings

pytest.importorskip("faiss")
BASE = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]], np.float32)
ASKED = np.array([[1, 0], [0, 1]], np.float32)


def test_recall_is_the_share_of_the_true_nearest():
    store = VectorStore(BASE)
    least = nth_best(store, ASKED, 2)
    np.testing.assert_allclose(least, [0.8, 0.8])
    found = np.array([[0, 1], [3, 1]])  # both; one of two
    assert measure(found, store, ASKED, least) == pytest.approx((2 + 1) / 4)
    assert measure(np.array([[0, -1], [-1, -1]]), store, ASKED, least) == pytest.approx(1 / 4)


def test_exact_search_in_pieces(monkeypatch):
    monkeypatch.setattr("retrievers.faiss_recall._CHUNK", 3)
    points = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    asked = points[:3]
    expected = -np.sort(-(asked @ points.T), axis=1)[:, 6]
    np.testing.assert_allclose(nth_best(VectorStore(points), asked, 7), expected, rtol=1e-5)


def test_mixed_users_have_length_one():
    users = mixed_users(VectorStore(BASE), 50, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(users, axis=1), 1, atol=1e-6)
    assert users.dtype == np.float32


@pytest.mark.parametrize(
    ("kind", "options", "enough", "tried"),
    [
        ("pq", {}, {"refine": 4}, [(1, 1), (2, 1), (4, 1)]),
        ("pq", {"refine": 3}, {}, []),
        ("ivf", {}, {"probes": 8}, [(1, 2), (1, 4), (1, 8)]),
        ("ivf", {"codec": "sq8", "probes": 5}, {"refine": 2}, [(1, 5), (2, 5)]),
        # codes first, looking into all 128 lists; then fewer lists
        ("ivf_pq", {}, {"refine": 2, "probes": 4}, [(1, 128), (2, 128), (2, 2), (2, 4)]),
    ],
)
def test_knobs_are_doubled_until_it_is_enough(kind, options, enough, tried):
    seen = []

    def recall_of(knobs: Knobs) -> float:
        seen.append((knobs.refine, knobs.probes))
        return float(all(getattr(knobs, name) >= value for name, value in enough.items()))

    lists = 128 if kind.startswith("ivf") else 0
    knobs = tune(kind, IndexSettings(kind=kind, **options), lists, 10, recall_of)
    assert seen == tried
    assert knobs.depth == 10
    assert all(getattr(knobs, name) == value for name, value in enough.items())


def test_what_is_never_enough_ends_at_the_largest():
    knobs = tune("hnsw", IndexSettings(kind="hnsw"), 0, 10, lambda knobs: 0.0)
    assert knobs.breadth == 4_096
