"""No GPU is needed: what faiss is asked for is looked at, not what it does."""

from types import SimpleNamespace

import numpy as np
import pytest

from retrievers import faiss_gpu
from retrievers.faiss_gpu import cloner_options, to_gpus
from retrievers.faiss_index import FaissIndex
from retrievers.faiss_settings import IndexSettings, choose_kind

pytest.importorskip("faiss")


def fake(gpus: int) -> SimpleNamespace:
    """As much of a GPU build of faiss as is asked."""
    return SimpleNamespace(
        get_num_gpus=lambda: gpus,
        GpuMultipleClonerOptions=SimpleNamespace,
        index_cpu_to_all_gpus=lambda index, co: ("clone", index, co),
    )


def test_the_options_shard_and_keep_float16_if_wanted():
    for wanted in (False, True):
        options = cloner_options(fake(2), IndexSettings(gpu_float16=wanted))
        assert (options.shard, options.useFloat16) == (True, wanted)


@pytest.mark.parametrize("gpus", [1, 4])
@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_kinds_with_a_gpu_form_are_cloned(kind, gpus):
    made, index, options = to_gpus(fake(gpus), "index", kind, IndexSettings(gpu_float16=True))
    assert (made, index, options.useFloat16) == ("clone", "index", True)


@pytest.mark.parametrize(
    ("gpus", "kind", "wanted"),
    [(0, "flat", True), (2, "flat", False), (2, "hnsw", True), (2, "pq", True), (2, "sq", True)],
)
def test_others_stay_in_main_memory(gpus, kind, wanted):
    assert to_gpus(fake(gpus), "index", kind, IndexSettings(gpu=wanted)) is None


@pytest.mark.parametrize(
    ("count", "gpus", "kind"),
    [
        (20_000, 0, "flat"),
        (20_001, 0, "pq"),
        (10**7, 0, "ivf_pq"),
        (10**6, 1, "flat"),
        (10**7, 1, "ivf"),
        (10**7, 4, "flat"),
    ],
)
def test_auto_goes_by_size_and_hardware(count, gpus, kind):
    assert choose_kind(IndexSettings(), count, gpus) == kind
    if gpus:
        assert choose_kind(IndexSettings(gpu=False), count, gpus) == choose_kind(
            IndexSettings(), count, 0
        )


def test_a_clone_answers_and_is_made_anew_after_a_change(monkeypatch):
    """The clone here is the index itself; a search for more than it takes is not its business."""
    made = []

    def clone(faiss, index, kind, wanted):
        made.append(index.ntotal)
        return index

    monkeypatch.setattr("retrievers.faiss_index.to_gpus", clone)
    monkeypatch.setattr("retrievers.faiss_index.GPU_MOST", 16)
    base = np.eye(30, dtype=np.float32)
    index = FaissIndex.build(base, IndexSettings(kind="flat", gpu_float16=True), k=5)
    assert index.most == 16
    assert index.recall == 1.0  # measured through the clone, ties count
    index.add(base[:2])
    index.remove(np.array([0]))
    assert made[-2:] == [32, 31]
    assert index.search(base[:1], 1).tolist() == [[30]]
    assert faiss_gpu.GPU_MOST == 2048
