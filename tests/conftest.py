"""Fixtures that several areas share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fusion import Dataset

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the benchmark data in the publishers' layouts."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("RECFUSION_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"benchmark data not found at {folder}; set RECFUSION_DATA")
    return folder


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


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """40 users, 30 items, 12 events each, with time, ratings and text."""
    return Dataset.from_frames(*tiny_frames())
