"""Out-of-window scores: the only thing that a learned fusion may learn from.

The newest events of the training data are held back as a window. Models fitted on the past of the
window score what came next, the fusion learns there, and the models are then fitted again on
everything. So no column ever comes from a model that had seen the label it stands beside.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion._version import FORMAT_VERSION, __version__
from fusion.artifacts import read_json, write_json
from fusion.config import StackingConfig
from fusion.data.dataset import Dataset
from fusion.data.splits import Split, leave_last_out, temporal
from fusion.errors import ArtifactError, DataError, explain
from fusion.evaluation.fingerprint import hash_queries
from fusion.persistence import open_folder, save_folder
from fusion.pool import StoredPool
from fusion.pool_storage import load_pool, save_pool
from fusion.protocols import FitContext, Labelled, Model, Provenance, Windows

__all__ = [
    "cached_window",
    "cut_window",
    "cut_windows",
    "load_windows",
    "popularity_share",
    "save_windows",
    "targets_of",
]


log = logging.getLogger(__name__)


def cut_windows(config: StackingConfig, data: Dataset, context: FitContext) -> list[Split]:
    """Hold back ``config.windows`` windows, each before the next one; the oldest comes first.

    A window is cut from the train side of the one after it, so no window's answers are among the
    events that its own models, or those of an older window, are fitted on. The newest window is the
    same however many there are. ``config.max_queries`` is for each window.

    Returns:
        As many splits as the data has events for, perhaps none. The train side of each is the past
        of its window and holds the train sides of those before it.

    Raises:
        DataError: temporal windows of data without timestamps.
    """
    found: list[Split] = []
    while len(found) < config.windows:
        try:
            split = cut_window(config, data, context, len(found))
        except DataError:
            if not found:
                raise
            break
        if split is None:
            break
        found.insert(0, split)
        data = split.train
    return found


def cut_window(
    config: StackingConfig, data: Dataset, context: FitContext, before: int = 0
) -> Split | None:
    """Hold back the window that ``config`` describes.

    Args:
        config: how.
        data: the events; those held back are the newest of them.
        context: draws ``max_queries``.
        before: the window is so many before the newest; each draws its own queries.

    Returns:
        A split whose queries each have one target, at most ``config.max_queries`` of them (drawn
        from the seed), or ``None`` where the data has not one event to hold back.
    """
    try:
        split = (
            temporal(data, fraction=config.fraction, events_per_user=config.events)
            if config.window == "temporal"
            else leave_last_out(data, events=config.events)
        )
    except DataError:
        if config.window == "temporal":
            raise
        return None
    if len(split.queries) == 0 or len(split.train) == 0:
        return None
    if config.max_queries is not None and len(split.queries) > config.max_queries:
        name = f"stacking window {-before}" if before else "stacking window"
        chosen = context.rng(name).choice(len(split.queries), config.max_queries, replace=False)
        split = split.take(np.sort(chosen))
    return split


def cached_window(
    models: Mapping[str, Model],
    split: Split,
    context: FitContext,
    before: str,
    score: Callable[[], Labelled],
) -> Labelled:
    """``score()``, or what it gave in an earlier run of the same models over the same window.

    Without ``context.workdir`` nothing is kept. A kept window that is damaged is scored again.

    Args:
        models: fitted on ``split.train``; their types and settings belong to the window's identity.
        split: the window.
        context: its seed and its working folder.
        before: fingerprint of the data the models were fitted on before ``split.train``, or "".
        score: asks the models; gives a window whose pool is a `StoredPool`.
    """
    if context.workdir is None:
        return score()
    who = [
        [
            name,
            f"{type(m).__module__}:{type(m).__qualname__}",
            json.loads(m.config.model_dump_json()),
        ]
        for name, m in models.items()
    ]
    asked = hash_queries(split.queries, split.targets)
    what = [who, split.train.fingerprint, before, asked, context.seed, __version__, FORMAT_VERSION]
    key = sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
    folder = context.workdir / "windows" / key
    if folder.is_dir():
        try:
            open_folder(folder)
            return _load_window(folder)
        except ArtifactError as error:
            log.warning("the window in %s is scored again: %s", folder, error)
    window = score()
    save_folder(folder, lambda to: _save_window(to, window), meta={"kind": "window"})
    return window


def popularity_share(data: Dataset) -> npt.NDArray[np.float64]:
    """(I,) float64: the share of all events that each item has; it sums to 1."""
    return data.popularity / max(len(data), 1)


def targets_of(split: Split) -> npt.NDArray[np.int32]:
    """(Q,) int32: the one target of each query."""
    if (split.targets.lengths != 1).any():
        raise DataError(explain("stacking", "one target a query", "several"))
    return split.targets.values


def save_windows(folder: Path, windows: Windows) -> None:
    """Write every window into a folder of its own."""
    for at, window in enumerate(windows):
        (folder / str(at)).mkdir()
        _save_window(folder / str(at), window)


def load_windows(folder: Path) -> tuple[Labelled, ...]:
    """What `save_windows` wrote."""
    found = sorted((int(part.name), part) for part in folder.iterdir() if part.name.isdigit())
    return tuple(_load_window(part) for _, part in found)


def _save_window(folder: Path, window: Labelled) -> None:
    """Write a window whose pool is a `StoredPool`."""
    if not isinstance(window.pool, StoredPool):
        raise DataError(explain("save_windows", "a stored pool", type(window.pool).__name__))
    save_pool(folder, window.pool)
    write_json(
        folder / "window.json",
        {
            "targets": window.targets.tolist(),
            "past": _to_json(window.past),
            "provenance": {
                name: None if seen is None else _to_json(seen)
                for name, seen in window.provenance.items()
            },
        },
    )


def _load_window(folder: Path) -> Labelled:
    """What `_save_window` wrote."""
    meta = read_json(folder / "window.json")
    return Labelled(
        load_pool(folder),
        np.array(meta["targets"], np.int32),
        _from_json(meta["past"]),
        {
            name: None if seen is None else _from_json(seen)
            for name, seen in meta["provenance"].items()
        },
    )


def _to_json(seen: Provenance) -> dict[str, Any]:
    newest = None if np.isnan(seen.newest) else seen.newest
    return {"fingerprint": seen.fingerprint, "interactions": seen.interactions, "newest": newest}


def _from_json(value: Mapping[str, Any]) -> Provenance:
    newest = float("nan") if value["newest"] is None else float(value["newest"])
    return Provenance(value["fingerprint"], value["interactions"], newest)
