"""Growth: candidates (10 to 1,000), tokens of history (16 to 512), users (1 to 100,000).

``growth.py`` prints milliseconds of `score` and the counted work of the GPT scorer and of the BERT
ranker's modes for one request, and of `recommend_many` streaming to Parquet with collaborative
models, with the resident memory. Counted work is exact where times are noisy. (The catalogue's
growth is in ``retrieval.py --growth``.)
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from data import asked, movielens
from timing import arguments, curves, finish, note, resident_mib

from fusion import Engine
from fusion.candidates import Candidates
from fusion.protocols import FitContext, Ranker
from fusion.queries import Queries
from fusion.work import counting
from rankers.bert import Bert
from rankers.gpt import Gpt

CANDIDATES = (10, 30, 100, 300, 1_000)
HISTORIES = (16, 32, 64, 128, 256, 512)  # tokens, of about 10 an event
USERS = (1, 10, 100, 1_000, 10_000, 100_000)


def main() -> None:
    """Read the options, run, print."""
    parser = arguments(__doc__, "growth")
    parser.add_argument("--only", choices=["candidates", "history", "users"], nargs="*")
    parser.add_argument("--users", type=int, nargs="*", default=USERS)
    args = parser.parse_args()
    chosen = args.only or ["candidates", "history", "users"]
    found: dict[str, Any] = {}
    if "candidates" in chosen or "history" in chosen:
        models = rankers()
        if "candidates" in chosen:
            found["candidates"] = [
                row
                for name, model in models.items()
                for row in by_candidates(name, model, args.repeat)
            ]
        if "history" in chosen:
            found["history"] = [
                row for name in ("gpt", "shared", "late") for row in by_history(name, args.repeat)
            ]
    if "users" in chosen:
        found["users"] = by_users(args.users)
    finish(args, "growth", {"curves": found}, as_text(found), lambda figure: plot(figure, found))


def rankers(history: int = 8, tokens: int = 96) -> dict[str, Ranker]:
    """The large models as they were pretrained: training does not change how long they take."""
    models: dict[str, Ranker] = {
        "gpt": Gpt({"tune": "none", "cache_mb": 0, "prompt": {"history": history}}, name="gpt")
    }
    for mode in ("shared", "cross", "late"):
        models[mode] = Bert(
            {
                "mode": mode,
                "max_steps": 0,
                "history_events": history,
                "history_tokens": tokens,
            },
            name=mode,
        )
    for name, model in models.items():
        note(f"loading {name}")
        model.fit(movielens(), FitContext())
    return models


def by_candidates(name: str, model: Ranker, repeat: int) -> list[dict[str, Any]]:
    """One row a number of candidates."""
    rows = []
    for count in CANDIDATES:
        note(f"{name}, {count} candidates")
        queries, lists = asked(movielens(), repeat + 1, 8, count)
        rows.append({"model": name, "candidates": count, **measured(model, queries, lists)})
    return rows


def by_history(name: str, repeat: int) -> list[dict[str, Any]]:
    """One row a length of history, 100 candidates."""
    rows = []
    for tokens in HISTORIES:
        note(f"{name}, history of {tokens} tokens")
        events = max(1, tokens // 10)
        model = rankers_of(name, events, tokens)
        queries, lists = asked(movielens(), repeat + 1, events, 100)
        rows.append({"model": name, "history_tokens": tokens, **measured(model, queries, lists)})
    return rows


def rankers_of(name: str, events: int, tokens: int) -> Ranker:
    """One ranker that reads so much history."""
    model: Ranker
    if name == "gpt":
        model = Gpt({"tune": "none", "cache_mb": 0, "prompt": {"history": events}}, name="gpt")
    else:
        # two positions of an encoder's 512 are special tokens
        model = Bert(
            {
                "mode": name,
                "max_steps": 0,
                "history_events": events,
                "history_tokens": min(tokens, 510),
            },
            name=name,
        )
    model.fit(movielens(), FitContext())
    return model


def measured(model: Ranker, queries: Queries, lists: Candidates) -> dict[str, Any]:
    """Median milliseconds of one request, and what the last one counted."""
    taken, counts = [], {}
    for at in range(len(queries)):
        one, few = queries.take(np.array([at])), lists.take(np.array([at]))
        start = time.perf_counter()
        with counting() as work:
            model.score(one, few)
        taken.append(1e3 * (time.perf_counter() - start))
        counts = work.counts
    return {"ms": statistics.median(taken[1:]), **counts}


def by_users(sizes: Sequence[int]) -> list[dict[str, Any]]:
    """`recommend_many` to Parquet; beyond the real users, they come again."""
    note("fitting collaborative models")
    data = movielens()
    engine = Engine.from_config(
        {
            "retrievers": {"ease": {"n": 100}, "item_transition": {"n": 100}, "popularity": {}},
            "fusion": {"mode": "parallel", "method": {"name": "rrf"}},
        }
    ).fit(data)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            note(f"{size:,} users")
            users = itertools.islice(itertools.cycle(data.users.ids), size)
            start = time.perf_counter()
            engine.recommend_many(users, k=20, out=Path(folder, f"{size}.parquet"))
            spent = time.perf_counter() - start
            rows.append(
                {
                    "users": size,
                    "seconds": spent,
                    "ms_a_user": 1e3 * spent / size,
                    "resident_mib": resident_mib(),
                }
            )
    return rows


def as_text(found: dict[str, list[dict[str, Any]]]) -> str:
    """One table a curve."""
    lines = []
    for name, rows in found.items():
        columns = list(dict.fromkeys(key for row in rows for key in row))
        lines.append(name)
        lines.append(" ".join(f"{column:>15}" for column in columns))
        for row in rows:
            lines.append(" ".join(f"{shown(row.get(column)):>15}" for column in columns))
    return "\n".join(lines) + "\n"


def shown(value: Any) -> str:
    """A number in as few digits as it needs."""
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1e4 else f"{value:.2f}"
    return "-" if value is None else str(value)


def plot(figure: Any, found: dict[str, list[dict[str, Any]]]) -> None:
    """Every curve beside the others."""
    parts = figure.subfigures(1, len(found), squeeze=False)[0]
    for part, (name, rows) in zip(parts, found.items(), strict=True):
        if name == "users":
            series = {"recommend_many": ([r["users"] for r in rows], [r["seconds"] for r in rows])}
            curves(part, series, "users", "seconds")
            continue
        x = "candidates" if name == "candidates" else "history_tokens"
        series = {
            model: (
                [row[x] for row in rows if row["model"] == model],
                [row["ms"] for row in rows if row["model"] == model],
            )
            for model in dict.fromkeys(row["model"] for row in rows)
        }
        curves(part, series, x.replace("_", " "), "milliseconds")


if __name__ == "__main__":
    main()
