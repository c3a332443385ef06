"""The one command of a published number: a configuration on a data set, and a small JSON to commit.

    python benchmarks/reproduce.py configs/quick.yaml --data-set ml-1m --data FOLDER --split both

Everything is measured by `fusion.benchmark.run_benchmark`. Fitted models, training checkpoints,
stacking windows, the engine and all per-query values stay in ``--out`` (by default
``runs/reproduce/CONFIG-DATASET``, out of git); the same command after an interruption goes on
there, and after a whole run writes the same JSON again without computing. What is committed goes to
``--results``: ``CONFIG-DATASET-SPLIT.json``, with NDCG@10 and HR@10 of every model and fusion with
their intervals, fingerprint, seed, versions, machine, seconds of every sitting, and the
configuration with its hash; the table stands beside it as ``.md``.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import DATA_SETS, SPLITS, arguments, configured, measured, source_of

from fusion.atomic import write_text
from fusion.benchmark import Benchmark
from fusion.config import EngineConfig
from fusion.data.dataset import Dataset
from fusion.errors import RecfusionError
from fusion.evaluation.significance import mean_interval
from fusion.profiling.machine import this_machine

__all__ = ["compact", "main", "sitting"]

RESULTS = Path(__file__).resolve().parent / "results" / "accuracy"


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, run, write; a mistake that the user can mend is exit status 2."""
    parser = arguments((__doc__ or "").splitlines()[0], "runs/reproduce")
    parser.set_defaults(out=None, split="both")
    parser.add_argument("--data-set", choices=DATA_SETS, required=True)
    parser.add_argument("--name", help="of the JSON files; by default the configuration's")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of what is committed")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    name = f"{args.name or args.config.stem}-{args.data_set}"
    args.out = args.out or Path("runs/reproduce") / name
    found: dict[str, Any] = {}
    try:
        config, data = configured(source_of(args.data_set, args.data), args)
        for split in SPLITS if args.split == "both" else (args.split,):
            args.split, log = split, args.out / f"sittings-{split}.jsonl"
            with sitting(log) as told:
                ((_, run),) = measured(config, data, args)
                told["found"] = run.report["cached"]
            found[split] = compact(config, data, run, sittings(log))
            args.results.mkdir(parents=True, exist_ok=True)
            target = args.results / f"{name}-{split.replace('_', '-')}"
            write_text(target.with_suffix(".json"), json.dumps(found[split], indent=1))
            write_text(target.with_suffix(".md"), run.table.markdown())
            if not args.json:
                print(f"to commit: {target}.json and .md")
    except RecfusionError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        sys.exit(2)
    if args.json:
        print(json.dumps(found, indent=1, allow_nan=False))


def compact(
    config: EngineConfig, data: Dataset, run: Benchmark, spent: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What may be committed of a run: no value of a single query, no path of this machine."""
    results = run.table.results
    rows = []
    for row, result in zip(run.table.rows, results, strict=True):
        one: dict[str, Any] = {"name": row.name, "kind": row.kind, "best_single": row.best}
        for metric in run.table.metrics:
            estimate = mean_interval(result.per_query[metric], result.users)
            one[metric] = {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
        if row.difference is not None:
            gap = row.difference
            one["difference"] = {"mean": gap.mean, "low": gap.low, "high": gap.high}
            one["p_holm"] = row.p_holm
        one["p50_ms"], one["coverage"] = row.p50_ms, row.coverage
        rows.append(one)
    settings = {k: v for k, v in config.to_dict().items() if k != "data"}
    return {
        "rows": rows,
        "primary": run.table.primary,
        "notes": list(run.table.notes),
        "fingerprint": results[0].fingerprint.to_json(),
        "data": {"users": data.n_users, "items": data.n_items, "events": len(data)},
        "split": dict(run.report["split"]),
        "union": dict(run.report["union"]),
        "seed": config.seed,
        "config_hash": results[0].fingerprint.config,
        "config": settings,
        "seconds": dict(run.report["seconds"]),
        "sittings": list(spent),
        "machine": this_machine().to_json() | dict(run.report["machine"]),
    }


@contextmanager
def sitting(path: Path) -> Iterator[dict[str, Any]]:
    """Notes in ``path`` when work began and how long it went on; a kill leaves ``seconds`` out.

    Yields:
        What else to note at the end; ``found: true`` says that nothing had to be done.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    began, start = datetime.now(UTC).isoformat(timespec="milliseconds"), time.perf_counter()
    told: dict[str, Any] = {}
    _append(path, {"began": began})
    try:
        yield told
    finally:
        _append(path, {"began": began, "seconds": round(time.perf_counter() - start, 1), **told})


def sittings(path: Path) -> list[dict[str, Any]]:
    """What `sitting` noted, one entry a sitting, without those that found all done."""
    lines = map(json.loads, path.read_text("utf-8").splitlines())
    return [one for one in {one["began"]: one for one in lines}.values() if not one.get("found")]


def _append(path: Path, line: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
