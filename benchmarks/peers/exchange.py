"""The files that a peer reads and writes; knows neither this project's package nor any peer's.

A split is a folder: ``train.parquet`` (user, item, time, rating; one row an event, in the project's
order), ``queries.parquet`` (query, user, history, excluded), ``items.parquet`` (item, item_id,
title) and ``split.json`` (sizes, fingerprint, where the data came from). Users and items are
integers from 0. The answers stand in ``targets.parquet``, which no peer opens.

A run is ``NAME.parquet`` (query int32, item int32, score float64, rank int32 from 1; best first)
and ``NAME.json`` beside it: package, versions, settings, seconds, machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = [
    "Asked",
    "Given",
    "Stopwatch",
    "arguments",
    "cut",
    "hold_out_last",
    "ndcg_at_10",
    "read_split",
    "write_run",
]

Ints = npt.NDArray[np.integer]
#: what some packages give for an item that they left out
NOTHING = -1e30


@dataclass(frozen=True)
class Asked:
    """Queries: lists of items, flat with offsets.

    Attributes:
        offsets: (Q+1,) int64: query ``q`` has ``items[offsets[q]:offsets[q+1]]``, oldest first.
        items: (H,) int32 the history.
        users: (Q,) int32 the user that each comes from.
        excluded: ``Q`` arrays of items that may not be recommended.
    """

    offsets: Ints
    items: Ints
    users: Ints
    excluded: Sequence[Ints]

    def __len__(self) -> int:
        return len(self.users)

    @property
    def rows(self) -> Ints:
        """(H,) int64: the query of each event."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def matrix(self, n_items: int) -> Any:
        """(Q, n_items) scipy CSR of ones, float32."""
        return _matrix(self.rows, self.items, len(self), n_items)


@dataclass(frozen=True)
class Given:
    """What a peer may know.

    Attributes:
        users: (n,) int32 user of each training event; events of a user stand together, in order.
        items: (n,) int32 item of each.
        times: (n,) float64 seconds; NaN = unknown.
        ratings: (n,) float32; NaN = none.
        asked: the questions.
        facts: ``split.json``.
    """

    users: Ints
    items: Ints
    times: npt.NDArray[np.float64]
    ratings: npt.NDArray[np.float32]
    asked: Asked
    facts: Mapping[str, Any]

    @property
    def n_items(self) -> int:
        """Items of the catalogue, with or without events."""
        return int(self.facts["n_items"])

    @property
    def n_users(self) -> int:
        """Users of the vocabulary, with or without training events."""
        return int(self.facts["n_users"])

    @property
    def place(self) -> Ints:
        """(n,) int64: 0 for a user's first training event, 1 for the second, ..."""
        return np.arange(len(self.users)) - np.searchsorted(self.users, self.users)

    def matrix(self) -> Any:
        """(users, items) scipy CSR of ones, float32."""
        return _matrix(self.users, self.items, self.n_users, self.n_items)


def read_split(folder: Path) -> Given:
    """What `export.py` wrote, less the answers."""
    events = pq.read_table(folder / "train.parquet")
    queries = pq.read_table(folder / "queries.parquet")
    histories = queries["history"].to_pylist()
    offsets = np.cumsum([0, *map(len, histories)]).astype(np.int64)
    flat = np.concatenate([np.asarray(h, np.int32) for h in histories])
    return Given(
        events["user"].to_numpy(),
        events["item"].to_numpy(),
        events["time"].to_numpy(),
        events["rating"].to_numpy(),
        Asked(
            offsets,
            flat,
            queries["user"].to_numpy(),
            [np.asarray(e, np.int32) for e in queries["excluded"].to_pylist()],
        ),
        json.loads((folder / "split.json").read_text("utf-8")),
    )


