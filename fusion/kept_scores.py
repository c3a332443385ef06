"""Scores of many queries, written down while they are computed, so that a kill loses none."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np

from fusion.errors import ArtifactError
from fusion.persistence import open_folder, save_folder
from fusion.pool import LivePool
from fusion.pool_storage import load_pool, save_pool
from fusion.progress import track
from fusion.queries import Queries

__all__ = ["score_all", "scores_key"]

log = logging.getLogger(__name__)

#: queries after which the clock is looked at
_STEP = 512


def score_all(
    pool: LivePool, folder: Path | None, *, progress: bool = False, every: float = 120.0
) -> None:
    """Have every model score the whole union of ``pool``, from where an earlier run stopped.

    Args:
        pool: asked for every model's column, one model after the other.
        folder: where the scores are kept, and found; of these models and queries only, see
            `scores_key`. ``None`` = keep nothing.
        progress: show a bar a model.
        every: seconds between two savings at least; each writes all scores so far.

    Raises:
        ModelError: a model failed.
        DataError: ``folder`` holds the scores of other models or queries.

    What was altered on disk is scored again, with a warning.
    """
    if folder is not None and folder.is_dir():
        try:
            open_folder(folder)
            pool.recall(load_pool(folder))
        except ArtifactError as error:
            log.warning("scored again: %s", error)
    kept, saved = pool.answered, time.monotonic()
    union = pool.candidates()
    for name in pool.models:
        starts = range(0, len(pool.queries), _STEP)
        for start in track(starts, f"score {name}", total=len(starts), show=progress):
            part = (union.rows >= start) & (union.rows < start + _STEP)
            pool.complete(union.where(part), (name,))
            if folder is not None and time.monotonic() - saved >= every:
                kept = _save(pool, folder, kept)
                saved = time.monotonic()
    if folder is not None:
        _save(pool, folder, kept)


def scores_key(models: Mapping[str, str], queries: Queries) -> str:
    """What the scores of ``queries`` depend on, as 16 hexadecimal digits.

    Args:
        models: name -> identity of each fitted model, in the engine's order.
        queries: what is asked.
    """
    digest = sha256(repr(list(models.items())).encode())
    for array in (
        queries.history.offsets,
        queries.history.values,
        queries.excluded.offsets,
        queries.excluded.values,
        queries.times,
        queries.ratings,
        queries.users,
        queries.now,
    ):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _save(pool: LivePool, folder: Path, before: int) -> int:
    """Write what was said so far, unless it is what ``before`` answers were; how many there are."""
    if pool.answered == before:
        return before
    save_folder(folder, lambda to: save_pool(to, pool.so_far()), meta={"kind": "scores"})
    return pool.answered
