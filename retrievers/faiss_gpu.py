"""A FAISS index on one GPU or spread over several; the copy in main memory stays the master."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from retrievers.faiss_settings import BuiltKind, IndexSettings

__all__ = ["GPU_KINDS", "GPU_MOST", "cloner_options", "to_gpus"]

#: faiss has no GPU form of a graph, of a plain scan of 8-bit codes, or of 4-bit tables
GPU_KINDS = frozenset({"flat", "ivf"})
#: faiss's GPU kernels select at most so many neighbours (`GPU_MAX_SELECTION_K`)
GPU_MOST = 2048


def cloner_options(faiss: ModuleType, settings: IndexSettings) -> Any:
    """Faiss's `GpuMultipleClonerOptions`: shards, not copies; float16 for flat if it is wanted.

    Args:
        faiss: a build of it for GPUs.
    """
    options = faiss.GpuMultipleClonerOptions()
    options.shard = True  # each GPU holds a part: memory grows with the number of GPUs
    options.useFloat16 = settings.gpu_float16
    return options


def to_gpus(faiss: ModuleType, index: Any, kind: BuiltKind, settings: IndexSettings) -> Any | None:
    """A clone of ``index`` on every GPU that faiss sees; ``None`` where it stays on the CPU.

    Args:
        faiss: the module; a build for CPUs sees no GPU.
        index: in main memory.
    """
    if not settings.gpu or kind not in GPU_KINDS or faiss.get_num_gpus() == 0:
        return None
    return faiss.index_cpu_to_all_gpus(index, co=cloner_options(faiss, settings))
