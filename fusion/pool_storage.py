"""A `StoredPool` as two files of a folder, so that no model is asked twice for the same scores."""

from __future__ import annotations

from pathlib import Path

from fusion.artifacts import read_arrays, read_json, write_arrays, write_json
from fusion.candidates import Candidates
from fusion.pool import StoredPool
from fusion.queries import Queries
from fusion.ragged import Ragged

__all__ = ["load_pool", "save_pool"]


def save_pool(folder: Path, pool: StoredPool) -> None:
    """Write ``pool`` into ``folder``."""
    queries = pool.queries
    write_arrays(
        folder / "pool.safetensors",
        {
            "popularity": pool.popularity,
            "history_offsets": queries.history.offsets,
            "history_items": queries.history.values,
            "excluded_offsets": queries.excluded.offsets,
            "excluded_items": queries.excluded.values,
            "times": queries.times,
            "ratings": queries.ratings,
            "users": queries.users,
            "now": queries.now,
            "offsets": pool.union.offsets,
            "items": pool.union.items,
            "union_scores": pool.union.scores,
            "union_why": pool.union.why,
            "scores": pool.completed.scores,
            "why": pool.completed.why,
        },
    )
    write_json(
        folder / "pool.json",
        {"retrievers": list(pool.union.models), "models": list(pool.completed.models)},
    )


def load_pool(folder: Path) -> StoredPool:
    """What `save_pool` wrote."""
    a, meta = read_arrays(folder / "pool.safetensors"), read_json(folder / "pool.json")
    history = Ragged(a["history_offsets"], a["history_items"])
    excluded = Ragged(a["excluded_offsets"], a["excluded_items"])
    queries = Queries(history, a["times"], a["ratings"], a["users"], a["now"], excluded)
    retrievers = tuple(meta["retrievers"])
    union = Candidates(a["offsets"], a["items"], a["union_scores"], retrievers, a["union_why"])
    completed = Candidates(a["offsets"], a["items"], a["scores"], tuple(meta["models"]), a["why"])
    return StoredPool(queries, union, completed, a["popularity"])
