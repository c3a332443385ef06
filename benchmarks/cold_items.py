"""Can a model rank items that training never saw? Held-out items against chance.

    python benchmarks/cold_items.py configs/quick.yaml --out runs/cold
    python benchmarks/cold_items.py configs/movielens.yaml --max-queries 200 --json

A random tenth of the items (``--share``, from the configuration's seed) is taken out of the
training events entirely: they stay in the catalogue with their text and fields. Asked are those
users of the test split whose next event is one of them, ``--events`` of their last events each, and
each model of the configuration ranks all held-out items that the asker has not met. A model without
a score for any of them is listed as ``cold``. Chance is what a random order would reach, exactly.
Intervals are bootstrapped over users.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import DATA_SETS, SPLITS, source_of

from fusion._version import __version__
from fusion.atomic import write_text
from fusion.benchmark import split_for
from fusion.candidates import Candidates, Missing
from fusion.config import EngineConfig
from fusion.data.dataset import Dataset
from fusion.data.load import load_data
from fusion.data.splits import Split, leave_last_out
from fusion.errors import ConfigError, DataError, RecfusionError, explain
from fusion.evaluation.fingerprint import hash_queries
from fusion.evaluation.metrics import per_query
from fusion.evaluation.significance import mean_interval
from fusion.fitting import fit_models
from fusion.progress import stage
from fusion.protocols import FitContext, Model
from fusion.ragged import segment_rank

K = 10
METRICS = (f"HR@{K}", f"NDCG@{K}")


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        train: the events left: none of a held-out item.
        split: queries whose one target is a held-out item.
        held_out: (C,) int32 item_index, rising.
        candidates: of each query, the held-out items that it does not exclude.
    """

    train: Dataset
    split: Split
    held_out: npt.NDArray[np.int32]
    candidates: Candidates


def question(
    config: EngineConfig,
    data: Dataset,
    *,
    share: float = 0.1,
    events: int = 5,
    max_queries: int | None = None,
) -> Question:
    """Hold ``share`` of the items with an event out of training, and find who goes on to one.

    Args:
        config: its ``evaluation`` says which split, its ``seed`` draws.
        data: everything.
        share: of the items, 0 to 1.
        events: leave-last-out: targets a user. (``temporal`` has ``events_per_user``.)
        max_queries: so many of the queries, drawn at random; ``None`` = all.
    """
    if not 0 < share < 1:
        raise ConfigError(explain("--share", "a number between 0 and 1", f"{share:g}"))
    rng = np.random.default_rng([config.seed, *b"cold items"])
    met = np.flatnonzero(data.popularity)
    held_out = np.sort(rng.choice(met, round(share * len(met)), replace=False)).astype(np.int32)
    if config.evaluation.split == "temporal":
        split = split_for(config.evaluation, data, config.seed)
    else:
        split = leave_last_out(data, events=events)
    # a history of held-out items alone would tell a collaborative model nothing at all
    warm = ~np.isin(split.queries.history.values, held_out)
    knows = np.bincount(split.queries.history.rows, warm, minlength=len(split)) > 0
    asked = np.flatnonzero(np.isin(split.targets.values, held_out) & knows)
    if max_queries is not None and len(asked) > max_queries:
        asked = np.sort(rng.choice(asked, max_queries, replace=False))
    if len(asked) == 0:
        raise DataError(explain("cold items", "a user who goes on to one", "none", "raise --share"))
    split = split.take(asked)
    train = split.train.where(~np.isin(split.train.interactions.items, held_out))
    items, lengths = [], []
    for barred in split.queries.excluded:
        own = np.setdiff1d(held_out, barred)
        items.append(own)
        lengths.append(len(own))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    candidates = Candidates.bare(offsets, np.concatenate(items).astype(np.int32))
    return Question(train, split, held_out, candidates)


def answers(models: Mapping[str, Model], asked: Question) -> list[dict[str, Any]]:
    """One row a model, and the one of chance."""
    n = asked.candidates.lengths
    discounts = 1 / np.log2(np.arange(2, K + 2))
    reached = np.minimum(n, K)
    luck = {METRICS[0]: reached / n, METRICS[1]: np.cumsum(discounts)[reached - 1] / n}
    users = asked.split.users
    rows = []
    for name, model in models.items():
        scores = model.score(asked.split.queries, asked.candidates)
        present = scores.why == Missing.PRESENT
        row: dict[str, Any] = {"model": name, "scored": float(present.mean())}
        if not present.any():
            reasons = {Missing(why).name.lower() for why in np.unique(scores.why)}
            rows.append({**row, "says": " and ".join(sorted(reasons))})
            continue
        values = per_query(_top(asked.candidates, scores.values), asked.split.targets, METRICS)
        row["says"] = "scores"
        for metric, of_query in values.items():
            chance = float(luck[metric].mean())
            row[metric] = {**_interval(of_query, users), "chance": chance}
            row[metric]["times_chance"] = row[metric]["mean"] / chance
        rows.append(row)
    chance_row = {m: {"mean": float(v.mean())} for m, v in luck.items()}
    return [*rows, {"model": "(chance)", "scored": 1.0, "says": "random order", **chance_row}]


