"""What asking each model costs, measured one query after the other."""

from __future__ import annotations

import time

import numpy as np

from fusion.engine import Engine
from fusion.protocols import Retriever
from fusion.queries import Queries

__all__ = ["model_costs"]


def model_costs(engine: Engine, queries: Queries, timed: int) -> dict[str, float]:
    """Median milliseconds, by model, of one query: its own list, then its score of every candidate.

    Args:
        engine: fitted.
        queries: to choose from, evenly; indexed by the engine's data.
        timed: how many are timed, after one that warms up; 0 = none, and nothing is known.
    """
    if timed == 0 or len(queries) == 0:
        return {}
    at = np.unique(np.linspace(0, len(queries) - 1, timed + 1).astype(np.int64))
    spent: dict[str, list[float]] = {name: [] for name in engine.models}
    for q in at:
        one = queries.take(np.array([q], np.int64))
        pool = engine.pool(one)
        union = pool.candidates()
        for name, model in engine.models.items():
            start = time.perf_counter()
            if isinstance(model, Retriever):
                model.retrieve(one, model.config.n)
            pool.complete(union, (name,))
            spent[name].append(1000 * (time.perf_counter() - start))
    return {name: float(np.median(times[1:] or times)) for name, times in spent.items()}
