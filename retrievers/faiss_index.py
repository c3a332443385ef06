"""A FAISS index over unit vectors: exact or approximate, on the GPU where there is one."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.errors import DependencyError, explain
from fusion.protocols import ComponentConfig

__all__ = ["FaissIndex", "IndexSettings", "import_faiss"]

#: faiss's GPU kernels select at most so many neighbours (`GPU_MAX_SELECTION_K`)
_GPU_MOST = 2048
#: k-means of an inverted file wants this many vectors a list; faiss's `ClusteringParameters`
_PER_LIST = 39


class IndexSettings(ComponentConfig):
    """Which index, and its knobs."""

    kind: Literal["flat", "ivf", "hnsw"] = Field(
        "flat", description="flat = exact; ivf = inverted lists; hnsw = a graph (CPU only)"
    )
    lists: int | None = Field(
        None, ge=1, description="ivf: number of lists; null = 4 times the root of the items"
    )
    probes: int = Field(16, ge=1, description="ivf: lists looked into")
    neighbours: int = Field(32, ge=2, description="hnsw: links of a node")
    ef_construction: int = Field(80, ge=1, description="hnsw: breadth while building")
    ef_search: int = Field(64, ge=1, description="hnsw: breadth while searching")
    gpu: bool = Field(True, description="use a GPU where faiss sees one")


def import_faiss() -> ModuleType:
    """The faiss module.

    Raises:
        DependencyError: neither build of it is installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise DependencyError(
            explain(
                "dense retriever",
                "faiss",
                "no installed build of it",
                "pip install 'recfusion[cpu]', or 'recfusion[gpu]' on a machine with CUDA",
            )
        ) from error
    module: ModuleType = faiss
    return module


class FaissIndex:
    """Vectors of length 1, searched by inner product.

    Args:
        index: a faiss index in main memory.
        settings: the same as it was built with.
    """

    def __init__(self, index: Any, settings: IndexSettings) -> None:
        faiss = import_faiss()
        self._cpu, self.settings = index, settings
        self._on_gpu = settings.gpu and settings.kind != "hnsw" and faiss.get_num_gpus() > 0
        if self._on_gpu:
            self._resources = faiss.StandardGpuResources()
            self._index = faiss.index_cpu_to_gpu(self._resources, 0, index)
        else:
            self._index = index

    @classmethod
    def build(
        cls, vectors: npt.NDArray[np.float32], settings: IndexSettings, *, seed: int = 0
    ) -> FaissIndex:
        """An index over vectors, whose row numbers are the labels.

        Args:
            vectors: (W, D) float32 of length 1, W at least 1.
            settings: what to build.
            seed: of the k-means behind an inverted file. A graph is built by one thread, since
                with several its links depend on which is faster.
        """
        faiss = import_faiss()
        count, size = vectors.shape
        vectors = np.ascontiguousarray(vectors)
        if settings.kind == "hnsw":
            index = faiss.IndexHNSWFlat(size, settings.neighbours, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = settings.ef_construction
            threads = faiss.omp_get_max_threads()
            faiss.omp_set_num_threads(1)
            try:
                index.add(vectors)
            finally:
                faiss.omp_set_num_threads(threads)
            return cls(index, settings)
        if settings.kind == "ivf":
            wanted = settings.lists or int(4 * count**0.5)
            lists = max(1, min(wanted, count // _PER_LIST))
            quantizer = faiss.IndexFlatIP(size)
            index = faiss.IndexIVFFlat(quantizer, size, lists, faiss.METRIC_INNER_PRODUCT)
            index.cp.seed = seed % 2**31
            # fewer than 39 vectors in all: one list needs no k-means worth a warning
            index.cp.min_points_per_centroid = min(_PER_LIST, max(1, count // lists))
            index.train(vectors)
        else:
            index = faiss.IndexFlatIP(size)
        index.add(vectors)
        return cls(index, settings)

    def __len__(self) -> int:
        return int(self._cpu.ntotal)

    @property
    def most(self) -> int:
        """The largest ``k`` that `search` takes."""
        return min(len(self), _GPU_MOST) if self._on_gpu else len(self)

    def search(self, queries: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
        """(Q, k) int64 row numbers of the ``k`` nearest, nearest first; -1 where fewer were found.

        Args:
            queries: (Q, D) float32.
            k: at most `most`.
        """
        settings = self.settings
        if settings.kind == "hnsw":
            self._index.hnsw.efSearch = max(settings.ef_search, k)
        elif settings.kind == "ivf":
            self._index.nprobe = min(settings.probes, int(self._index.nlist))
        _, labels = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), k)
        found: npt.NDArray[np.int64] = labels
        return found

    def write(self, path: Path) -> None:
        """Write faiss's own file; the copy in main memory is what is written."""
        import_faiss().write_index(self._cpu, str(path))

    @classmethod
    def read(cls, path: Path, settings: IndexSettings) -> FaissIndex:
        """What `write` wrote."""
        return cls(import_faiss().read_index(str(path)), settings)
