"""A FAISS index over unit vectors: exact or approximate, its recall known, changed in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.artifacts import read_arrays, read_json, write_arrays, write_json
from fusion.errors import DataError, explain
from fusion.work import count
from retrievers.dense_store import VectorStore
from retrievers.faiss_build import fill, make_index
from retrievers.faiss_gpu import GPU_MOST, to_gpus
from retrievers.faiss_recall import QUERIES, Knobs, measure, mixed_users, nth_best, refuse, tune
from retrievers.faiss_settings import BuiltKind, IndexSettings, choose_kind, import_faiss

__all__ = ["FaissIndex", "IndexSettings", "import_faiss"]

#: recall is measured for so many neighbours unless another number is asked for
_DEPTH = 100
#: kinds with inverted lists: they keep labels themselves
_LISTED = ("ivf", "ivf_pq")


class FaissIndex:
    """Vectors of length 1, searched by inner product; a label is a row of the vector store.

    What an index of codes finds is ordered by the true vectors. Labels are never used twice:
    `add` gives new ones, and what `remove` took never comes back.

    Attributes:
        kind: what was built (``auto`` decided, small catalogues are flat).
        settings: what it was built with.
        store: the true vectors, which faiss's file does not hold.
        knobs: what was tuned.
        recall: measured when built, in [0, 1]: share of the exact nearest found; 1 for ``flat``.
    """

    def __init__(
        self,
        index: Any,
        store: VectorStore,
        kind: BuiltKind,
        settings: IndexSettings,
        knobs: Knobs,
        recall: float,
    ) -> None:
        self._cpu, self.store, self.kind, self.settings = index, store, kind, settings
        self.knobs, self.recall = knobs, recall
        self._gpu: Any = None
        self._held = np.ones(len(store), bool)  # by label: whether it may be found
        self._labels: npt.NDArray[np.int64] | None = None  # of faiss's positions, where they differ
        self._stale = False  # whether codes must be written anew before more are added
        self._mapped = False  # whether faiss's arrays lie in a mapped file

    @classmethod
    def build(
        cls,
        vectors: npt.NDArray[Any] | VectorStore,
        settings: IndexSettings,
        *,
        seed: int = 0,
        queries: npt.NDArray[np.float32] | Callable[[], npt.NDArray[np.float32]] | None = None,
        k: int = _DEPTH,
    ) -> FaissIndex:
        """An index over vectors, whose row numbers are the labels; tuned and measured.

        Args:
            vectors: (W, D) float32 or float16 of length 1, W at least 1; may be memory-mapped.
            settings: what to build, and what recall to aim at.
            seed: of the k-means behind codes and lists, and of the queries drawn.
            queries: (Q, D) float32 of length 1 to measure recall with, or a function that gives
                them, which is not called for an exact index; default: `mixed_users`.
            k: how many neighbours recall is measured for.

        Raises:
            ConfigError: the recall is below ``settings.min_recall``, whatever the knobs.
        """
        faiss = import_faiss()
        store = vectors if isinstance(vectors, VectorStore) else VectorStore(vectors)
        kind = choose_kind(settings, len(store), faiss.get_num_gpus())
        out = cls(make_index(store, kind, settings, seed), store, kind, settings, Knobs(), 1.0)
        if kind == "flat":
            out._clone()
            if out._gpu is None or not settings.gpu_float16:
                return out
        if queries is None:
            queries = mixed_users(store, QUERIES, np.random.default_rng([seed, QUERIES]))
        asked = np.ascontiguousarray(queries() if callable(queries) else queries, np.float32)
        k = min(k, out.most)
        exact = nth_best(store, asked, k)

        def recall_of(knobs: Knobs) -> float:
            out.knobs = knobs
            return measure(out.search(asked, k), store, asked, exact)

        lists = int(out._cpu.nlist) if kind in _LISTED else 0
        out.knobs = tune(kind, settings, lists, k, recall_of)  # in main memory, also for a GPU
        out._clone()
        out.recall = recall_of(out.knobs)
        if out.recall < settings.min_recall:
            raise refuse(kind, out.recall, settings)
        return out

    def _clone(self) -> None:
        """Put a copy on the GPUs, if any; it takes over the knobs that are set."""
        self._set_knobs(1)
        self._gpu = to_gpus(import_faiss(), self._cpu, self.kind, self.settings)

    def __len__(self) -> int:
        return int(self._held.sum())

    @property
    def most(self) -> int:
        """The largest ``k`` that `search` takes."""
        return len(self) if self._gpu is None else min(len(self), GPU_MOST)

    @property
    def nbytes(self) -> int:
        """Bytes of faiss's own file: what it takes in memory, the true vectors not counted."""
        faiss, total = import_faiss(), 0

        def add(part: bytes) -> None:
            nonlocal total
            total += len(part)

        faiss.write_index(self._cpu, faiss.PyCallbackIOWriter(add, 2**20))
        return total

    def search(self, queries: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
        """(Q, k) int64 labels of the ``k`` nearest, nearest first; -1 where fewer were found.

        Counts ``bytes`` of true vectors read and the ``flops`` of comparing with them; for
        ``flat``, of the scan.

        Args:
            queries: (Q, D) float32 of length 1.
            k: at most `most`.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        wide = k
        if self.knobs.refine > 1:
            wide = min(max(k, self.knobs.depth) * self.knobs.refine, self.most)
        self._set_knobs(wide)
        _, found = (self._cpu if self._gpu is None else self._gpu).search(
            queries, wide, params=self._alive()
        )  # inner products, (Q, wide) labels or positions
        if self._labels is not None:
            found = np.where(found >= 0, self._labels[found], -1)
        if self.kind == "flat":
            count(flops=2.0 * len(queries) * self._cpu.ntotal * self.store.width)
        if self.knobs.refine > 1:
            found = self._refined(queries, found, k)
        out: npt.NDArray[np.int64] = found[:, :k]
        return out

    def _refined(
        self, queries: npt.NDArray[np.float32], found: npt.NDArray[np.int64], k: int
    ) -> npt.NDArray[np.int64]:
        """Each query's ``k`` best of ``found`` (Q, wide) by the true vectors."""
        out = np.full((len(found), k), -1, np.int64)
        for query, labels, to in zip(queries, found, out, strict=True):
            row = labels[labels >= 0]
            scores = self.store.take(row) @ query
            best = np.arange(len(row))
            if k < len(row):
                best = np.argpartition(scores, len(row) - k)[len(row) - k :]
            best = best[np.lexsort((row[best], -scores[best]))]
            to[: len(best)] = row[best]
        pairs = int((found >= 0).sum())
        count(
            flops=2.0 * pairs * self.store.width,
            bytes=float(pairs * self.store.width * self.store.dtype.itemsize),
        )
        return out

    def _set_knobs(self, wide: int) -> None:
        if self.kind == "hnsw":
            self._cpu.hnsw.efSearch = max(self.knobs.breadth, self.knobs.depth, wide)
        elif self.kind in _LISTED:
            self._cpu.nprobe = min(self.knobs.probes, int(self._cpu.nlist))

    def _alive(self) -> Any:
        """hnsw: search parameters that leave out what was removed; elsewhere it is not there."""
        if self.kind != "hnsw" or self._held.all():
            return None
        faiss = import_faiss()
        gone = faiss.IDSelectorBatch(np.flatnonzero(~self._held))
        breadth = int(self._cpu.hnsw.efSearch)
        return faiss.SearchParametersHNSW(sel=faiss.IDSelectorNot(gone), efSearch=breadth)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(len,) int64, rising: every label that may be found."""
        return np.flatnonzero(self._held)

    def add(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """Add vectors (R, D) of length 1 and give their labels (R,) int64.

        Codes and lists keep what they were trained on, and the recall is not measured anew: build
        again once most of the vectors are new.

        Raises:
            DataError: vectors of another shape.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.store.width:
            raise DataError(
                explain("index", f"vectors of {self.store.width} dimensions", str(vectors.shape))
            )
        self._own()
        first = len(self.store)
        self.store.append(vectors)
        labels = np.arange(first, len(self.store), dtype=np.int64)
        self._hold(np.concatenate([self._held, np.ones(len(vectors), bool)]))
        if self._stale:
            self._cpu.reset()
            self._stale = False
            fill(self._cpu, self.kind, self.store, self.labels)
        else:
            fill(self._cpu, self.kind, self.store, labels)
        self._clone()
        return labels

    def remove(self, labels: npt.NDArray[np.integer[Any]]) -> None:
        """Forget the vectors ``labels`` (R,); a graph only marks them, and still takes their room.

        Raises:
            DataError: a label that the index does not hold.
        """
        labels = np.unique(np.asarray(labels, np.int64))
        there = (labels >= 0) & (labels < len(self._held))
        there[there] = self._held[labels[there]]
        if not there.all():
            raise DataError(explain("index", "labels that it holds", str(labels[~there][:5])))
        self._own()
        if self.kind in _LISTED:
            self._cpu.remove_ids(labels)
        elif self.kind != "hnsw":  # what follows moves up, in the same order
            self._cpu.remove_ids(np.searchsorted(self.labels, labels))
        # faiss 1.15 packs new 4-bit codes over what the removed ones left, and mixes the two
        self._stale = self.kind in ("pq", "ivf_pq")
        held = self._held.copy()
        held[labels] = False
        self._hold(held)
        self._clone()

    def _hold(self, held: npt.NDArray[np.bool_]) -> None:
        self._held = held
        moved = self.kind not in _LISTED and self.kind != "hnsw" and not held.all()
        self._labels = np.flatnonzero(held) if moved else None

    def _own(self) -> None:
        """Have the index in memory: faiss ends the process if a mapped array is to grow."""
        if self._mapped:
            faiss = import_faiss()
            self._cpu, self._mapped = (
                faiss.deserialize_index(faiss.serialize_index(self._cpu)),
                False,
            )

    def write(self, path: Path) -> None:
        """Write faiss's own file (from main memory) and, beside it, what else `read` needs.

        The true vectors are not written; `VectorStore.write` does that.
        """
        import_faiss().write_index(self._cpu, str(path))
        about = {"kind": self.kind, "recall": self.recall, "knobs": asdict(self.knobs)}
        write_json(path.with_suffix(".json"), about)
        write_arrays(path.with_suffix(".held.safetensors"), {"held": self._held})

    @classmethod
    def read(cls, path: Path, settings: IndexSettings, store: VectorStore) -> FaissIndex:
        """What `write` wrote, memory-mapped where faiss can; 4-bit codes are read.

        Args:
            path: as `write` was told; it must stay in place while the index is used.
            settings: as it was built with.
            store: the same rows as when it was written.
        """
        faiss = import_faiss()
        about = read_json(path.with_suffix(".json"))
        kind, knobs = about["kind"], Knobs(**about["knobs"])
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        out = cls(index, store, kind, settings, knobs, float(about["recall"]))
        out._mapped = True
        out._hold(read_arrays(path.with_suffix(".held.safetensors"))["held"])
        out._stale = kind in ("pq", "ivf_pq") and not out._held.all()
        out._clone()
        return out
