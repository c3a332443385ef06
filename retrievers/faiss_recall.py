"""Recall of an index against exact search, and the cheapest setting that reaches what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fusion.errors import ConfigError, explain
from retrievers.dense_store import VectorStore
from retrievers.faiss_settings import BuiltKind, IndexSettings, import_faiss

__all__ = ["Knobs", "measure", "mixed_users", "nth_best", "refuse", "tune"]

#: how many queries recall is measured on: of 100 neighbours each, one in 1,000 is 26 of them
QUERIES = 256
#: equal vectors may stand for each other, and a sum may be rounded otherwise
_ROUNDING = 1e-5
#: vectors compared with all queries at once
_CHUNK = 65_536
#: knobs are doubled up to these
_MOST_REFINE, _MOST_BREADTH = 32, 4_096


@dataclass(frozen=True, slots=True)
class Knobs:
    """What may be changed of a built index: more is slower and finds more.

    Attributes:
        refine: this times the wanted number is found by codes and ordered by the true vectors.
        probes: lists looked into.
        breadth: hnsw's ``efSearch``, at least the wanted number.
        depth: neighbours that the others were tuned for; who wants fewer is searched as widely.
    """

    refine: int = 1
    probes: int = 1
    breadth: int = 1
    depth: int = 1


def mixed_users(
    store: VectorStore, count: int, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """(count, D) float32 of length 1: histories of one to five items drawn at random.

    Weights halve from item to item, as in `Dense` by default. Real histories hold items that are
    alike, so these users stand farther from all items than real ones do: a hard case.
    """
    rows = rng.integers(0, len(store), (count, 5))
    weights = 0.5 ** np.arange(5) * (np.arange(5) < rng.integers(1, 6, (count, 1)))
    users = np.einsum("qe,qed->qd", weights, store.take(rows.ravel()).reshape(count, 5, -1))
    out: npt.NDArray[np.float32] = users / np.linalg.norm(users, axis=1, keepdims=True)
    return out.astype(np.float32)


def nth_best(
    store: VectorStore, queries: npt.NDArray[np.float32], k: int
) -> npt.NDArray[np.float32]:
    """(Q,) float32: the inner product of each query's ``k``-th nearest row, by exact search."""
    faiss = import_faiss()
    best = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(store), _CHUNK):
        part = np.ascontiguousarray(store.block(start, min(start + _CHUNK, len(store))))
        near, _ = faiss.knn(queries, part, min(k, len(part)), faiss.METRIC_INNER_PRODUCT)
        best = -np.sort(-np.concatenate([best, near], axis=1), axis=1)[:, :k]
    worst: npt.NDArray[np.float32] = best[:, -1]
    return worst


def measure(
    found: npt.NDArray[np.int64],
    store: VectorStore,
    queries: npt.NDArray[np.float32],
    exact: npt.NDArray[np.float32],
) -> float:
    """The share of the true ``k`` nearest that was found, mean over queries.

    A row counts if it is as near as the ``k``-th of the exact search, so that of equal vectors
    any will do.

    Args:
        found: (Q, k) int64 rows of ``store``, none twice in a query; -1 = nothing.
        exact: (Q,) from `nth_best`.
    """
    hits = 0
    for row, query, least in zip(found, queries, exact, strict=True):
        scores = store.take(row[row >= 0]) @ query
        hits += int((scores >= least - _ROUNDING).sum())
    return hits / found.size


def tune(
    kind: BuiltKind,
    settings: IndexSettings,
    lists: int,
    depth: int,
    recall_of: Callable[[Knobs], float],
) -> Knobs:
    """The first knobs, from small to large, whose recall is ``settings.recall``; else the largest.

    What codes lose is made up first, looking everywhere; then it is tried to look at less.

    Args:
        lists: of the built index; 0 where there are none.
        depth: how many neighbours ``recall_of`` looks for.
        recall_of: measures; knobs that the settings fix are never varied.
    """
    breadth = settings.ef_search or _MOST_BREADTH
    knobs = Knobs(settings.refine or 1, settings.probes or max(lists, 1), breadth, depth)
    for name, values in _ladders(kind, settings, lists):
        for value in values:
            knobs = replace(knobs, **{name: value})
            if recall_of(knobs) >= settings.recall:
                break
    return knobs


def _ladders(
    kind: BuiltKind, settings: IndexSettings, lists: int
) -> Iterator[tuple[str, Iterator[int]]]:
    coded = kind in ("pq", "ivf_pq", "sq") or (kind in ("ivf", "hnsw") and settings.codec == "sq8")
    if coded and settings.refine is None:
        yield "refine", _doubling(1, _MOST_REFINE)
    if lists and settings.probes is None:
        yield "probes", _doubling(max(1, lists // 64), lists)
    if kind == "hnsw" and settings.ef_search is None:
        yield "breadth", _doubling(16, _MOST_BREADTH)


def _doubling(start: int, most: int) -> Iterator[int]:
    while start < most:
        yield start
        start *= 2
    yield most


def refuse(kind: BuiltKind, recall: float, settings: IndexSettings) -> ConfigError:
    """The error for an index that finds too little."""
    raise_what = {
        "ivf": "index.probes (up to all lists)",
        "ivf_pq": "index.probes (up to all lists), index.refine or index.codes",
        "hnsw": "index.ef_search, index.neighbours or index.ef_construction",
        "pq": "index.refine or index.codes",
        "sq": "index.refine",
        "flat": "index.gpu_float16: false",
    }[kind]
    return ConfigError(
        explain(
            f"index of kind {kind}",
            f"a recall of at least {settings.min_recall:g} (index.min_recall)",
            f"{recall:.4f} against exact search",
            f"raise {raise_what}, or take kind: auto, or lower the floor",
        )
    )
