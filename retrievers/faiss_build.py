"""Making a FAISS index: trained on a sample, filled a piece at a time, the same for the same seed.

- inverted lists: Jégou, Douze, Schmid, Product Quantization for Nearest Neighbor Search, TPAMI
  2011, section 4;
- 4-bit codes scanned with tables in SIMD registers: André, Kermarrec, Le Scouarnec, Quicker ADC:
  Unlocking the Hidden Potential of Product Quantization with SIMD, TPAMI 2021;
- the graph: Malkov, Yashunin, Efficient and Robust Approximate Nearest Neighbor Search Using
  Hierarchical Navigable Small World Graphs, TPAMI 2020.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.errors import ConfigError, explain
from retrievers.dense_store import CHUNK, VectorStore
from retrievers.faiss_settings import BuiltKind, IndexSettings, import_faiss

__all__ = ["fill", "make_index"]

#: k-means wants this many vectors a centroid, and takes no more than 256 (`ClusteringParameters`)
_PER_LIST = 39
#: vectors that codes are trained on; more changes nothing that was measured
_SAMPLE = 16_384


def make_index(store: VectorStore, kind: BuiltKind, settings: IndexSettings, seed: int) -> Any:
    """A faiss index by inner product over the rows of ``store``, whose labels are row numbers.

    Raises:
        ConfigError: ``codes`` does not divide the dimensions.
    """
    faiss = import_faiss()
    count, lists = len(store), 0
    if kind in ("ivf", "ivf_pq"):
        lists = max(1, min(settings.lists or int(4 * count**0.5), count // _PER_LIST))
    index = faiss.index_factory(
        store.width, _recipe(kind, settings, store.width, lists), faiss.METRIC_INNER_PRODUCT
    )
    if kind == "hnsw":
        index.hnsw.efConstruction = settings.ef_construction
    if lists:
        index.cp.seed = seed % 2**31
        # fewer than 39 vectors in all: one list needs no k-means worth a warning
        index.cp.min_points_per_centroid = min(_PER_LIST, max(1, count // lists))
    if kind in ("pq", "ivf_pq"):
        index.pq.cp.seed = seed % 2**31
    if not index.is_trained:
        index.train(_sample(store, max(_SAMPLE, _PER_LIST * lists), seed))
    fill(index, kind, store, np.arange(count, dtype=np.int64))
    return index


def _recipe(kind: BuiltKind, settings: IndexSettings, width: int, lists: int) -> str:
    """What faiss's ``index_factory`` calls it."""
    if kind in ("flat", "sq"):
        return {"flat": "Flat", "sq": "SQ8"}[kind]
    if kind in ("pq", "ivf_pq"):
        codes = settings.codes or width
        if width % codes:
            raise ConfigError(
                explain("index.codes", f"a divisor of the {width} dimensions", str(codes))
            )
        return f"IVF{lists},PQ{codes}x4fs" if lists else f"PQ{codes}x4fs"
    codec = "SQ8" if settings.codec == "sq8" else "Flat"
    return f"IVF{lists},{codec}" if lists else f"HNSW{settings.neighbours},{codec}"


def _sample(store: VectorStore, most: int, seed: int) -> npt.NDArray[np.float32]:
    if len(store) <= most:
        return np.ascontiguousarray(store.block(0, len(store)))
    rows = np.random.default_rng(seed).choice(len(store), most, replace=False)
    return store.take(np.sort(rows))


def fill(index: Any, kind: BuiltKind, store: VectorStore, labels: npt.NDArray[np.int64]) -> None:
    """Add the rows ``labels`` (R,) of ``store``, a piece at a time, in that order."""
    with _one_thread(kind == "hnsw"):
        for at in range(0, len(labels), CHUNK):
            rows = labels[at : at + CHUNK]
            part = store.take(rows)
            if kind in ("ivf", "ivf_pq"):
                index.add_with_ids(part, rows)
            else:
                index.add(part)


@contextmanager
def _one_thread(on: bool) -> Iterator[None]:
    """A graph is built by one thread: with several its links depend on which is faster."""
    faiss = import_faiss()
    threads = faiss.omp_get_max_threads()
    if on:
        faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
