"""Which FAISS index: the settings, and what ``auto`` means for a catalogue of some size."""

from __future__ import annotations

from types import ModuleType
from typing import Literal

from pydantic import Field

from fusion.errors import DependencyError, explain
from fusion.protocols import ComponentConfig

__all__ = ["BuiltKind", "IndexSettings", "choose_kind", "import_faiss"]

BuiltKind = Literal["flat", "ivf", "ivf_pq", "hnsw", "sq", "pq"]

#: measured on two CPU cores with MiniLM vectors: a scan of so many is a small part of a request
_FLAT_MOST = 20_000
#: above, even a scan of 4-bit codes reads a gigabyte for each query (384 dimensions). Below, lists
#: of codes beat it where vectors are clustered, but lose to it where they are not (measured on
#: 100,000; the threshold itself is by memory traffic, not by measurement)
_PQ_MOST = 5_000_000
#: fewer vectors than 16 centroids can be trained on without a warning (39 each), and some room
_PQ_LEAST = 1_000
#: what one GPU scans in float16 out of 3 GB, at 384 dimensions
_FLAT_MOST_GPU = 4_000_000


class IndexSettings(ComponentConfig):
    """Which index, how good it must be, and its knobs.

    What is ``null`` among ``probes``, ``ef_search`` and ``refine`` is tuned when the index is
    built: doubled until the measured recall reaches ``recall``.
    """

    kind: Literal["auto", "flat", "ivf", "ivf_pq", "hnsw", "sq", "pq"] = Field(
        "auto",
        description="auto = by the number of vectors; flat = exact; pq = a scan of 4-bit codes; "
        "sq = a scan of 8-bit codes; ivf = inverted lists; ivf_pq = inverted lists of 4-bit codes; "
        "hnsw = a graph (CPU only)",
    )
    recall: float = Field(
        0.99, gt=0, le=1, description="what tuning aims at: share of the exact nearest found"
    )
    min_recall: float = Field(
        0.95, ge=0, le=1, description="an index that finds less when built is refused"
    )
    codec: Literal["float32", "sq8"] = Field(
        "float32", description="ivf, hnsw: how vectors stand in the index"
    )
    codes: int | None = Field(
        None,
        ge=1,
        description="pq, ivf_pq: 4-bit numbers that stand for a vector; must divide its "
        "dimensions; null = as many as dimensions",
    )
    refine: int | None = Field(
        None,
        ge=1,
        description="pq, ivf_pq, sq, codec sq8: this times the wanted number is found by codes "
        "and ordered by the true vectors; null = tuned",
    )
    lists: int | None = Field(
        None, ge=1, description="ivf, ivf_pq: number of lists; null = 4 times the root of the items"
    )
    probes: int | None = Field(
        None, ge=1, description="ivf, ivf_pq: lists looked into; null = tuned"
    )
    neighbours: int = Field(32, ge=2, description="hnsw: links of a node")
    ef_construction: int = Field(80, ge=1, description="hnsw: breadth while building")
    ef_search: int | None = Field(
        None, ge=1, description="hnsw: breadth while searching; null = tuned"
    )
    gpu: bool = Field(True, description="use the GPUs that faiss sees; flat and ivf only")
    gpu_float16: bool = Field(
        False, description="flat on a GPU: half the memory; what is found is scored in float32"
    )


def choose_kind(settings: IndexSettings, count: int, gpus: int) -> BuiltKind:
    """The kind that is built for ``count`` vectors where faiss sees ``gpus`` GPUs.

    The CPU's thresholds were measured; those of the GPU are set by its memory. Codes of fewer than
    1,000 vectors are not worth their training: that index is flat.

    >>> [choose_kind(IndexSettings(), n, 0) for n in (20_000, 100_000, 10_000_000)]
    ['flat', 'pq', 'ivf_pq']
    """
    kind = settings.kind
    if kind == "auto":
        if settings.gpu and gpus:
            return "flat" if count <= gpus * _FLAT_MOST_GPU else "ivf"
        kind = "flat" if count <= _FLAT_MOST else "pq" if count <= _PQ_MOST else "ivf_pq"
    return "flat" if kind in ("pq", "ivf_pq") and count < _PQ_LEAST else kind


def import_faiss() -> ModuleType:
    """The faiss module.

    Raises:
        DependencyError: neither build of it is installed, or the one for GPUs does not find the
            CUDA libraries that it was built for.
    """
    try:
        import faiss
    except ImportError as error:
        raise _missing(
            "no installed build of it",
            "pip install 'recfusion[cpu]', or 'recfusion[gpu]' on a machine with CUDA",
        ) from error
    except (RuntimeError, OSError) as error:  # how faiss-gpu says that a library is not there
        raise _missing(
            str(error).splitlines()[0],
            "install what it names, or have the CPU build instead: pip uninstall faiss-gpu, then "
            "pip install 'recfusion[cpu]'",
        ) from error
    module: ModuleType = faiss
    return module


def _missing(got: str, do: str) -> DependencyError:
    return DependencyError(explain("dense retriever", "faiss", got, do))
