import builtins
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fusion.errors import ConfigError, DataError, DependencyError
from fusion.work import counting
from retrievers.dense_store import VectorStore
from retrievers.faiss_index import FaissIndex, IndexSettings, import_faiss

faiss = pytest.importorskip("faiss")

KINDS = ["flat", "sq", "pq", "ivf", "ivf_pq", "hnsw"]


def vectors(count: int, size: int = 16, seed: int = 0) -> np.ndarray:
    """Clustered, as embeddings are; length 1."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(20, size))
    points = centres[rng.integers(0, 20, count)] + 0.6 * rng.normal(size=(count, size))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


BASE, ASKED = vectors(2_000), vectors(20, seed=1)


def exact(queries: np.ndarray, base: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(-(queries @ base.T), axis=1, kind="stable")[:, :k]


def recall(found: np.ndarray, expected: np.ndarray) -> float:
    k = expected.shape[1]
    return float(np.mean([len(set(f) & set(e)) / k for f, e in zip(found, expected, strict=True)]))


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def built(kind, tmp_path_factory):
    """A function that gives a fresh copy of an index over `BASE`."""
    folder = tmp_path_factory.mktemp(kind)
    wanted = IndexSettings(kind=kind)
    index = FaissIndex.build(BASE, wanted, seed=5, k=20)
    index.write(folder / "x.faiss")
    index.store.write(folder / "v.safetensors")

    def again() -> FaissIndex:
        store = VectorStore.read(folder / "v.safetensors")
        return FaissIndex.read(folder / "x.faiss", wanted, store)

    again.original = index
    return again


def test_every_kind_is_tuned_to_the_recall_wanted(built, kind):
    index = built.original
    assert index.kind == kind
    assert index.recall >= 0.99
    assert recall(index.search(ASKED, 20), exact(ASKED, BASE, 20)) >= 0.95
    assert recall(index.search(ASKED, 5), exact(ASKED, BASE, 5)) >= 0.95  # fewer: not worse


def test_flat_is_the_exact_reference():
    index = FaissIndex.build(BASE, IndexSettings(kind="flat"))
    assert index.search(ASKED, 10).tolist() == exact(ASKED, BASE, 10).tolist()
    assert len(index) == 2_000
    assert index.recall == 1.0


def test_a_read_index_finds_the_same_and_knows_its_recall(built):
    index, original = built(), built.original
    assert index.search(ASKED, 7).tolist() == original.search(ASKED, 7).tolist()
    assert (index.recall, index.knobs, index.kind) == (
        original.recall,
        original.knobs,
        original.kind,
    )


def test_what_is_removed_never_comes_back_and_what_is_added_is_found(built, kind, tmp_path):
    index = built()
    gone = built.original.search(ASKED, 3)[:, 0]  # everybody's nearest
    index.remove(gone)
    added = index.add(ASKED[:5])  # each is its own nearest
    index.remove(np.array([7]) if 7 not in gone else np.array([], int))
    assert added.tolist() == list(range(2_000, 2_005))
    found = index.search(ASKED, 20)
    assert not np.isin(found, [*gone, 7]).any()
    assert found[:5, 0].tolist() == added.tolist()
    assert len(index) == len(index.labels) == 2_005 - len(np.union1d(gone, [7]))
    index.write(tmp_path / "y.faiss")
    again = FaissIndex.read(tmp_path / "y.faiss", index.settings, index.store)
    assert again.search(ASKED, 20).tolist() == found.tolist()
    held = index.labels
    expected = held[exact(ASKED, index.store.take(held), 20)]
    assert recall(found, expected) >= 0.93


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 8)), min_size=1, max_size=6))
def test_a_changed_flat_index_is_a_rebuilt_one(changes):
    rng = np.random.default_rng(len(changes))
    index = FaissIndex.build(BASE[:50], IndexSettings(kind="flat"))
    for adds, many in changes:
        if adds:
            index.add(vectors(many, seed=many))
        else:
            index.remove(rng.choice(index.labels, many, replace=False))
    held = index.labels
    rebuilt = FaissIndex.build(index.store.take(held), IndexSettings(kind="flat"))
    k = min(10, len(index))
    expected = held[rebuilt.search(ASKED, k)]
    scores = np.einsum("qkd,qd->qk", index.store.take(expected.ravel()).reshape(20, k, -1), ASKED)
    found = index.search(ASKED, k)
    same = np.einsum("qkd,qd->qk", index.store.take(found.ravel()).reshape(20, k, -1), ASKED)
    np.testing.assert_allclose(same, scores, atol=1e-6)  # added twice = equal, in any order


def test_bad_changes_are_refused(built):
    index = built()
    with pytest.raises(DataError, match="labels that it holds"):
        index.remove(np.array([3, 2_000]))
    index.remove(np.array([3]))
    with pytest.raises(DataError, match="3"):
        index.remove(np.array([3]))
    with pytest.raises(DataError, match="16 dimensions"):
        index.add(np.ones((2, 4), np.float32))


@pytest.mark.parametrize(
    ("knobs", "raise_what"),
    [
        ({"kind": "ivf", "lists": 40, "probes": 1}, "index.probes"),
        ({"kind": "hnsw", "neighbours": 2, "ef_search": 1, "ef_construction": 1}, "index.ef_se"),
        ({"kind": "pq", "codes": 2, "refine": 1}, "index.refine"),
    ],
)
def test_an_index_that_finds_too_little_is_refused(knobs, raise_what):
    wanted = IndexSettings(**knobs, min_recall=0.98)
    with pytest.raises(ConfigError, match=rf"0\.98 .*got 0\.\d+ .*raise {raise_what}"):
        FaissIndex.build(BASE, wanted)
    low = FaissIndex.build(BASE, IndexSettings(**knobs, min_recall=0))
    assert low.recall < 0.98


def test_recall_is_measured_with_the_queries_given():
    wanted = IndexSettings(kind="ivf", lists=40, probes=4, min_recall=0)
    easy = FaissIndex.build(BASE, wanted, queries=BASE[:50], k=1)  # its own nearest
    assert easy.recall == 1.0
    asked = vectors(30, seed=2)
    index = FaissIndex.build(BASE, wanted, queries=asked, k=10)
    assert index.recall == pytest.approx(recall(index.search(asked, 10), exact(asked, BASE, 10)))


def test_of_equal_vectors_any_counts_as_found():
    base = np.repeat(BASE[:40], 50, axis=0)  # each fifty times
    index = FaissIndex.build(base, IndexSettings(kind="hnsw", min_recall=0), k=10)
    assert index.recall > 0.9


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "pq", "ivf_pq"])
def test_built_twice_it_finds_the_same(kind):
    wanted = IndexSettings(kind=kind, lists=20, probes=2, min_recall=0)
    first, second = (
        FaissIndex.build(BASE[:1_100], wanted, seed=9).search(ASKED, 10) for _ in range(2)
    )
    assert first.tolist() == second.tolist()


@pytest.mark.parametrize("kind", [*KINDS, "auto"])
@pytest.mark.parametrize("count", [1, 3])
def test_hardly_any_vectors(kind, count, capfd):
    base = vectors(count)
    index = FaissIndex.build(base, IndexSettings(kind=kind))
    assert sorted(index.search(base[:1], count)[0].tolist()) == list(range(count))
    assert "WARNING" not in "".join(capfd.readouterr())


def test_lists_that_were_not_looked_into_leave_gaps():
    wanted = IndexSettings(kind="ivf", lists=10, probes=1, min_recall=0)
    index = FaissIndex.build(BASE[:400], wanted)
    assert (index.search(BASE[:3], 400) == -1).any()


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_eight_bits_a_number_take_less_room(kind):
    sizes = {}
    for codec in ("float32", "sq8"):
        index = FaissIndex.build(vectors(2_000, 64), IndexSettings(kind=kind, codec=codec), k=10)
        assert index.recall >= 0.99
        sizes[codec] = index.nbytes
    # 64 numbers of 3 bytes less, and a little for their ranges
    assert sizes["float32"] - sizes["sq8"] == pytest.approx(2_000 * 64 * 3, rel=0.01)


def test_float16_vectors_are_taken_as_they_are():
    index = FaissIndex.build(BASE.astype(np.float16), IndexSettings(kind="flat"))
    assert recall(index.search(ASKED, 20), exact(ASKED, BASE, 20)) > 0.98


def test_the_work_of_a_search_is_counted():
    with counting() as flat:
        FaissIndex.build(BASE, IndexSettings(kind="flat")).search(ASKED, 10)
    assert flat.counts == {"flops": 2.0 * 20 * 2_000 * 16}  # every pair, 16 multiply-adds
    index = FaissIndex.build(BASE, IndexSettings(kind="pq", refine=4), k=5)
    with counting() as coded:
        index.search(ASKED, 5)
    pairs = 20 * 5 * 4
    assert coded.counts == {"flops": 2.0 * pairs * 16, "bytes": pairs * 16 * 4}


def test_codes_must_divide_the_dimensions():
    with pytest.raises(ConfigError, match="divisor of the 16 dimensions"):
        FaissIndex.build(BASE, IndexSettings(kind="pq", codes=5))


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


def test_a_gpu_build_without_its_cuda_libraries_is_a_dependency_that_is_missing(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "faiss":  # what faiss-gpu 1.15 raises on import
            raise RuntimeError("faiss-gpu installed but nvidia-cublas-cu12 is missing")
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DependencyError, match=r"nvidia-cublas-cu12 is missing.*recfusion\[cpu\]"):
        import_faiss()


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValidationError, match="flat"):
        IndexSettings(kind="nsg")


def test_a_mapped_index_can_be_saved_elsewhere_and_outlives_its_file(built, tmp_path):
    index = built()
    index.write(tmp_path / "one.faiss")
    mapped = FaissIndex.read(tmp_path / "one.faiss", index.settings, index.store)
    mapped.write(tmp_path / "two.faiss")
    (tmp_path / "one.faiss").unlink()
    again = FaissIndex.read(tmp_path / "two.faiss", index.settings, index.store)
    mapped.remove(np.array([1]))  # read into memory from the mapping, not from the name
    expected = index.search(ASKED, 20)
    assert again.search(ASKED, 20).tolist() == expected.tolist()
    assert not (mapped.search(ASKED, 20) == 1).any()
