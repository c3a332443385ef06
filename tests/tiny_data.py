"""Small data with something to learn in it, for tests of any area."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

GENRES = ("crime", "comedy", "space", "war", "romance", "music")


def tiny_frames(
    n_users: int = 40, n_items: int = 30, events: int = 12, seed: int = 7
) -> tuple[pa.Table, pa.Table]:
    """Users who walk along one genre's items in order: there is something to learn."""
    rng = np.random.default_rng(seed)
    per_genre = n_items // len(GENRES)
    users, items, times, ratings = [], [], [], []
    for user in range(n_users):
        genre = user % len(GENRES)
        own = [genre * per_genre + (user + step) % per_genre for step in range(per_genre)]
        others = rng.permutation([i for i in range(n_items) if i not in own])
        chosen = [*own, *others][: min(events, n_items)]
        start = 1_000_000 + 1000 * user
        for step, item in enumerate(chosen):
            users.append(f"u{user}")
            items.append(f"i{item}")
            times.append(start + 60 * step)
            ratings.append(float(5 if item in own else rng.integers(1, 4)))
    interactions = pa.table(
        {"user_id": users, "item_id": items, "timestamp": times, "rating": ratings}
    )
    catalogue = pa.table(
        {
            "item_id": [f"i{i}" for i in range(n_items)],
            "title": [f"The {GENRES[min(i // per_genre, 5)]} story {i}" for i in range(n_items)],
            "categories": [[GENRES[min(i // per_genre, 5)]] for i in range(n_items)],
        }
    )
    return interactions, catalogue