def hold_out_last(given: Given, most: int = 2048, seed: int = 0) -> tuple[Given, Asked, Ints]:
    """Training events without the newest one of some users, and the questions about those.

    Args:
        given: as read.
        most: at most so many users, drawn from ``seed`` among those with three events or more.
        seed: of the draw.

    Returns:
        The rest, the questions, and (Q,) the item that each asks for.
    """
    last = np.flatnonzero(np.append(given.users[1:] != given.users[:-1], True))
    last = last[given.place[last] >= 2]
    if len(last) > most:
        last = np.sort(np.random.default_rng(seed).choice(last, most, replace=False))
    kept = np.ones(len(given.users), bool)
    kept[last] = False
    rest = replace(
        given,
        users=given.users[kept],
        items=given.items[kept],
        times=given.times[kept],
        ratings=given.ratings[kept],
    )
    histories = [given.items[at - n : at] for at, n in zip(last, given.place[last], strict=True)]
    offsets = np.cumsum([0, *map(len, histories)]).astype(np.int64)
    asked = Asked(offsets, np.concatenate(histories), given.users[last], histories)
    return rest, asked, given.items[last]


def cut(queries: Ints, items: Ints, scores: npt.NDArray[np.floating], k: int) -> pa.Table:
    """The ``k`` best rows of each query as a run, equal scores by item; no item = left out.

    Args:
        queries: (N,) query of each row, in any order.
        items: (N,) item, negative where there is none.
        scores: (N,) higher is better; NaN, infinite or hugely negative where there is none.
        k: at most so many a query.
    """
    scores = np.asarray(scores, np.float64)
    real = (np.asarray(items) >= 0) & np.isfinite(scores) & (scores > NOTHING)
    queries, items, scores = np.asarray(queries)[real], np.asarray(items)[real], scores[real]
    order = np.lexsort((items, -scores, queries))
    queries, items, scores = queries[order], items[order], scores[order]
    rank = np.arange(len(queries)) - np.searchsorted(queries, queries) + 1
    head = rank <= k
    return pa.table(
        {
            "query": pa.array(queries[head], pa.int32()),
            "item": pa.array(items[head], pa.int32()),
            "score": pa.array(scores[head], pa.float64()),
            "rank": pa.array(rank[head], pa.int32()),
        }
    )


def ndcg_at_10(run: pa.Table, targets: Ints) -> float:
    """Mean NDCG@10 of a run where each query has one target: ``1 / log2(1 + rank)`` or 0."""
    queries, ranks = run["query"].to_numpy(), run["rank"].to_numpy()
    hit = (run["item"].to_numpy() == targets[queries]) & (ranks <= 10)
    return float((1 / np.log2(1 + ranks[hit])).sum() / len(targets))


def write_run(
    out: Path,
    name: str,
    run: pa.Table,
    given: Given,
    *,
    packages: Sequence[str],
    settings: Mapping[str, Any],
    seconds: Mapping[str, float],
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``NAME.parquet`` and ``NAME.json`` into ``out``; returns the first one's path.

    Args:
        out: a folder, made if need be.
        name: of the row in a table.
        run: as `cut` gives it.
        given: which split it answers.
        packages: whose versions are noted.
        settings: of the model.
        seconds: by stage.
        more: whatever else should stay with it.
    """
    out.mkdir(parents=True, exist_ok=True)
    about = {
        "name": name,
        "protocol": given.facts["fingerprint"]["protocol"],
        "versions": {one: version(one) for one in packages} | {"python": platform.python_version()},
        "settings": dict(settings),
        "seconds": {stage: round(spent, 1) for stage, spent in seconds.items()},
        "machine": {
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
        },
        **(more or {}),
    }
    path = out / f"{name}.parquet"
    draft = path.with_suffix(".part")
    pq.write_table(run, draft)
    path.with_suffix(".json").write_text(json.dumps(about, indent=1), "utf-8")
    draft.replace(path)  # last, so that a run that is there is whole
    return path


class Stopwatch:
    """Seconds by stage.

    Attributes:
        seconds: stage -> seconds; a stage that comes twice adds up.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Measure what happens inside as ``stage``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options every peer has."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("split", type=Path, help="folder that export.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs")
    parser.add_argument("--k", type=int, default=100, help="items a query")
    parser.add_argument("--threads", type=int, default=1, help="of the package, where it asks")
    parser.add_argument("--seed", type=int, default=42)
    return parser


def _matrix(rows: Ints, columns: Ints, n_rows: int, n_columns: int) -> Any:
    from scipy.sparse import csr_matrix

    ones = np.ones(len(columns), np.float32)
    return csr_matrix((ones, (rows, columns)), shape=(n_rows, n_columns))
