"""Small lessons for stackers: views with labels, and `Learned` around each registered stacker."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from fusion_layer.pools import MemoryPool, window_of

from fusion.candidates import Candidates, Scores
from fusion.protocols import FitContext, Fused, Labelled, Provenance
from fusion.ragged import segment_rank
from fusion.registry import known, resolve
from fusion.stackers.base import Stacker, Teaching, View
from fusion.stackers.features import query_ages
from fusion.strategies.learned import Learned

NAMES = sorted(known("stackers"))
QUICK = {
    "n_estimators": 15,
    "early_stopping": 5,
    "folds": 2,
    "learning_rate": 0.2,
    "min_child_samples": 40,
    "num_threads": 1,
    "bags": 4,
    "steps": 8,
}
CONTEXT = FitContext(seed=3)


def settings(name: str, **more: Any) -> dict[str, Any]:
    """Those of `QUICK` and ``more`` that the stacker knows."""
    fields = resolve("stackers", name).Config.model_fields
    return {k: v for k, v in {**QUICK, **more}.items() if k in fields}


def learned(name: str, *windows: Labelled, seed: int = 3, **more: Any) -> Learned:
    """`Learned` with the stacker ``name``, fitted."""
    strategy = Learned({"stacker": {"name": name, **settings(name, **more)}}, name="learned")
    strategy.fit(windows, FitContext(seed=seed))
    return strategy


def stacker_of(name: str, **more: Any) -> Stacker:
    """Not fitted."""
    found = resolve("stackers", name)(settings(name, **more), name=name)
    assert isinstance(found, Stacker)
    return found


def pool_of_window(window: Labelled) -> MemoryPool:
    assert isinstance(window.pool, MemoryPool)
    return window.pool


def view_of(window: Labelled) -> View:
    pool = pool_of_window(window)
    return View(pool.union, pool.queries, pool.popularity, query_ages(pool.queries))


def lesson_of(window: Labelled) -> Teaching:
    """Every row teaches; every query has its target among its rows."""
    view = view_of(window)
    return Teaching.of((view,), window.labels(view.candidates))


def with_union(window: Labelled, union: Candidates) -> Labelled:
    return replace(window, pool=pool_of_window(window).with_union(union))


def with_column(
    window: Labelled, model: str, values: npt.ArrayLike, seen: Provenance | None
) -> Labelled:
    found = with_union(window, pool_of_window(window).union.with_scores(model, Scores.of(values)))
    return replace(found, provenance={**window.provenance, model: seen})


def shuffled(n: int, seed: int) -> Labelled:
    """A window whose targets have nothing to do with the scores."""
    window = window_of(n, seed=seed)
    union = pool_of_window(window).union
    rng = np.random.default_rng(seed + 100)
    rows = union.offsets[:-1] + rng.integers(0, union.lengths)
    return replace(window, targets=union.items[rows])


def ndcg(fused: Fused, targets: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """(Q,) NDCG@10 with one target a query."""
    candidates = fused.candidates
    _, rank = segment_rank(candidates.offsets, (candidates.items, -fused.scores))
    hit = (candidates.items == targets[candidates.rows]) & (rank <= 10)
    out = np.zeros(candidates.n_queries)
    out[candidates.rows[hit]] = 1 / np.log2(rank[hit] + 1)
    return out
