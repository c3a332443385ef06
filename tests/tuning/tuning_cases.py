"""Windows and objectives that the tests of tuning share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from fusion_layer.pools import PAST, candidates_of, pool_of, random_candidates, window_of

from fusion.config_components import filled_component
from fusion.protocols import FitContext, Labelled
from fusion.tuning.objective import Objective
from fusion.tuning.space import Space

CONTEXT = FitContext(seed=3)
WEIGHTED = {"mode": "parallel", "method": {"name": "weighted_sum", "normalization": "z_score"}}


def space_of(
    models: Sequence[str],
    fusion: Mapping[str, Any] = WEIGHTED,
    space: Mapping[str, Any] | None = None,
    weights: bool = True,
) -> Space:
    params = filled_component("fusion", dict(fusion))
    return Space.of("fusion t", params, space or {}, weights, tuple(models))


def objective_of(
    *windows: Labelled, metric: str = "NDCG@10", folds: int = 2, **config: Any
) -> Objective:
    space = space_of(windows[-1].pool.models, **config)
    return Objective("t", windows, space, metric, CONTEXT, folds)


def ragged_window(seed: int = 0, levels: int = 0, n: int = 40) -> Labelled:
    """Lists of all lengths, missing scores, ties if ``levels``, targets that are not listed."""
    rng = np.random.default_rng(seed)
    lists = random_candidates(rng, n_queries=n, n_items=50, levels=levels)
    pool = pool_of(lists, n_items=50)
    queries = replace(pool.queries, users=(np.arange(n) // 2).astype(np.int32))
    targets = rng.integers(0, 50, n).astype(np.int32)
    return Labelled(replace(pool, queries=queries), targets, PAST, dict.fromkeys("abc", PAST))


def tiny_window() -> Labelled:
    """Two models, three queries; item 1 is the target of each. By `method: weighted_sum` over
    `min_max`, with share ``w`` of model a:

    - query 0: the target's lead over item 2 is ``w * 1 + (1 - w) * -1 = 2 w - 1``: first if w > .5
    - query 1: ``w * -0.5 + (1 - w) * 1``: first if w < 2/3
    - query 2: the target is not listed
    """
    lists = candidates_of(
        [
            {1: (1, 0), 2: (0, 1)},
            {1: (0.5, 1), 2: (1, 0), 3: (0, 0)},
            {4: (0, 1), 5: (1, 0)},
        ]
    )
    pool = pool_of(lists)
    queries = replace(pool.queries, users=np.arange(3, dtype=np.int32))
    targets = np.array([1, 1, 1], np.int32)
    return Labelled(replace(pool, queries=queries), targets, PAST, dict.fromkeys("ab", PAST))


MIN_MAX = {"mode": "parallel", "method": {"name": "weighted_sum", "normalization": "min_max"}}

__all__ = [
    "CONTEXT",
    "MIN_MAX",
    "WEIGHTED",
    "objective_of",
    "ragged_window",
    "space_of",
    "tiny_window",
    "window_of",
]
