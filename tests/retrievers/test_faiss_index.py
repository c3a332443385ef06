import builtins
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from fusion.errors import DependencyError
from retrievers.faiss_index import FaissIndex, IndexSettings, import_faiss

pytest.importorskip("faiss")


def vectors(count: int, size: int = 16, seed: int = 0) -> np.ndarray:
    """Clustered, as embeddings are; length 1."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, size))
    points = centres[rng.integers(0, 20, count)] + 0.6 * rng.normal(size=(count, size))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def exact(queries: np.ndarray, base: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(-(queries @ base.T), axis=1, kind="stable")[:, :k]


def test_flat_is_the_exact_reference():
    base, asked = vectors(500), vectors(20, seed=1)
    index = FaissIndex.build(base, IndexSettings(kind="flat"))
    assert index.search(asked, 10).tolist() == exact(asked, base, 10).tolist()
    assert len(index) == 500


@pytest.mark.parametrize(
    ("settings", "floor"),
    [
        (IndexSettings(kind="ivf", lists=20, probes=6), 0.9),
        (IndexSettings(kind="ivf", lists=20, probes=20), 1.0),  # every list: exact
        (IndexSettings(kind="hnsw"), 0.95),
    ],
)
def test_recall_of_approximate_indexes(settings, floor):
    base, asked = vectors(2_000), vectors(50, seed=1)
    found = FaissIndex.build(base, settings, seed=5).search(asked, 20)
    expected = exact(asked, base, 20)
    recall = np.mean([len(set(f) & set(e)) / 20 for f, e in zip(found, expected, strict=True)])
    assert recall >= floor


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_write_and_read(kind, tmp_path):
    base, asked = vectors(300), vectors(5, seed=1)
    settings = IndexSettings(kind=kind)
    index = FaissIndex.build(base, settings, seed=1)
    index.write(tmp_path / "x.faiss")
    again = FaissIndex.read(tmp_path / "x.faiss", settings)
    assert again.search(asked, 7).tolist() == index.search(asked, 7).tolist()


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_built_twice_it_finds_the_same(kind):
    base, asked = vectors(1_000), vectors(20, seed=1)
    settings = IndexSettings(kind=kind, lists=20, probes=2)
    first, second = (FaissIndex.build(base, settings, seed=9).search(asked, 10) for _ in range(2))
    assert first.tolist() == second.tolist()


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
@pytest.mark.parametrize("count", [1, 3])
def test_hardly_any_vectors(kind, count, capfd):
    base = vectors(count)
    index = FaissIndex.build(base, IndexSettings(kind=kind))
    assert sorted(index.search(base[:1], count)[0].tolist()) == list(range(count))
    assert "WARNING" not in "".join(capfd.readouterr())


def test_lists_that_were_not_looked_into_leave_gaps():
    base = vectors(400)
    found = FaissIndex.build(base, IndexSettings(kind="ivf", lists=10, probes=1)).search(
        base[:3], 400
    )
    assert (found == -1).any()


def test_neither_faiss_installed_names_both_extras(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "faiss":
            raise ImportError("No module named 'faiss'")
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DependencyError, match=r"recfusion\[cpu\].*recfusion\[gpu\]"):
        import_faiss()


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValidationError, match="flat"):
        IndexSettings(kind="pq")