def _top(candidates: Candidates, values: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """(Q, K) int32: the best by score, no score last, equal ones by item index."""
    keys = (candidates.items, -np.nan_to_num(values, nan=-np.inf))
    _, rank = segment_rank(candidates.offsets, keys)
    out = np.full((candidates.n_queries, K), -1, np.int32)
    head = (rank <= K) & ~np.isnan(values)  # what has no score is no recommendation
    out[candidates.rows[head], rank[head] - 1] = candidates.items[head]
    return out


def _interval(values: npt.NDArray[np.float64], users: npt.NDArray[np.int32]) -> dict[str, Any]:
    found = mean_interval(values, users)
    ends = {"low": found.low, "high": found.high}
    return {"mean": found.mean, **{k: None if np.isnan(v) else v for k, v in ends.items()}}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text."""
    heads = (f"{metric:>24} {'x chance':>9}" for metric in METRICS)
    lines = [f"{'model':<20} {'scored':>7} {' '.join(heads)}"]
    for row in rows:
        cells = f"{row['model']:<20} {row['scored']:>7.0%} "
        if METRICS[0] not in row:
            lines.append(cells + row["says"])
            continue
        for metric in METRICS:
            found = row[metric]
            shown = f"{found['mean']:.4f}"
            if found.get("low") is not None:
                shown += f" [{found['low']:.4f}, {found['high']:.4f}]"
            times = f"{found['times_chance']:.1f}" if "times_chance" in found else ""
            cells += f"{shown:>24} {times:>9} "
        lines.append(cells.rstrip())
    return "\n".join(lines) + "\n"


def run(config: EngineConfig, asked: Question, work: Path | None, show: bool) -> dict[str, Any]:
    """Fit every model of ``config`` on the events left and ask it; JSON values."""
    retrievers, rankers, _ = config.build()
    models: dict[str, Model] = {**retrievers, **rankers}
    started = time.perf_counter()
    fit_models(models, asked.train, FitContext(config.seed, work, show, asked.train.catalog))
    fitted = time.perf_counter()
    with stage(f"rank {len(asked.held_out):,} held-out items", show=show):
        rows = answers(models, asked)
    return {
        "benchmark": "cold_items",
        "version": __version__,
        "config": config.hash,
        "seed": config.seed,
        "train": asked.train.fingerprint,
        "asked": hash_queries(asked.split.queries, asked.split.targets),
        "split": asked.split.kind,
        "held_out_items": len(asked.held_out),
        "queries": len(asked.split),
        "users": len(np.unique(asked.split.users)),
        "candidates_per_query": float(asked.candidates.lengths.mean()),
        "seconds": {"fit": fitted - started, "rank": time.perf_counter() - fitted},
        "machine": {"platform": platform.platform(), "python": platform.python_version()},
        "rows": rows,
    }


def main() -> None:
    """Read the options, run, print; what a user can mend is one line and exit status 2."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, help="YAML file of the engine")
    parser.add_argument("--data-set", choices=DATA_SETS, help="instead of the configured data")
    parser.add_argument("--data", type=Path, help="--data-set: folder with the publisher's files")
    parser.add_argument("--split", choices=SPLITS, help="instead of the configured one")
    parser.add_argument("--share", type=float, default=0.1, help="of the items to hold out")
    parser.add_argument("--events", type=int, default=5, help="leave-last-out: targets a user")
    parser.add_argument("--max-queries", type=int, help="ask so many, drawn at random")
    parser.add_argument("--out", type=Path, help="folder for cold_items.json and fitted models")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    try:
        found = _run(args)
    except RecfusionError as error:
        sys.stderr.write(f"{parser.prog}: error: {error}\n")
        sys.exit(2)
    text = json.dumps(found, indent=1, allow_nan=False) + "\n"
    sys.stdout.write(text if args.json else table(found["rows"]))
    if args.out is not None:
        write_text(args.out / "cold_items.json", text)


def _run(args: argparse.Namespace) -> dict[str, Any]:
    config = EngineConfig.from_yaml(args.config)
    overlay: dict[str, Any] = {}
    if args.data_set:
        overlay["data"] = source_of(args.data_set, args.data)
    if args.split:
        overlay["evaluation"] = {**config.evaluation.model_dump(mode="json"), "split": args.split}
    if overlay:
        config = EngineConfig.overlay(config, overlay)
    if config.data is None:
        do = "pass --data-set"
        raise ConfigError(explain(str(args.config), "a section `data:`", "none", do))
    data = load_data(config.data, base=config.base_folder, progress=not args.quiet)
    asked = question(
        config, data, share=args.share, events=args.events, max_queries=args.max_queries
    )
    return run(config, asked, None if args.out is None else args.out / "work", not args.quiet)


if __name__ == "__main__":
    main()
